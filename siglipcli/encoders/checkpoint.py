"""Find, fetch and verify the files of a model: its config, its head in fp32, its fingerprint.

A model is four files, as open_clip publishes them: open_clip_config.json,
open_clip_model.safetensors, tokenizer.json and tokenizer_config.json. Pickles are never opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.encoders import catalog, hub
from siglipcli.encoders.config import Config, read_config, tokenizer_repo
from siglipcli.encoders.hub import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, Hub, Progress
from siglipcli.encoders.local_files import Origin, read_json
from siglipcli.encoders.weights import digest, read_head
from siglipcli.errors import CheckpointError, UnknownModelError
from siglipcli.machine import cache_folder

if TYPE_CHECKING:
    from siglipcli.encoders.preprocess import Preprocess
    from siglipcli.results import Head

__all__ = ["Checkpoint", "File", "Progress", "files", "is_cached", "locate", "pull"]

_HUB = "hf-hub:"
_LOCAL = "local-dir:"  # open_clip's prefix for a folder
_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_FORMAT = 1  # of fingerprints; raise it when the same files come to give other vectors


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, found and verified, and what the runtimes need to know of them.

    `config` is open_clip_config.json (`model_cfg`, `preprocess_cfg`); `context_length` is in tokens,
    `vocab_size` the number of tokens that the text tower knows.
    `clean` names the cleaning of prompts, `unk_token` what stands for words that the tokenizer does not
    know. `fingerprint` is equal for two checkpoints only if weights, config and tokenizer are.
    """

    name: str
    config: dict[str, Any]
    origin: Origin
    weights: Path
    tokenizer: Path
    preprocess: Preprocess
    context_length: int
    vocab_size: int
    pad_token: str
    unk_token: str
    clean: str
    head: Head
    fingerprint: str


@dataclass(frozen=True, slots=True)
class File:
    """One of a model's files: the repository or folder it belongs to, and its path if it is here."""

    name: str
    home: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class _Files:
    config: Config
    weights: Path
    tokenizer: Path
    tokenizer_config: Path
    origin: Origin


def locate(
    spec: str,
    *,
    offline: bool = False,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Checkpoint:
    """Find a model's files, fetching what is missing unless `offline`, and verify them.

    `spec` is a catalogue name, a local folder, `hf-hub:ORG/NAME` or `demo`. The weights are hashed when
    first seen; the digest is kept under `cache_dir` (default: the user's cache folder).
    Raises UnknownModelError, OfflineError, CheckpointError (damaged, pickled, not a SigLIP) or ModelError.
    """
    visit = Hub(spec, offline=offline or hub.switched_off(), progress=progress)
    return _read(spec, _find(spec, visit), cache_dir, progress)


def pull(
    spec: str,
    *,
    force: bool = False,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Checkpoint:
    """Fetch what is missing of a model, or with `force` all of it, and verify it. Raises as `locate` does."""
    visit = Hub(spec, offline=hub.switched_off(), force=force, progress=progress)
    return _read(spec, _find(spec, visit), cache_dir, progress)


def files(spec: str) -> tuple[File, ...]:
    """Return a model's four files, here or not, without any network. Raises UnknownModelError."""
    folder = _folder_of(spec)
    if folder is not None:
        return tuple(
            _file_in(folder, name) for name in (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG)
        )
    entry = catalog.CATALOG.get(spec)
    repo = entry.repo if entry else spec.removeprefix(_HUB)
    home = entry.tokenizer_repo if entry else _tokenizer_home(Hub(spec, offline=True), repo)
    places = [(CONFIG, repo), (WEIGHTS, repo), (TOKENIZER, home), (TOKENIZER_CONFIG, home)]
    return tuple(File(name, place, hub.cached(place, name)) for name, place in places)


def _file_in(folder: Path, name: str) -> File:
    path, config = folder / name, folder / CONFIG
    if name in {TOKENIZER, TOKENIZER_CONFIG} and not (folder / TOKENIZER).is_file():
        home = tokenizer_repo(config, Origin(str(folder))) if config.is_file() else None
        if home is not None:
            return File(name, home, hub.cached(home, name))
    return File(name, str(folder), path if path.is_file() else None)


def is_cached(spec: str) -> bool:
    """Whether all files of a model are on this machine."""
    return all(file.path for file in files(spec))


def _folder_of(spec: str) -> Path | None:
    """Return the folder that `spec` names, None for a name on the hub; UnknownModelError for neither."""
    if spec == "demo":
        from siglipcli import demo

        return Path(demo.MODEL_DIR)
    if spec in catalog.CATALOG:
        return None
    if error := catalog.elsewhere(spec.removeprefix(_HUB)):
        raise error
    if spec.startswith(_HUB):
        if not _REPO.fullmatch(spec.removeprefix(_HUB)):
            raise UnknownModelError(f"{spec} is not {_HUB}ORG/NAME.")
        return None
    spec = spec.removeprefix(_LOCAL)
    folder = os.path.expanduser(spec)  # noqa: PTH111  # Path.expanduser raises for an unknown user
    if os.path.isdir(folder):  # noqa: PTH112  # never raises
        return Path(folder)
    if os.path.isfile(folder):  # noqa: PTH113
        raise CheckpointError(f"{spec} is a file; give the folder that holds it and its {CONFIG}.")
    if os.sep in spec or "/" in spec:
        hint = f" If it is on the hub, write {_HUB}{spec}." if _REPO.fullmatch(spec) else ""
        raise UnknownModelError(f"there is no folder {spec}.{hint}")
    raise catalog.unknown(spec)


def _find(spec: str, visit: Hub) -> _Files:
    folder = _folder_of(spec)
    if folder is not None:
        return _in_folder(folder, visit, spec)
    files_of_model = _on_hub(spec, visit)
    # What was fetched may belong to a newer revision than what was here: take all files from that one.
    return _on_hub(spec, visit) if visit.changed else files_of_model


def _in_folder(folder: Path, visit: Hub, spec: str) -> _Files:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  # names are what is wanted
    except OSError as error:
        raise Origin(spec).unreadable(folder, error) from error
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise hub.absent(str(folder), name, names)
    origin = Origin(spec, "demo" if spec == "demo" else "folder")
    config = read_config(folder / CONFIG, origin, None)
    tokenizer, tokenizer_config = folder / TOKENIZER, folder / TOKENIZER_CONFIG
    if TOKENIZER not in names:
        home = tokenizer_repo(folder / CONFIG, origin)
        if home is None:
            raise hub.absent(str(folder), TOKENIZER, names)
        tokenizer, tokenizer_config = (visit.get(home, n) for n in (TOKENIZER, TOKENIZER_CONFIG))
    elif TOKENIZER_CONFIG not in names:
        raise hub.absent(str(folder), TOKENIZER_CONFIG, names)
    return _Files(config, folder / WEIGHTS, tokenizer, tokenizer_config, origin)


def _on_hub(spec: str, visit: Hub) -> _Files:
    """Get a model's files, the small ones first: what cannot be used is found before GBs are fetched."""
    entry, origin = catalog.CATALOG.get(spec), Origin(spec, "hub")
    repo = entry.repo if entry else spec.removeprefix(_HUB)
    config = read_config(visit.get(repo, CONFIG), origin, entry)
    home = entry.tokenizer_repo if entry else _tokenizer_home(visit, repo)
    tokenizer, tokenizer_config = (visit.get(home, name) for name in (TOKENIZER, TOKENIZER_CONFIG))
    return _Files(config, visit.get(repo, WEIGHTS), tokenizer, tokenizer_config, origin)


def _tokenizer_home(visit: Hub, repo: str) -> str:
    """Return the repository of a hub model's tokenizer: its own, or the one that its config names."""
    config = hub.cached(repo, CONFIG)
    named = tokenizer_repo(config, Origin(repo, "hub")) if config else None
    for home in (repo, named):
        if home and visit.peek(home, TOKENIZER):
            return home
    if named is None or visit.offline:
        return named or repo
    return repo if TOKENIZER in visit.listing(repo) else named


def _read(
    spec: str, files_of_model: _Files, cache_dir: Path | None, progress: Progress | None
) -> Checkpoint:
    config, origin = files_of_model.config, files_of_model.origin
    words = read_json(files_of_model.tokenizer_config, origin)
    pad_token = _token(words, "pad_token")
    if pad_token is None:
        raise origin.damaged(files_of_model.tokenizer_config, "names no pad_token")
    head = read_head(files_of_model.weights, origin)
    cache_dir = cache_folder(cache_dir)
    content = {
        "format": _FORMAT,
        "config": config.content,
        "weights": digest(files_of_model.weights, origin, cache_dir, progress),
        "tokenizer": digest(files_of_model.tokenizer, origin, cache_dir),
        "pad_token": pad_token,
    }
    packed = json.dumps(content, sort_keys=True).encode()
    return Checkpoint(
        name=spec,
        config=config.content,
        origin=origin,
        weights=files_of_model.weights,
        tokenizer=files_of_model.tokenizer,
        preprocess=config.preprocess,
        context_length=config.context_length,
        vocab_size=config.vocab_size,
        pad_token=pad_token,
        unk_token=_token(words, "unk_token") or "<unk>",
        clean=config.cleaning,
        head=head,
        fingerprint=hashlib.sha256(packed).hexdigest()[:32],
    )


def _token(words: dict[str, Any], key: str) -> str | None:
    token = words.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
