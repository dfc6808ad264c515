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
from siglipcli.encoders.hub import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, Hub, Progress
from siglipcli.encoders.preprocess import Preprocess
from siglipcli.encoders.weights import Tensors, digest
from siglipcli.errors import CheckpointError, UnknownModelError
from siglipcli.machine import cache_folder

if TYPE_CHECKING:
    from siglipcli.results import Head

__all__ = ["Checkpoint", "File", "Progress", "files", "is_cached", "locate", "pull"]

_HUB = "hf-hub:"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_FORMAT = 1  # of fingerprints; raise it when the same files come to give other vectors


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, found and verified, and what the runtimes need to know of them.

    `config` is open_clip_config.json (`model_cfg`, `preprocess_cfg`); `context_length` is in tokens.
    `clean` names the cleaning of prompts, `unk_token` what stands for words that the tokenizer does not
    know. `fingerprint` is equal for two checkpoints only if weights, config and tokenizer are.
    """

    name: str
    config: dict[str, Any]
    weights: Path
    tokenizer: Path
    preprocess: Preprocess
    context_length: int
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
    config: Path
    weights: Path
    tokenizer: Path
    tokenizer_config: Path
    remedy: str


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
        home = _named_tokenizer(config) if config.is_file() else None
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
    if spec.startswith(_HUB):
        if not _REPO.fullmatch(spec.removeprefix(_HUB)):
            raise UnknownModelError(f"{spec} is not {_HUB}ORG/NAME.")
        return None
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
    found = _on_hub(spec, visit)
    # What was fetched may belong to a newer revision than what was here: take all files from that one.
    return _on_hub(spec, visit) if visit.changed else found


def _in_folder(folder: Path, visit: Hub, spec: str) -> _Files:
    names = sorted(os.listdir(folder))  # noqa: PTH208  # names are what is wanted
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise hub.absent(str(folder), name, names)
    tokenizer, tokenizer_config = folder / TOKENIZER, folder / TOKENIZER_CONFIG
    if TOKENIZER not in names:
        home = _named_tokenizer(folder / CONFIG)
        if home is None:
            raise hub.absent(str(folder), TOKENIZER, names)
        tokenizer, tokenizer_config = (visit.get(home, n) for n in (TOKENIZER, TOKENIZER_CONFIG))
    elif TOKENIZER_CONFIG not in names:
        raise hub.absent(str(folder), TOKENIZER_CONFIG, names)
    remedy = "Install siglipcli again." if spec == "demo" else "Get the file again."
    return _Files(folder / CONFIG, folder / WEIGHTS, tokenizer, tokenizer_config, remedy)


def _on_hub(spec: str, visit: Hub) -> _Files:
    entry = catalog.CATALOG.get(spec)
    repo = entry.repo if entry else spec.removeprefix(_HUB)
    config = visit.get(repo, CONFIG)
    home = entry.tokenizer_repo if entry else _tokenizer_home(visit, repo)
    return _Files(
        config=config,
        tokenizer=visit.get(home, TOKENIZER),
        tokenizer_config=visit.get(home, TOKENIZER_CONFIG),
        weights=visit.get(repo, WEIGHTS),
        remedy=f"Run `siglip models pull {spec} --force`.",
    )


def _tokenizer_home(visit: Hub, repo: str) -> str:
    """Return the repository of a hub model's tokenizer: its own, or the one that its config names."""
    config = hub.cached(repo, CONFIG)
    named = _named_tokenizer(config) if config else None
    for home in (repo, named):
        if home and visit.peek(home, TOKENIZER):
            return home
    if named is None or visit.offline:
        return named or repo
    return repo if TOKENIZER in visit.listing(repo) else named


def _named_tokenizer(config: Path) -> str | None:
    section: Any = _json(config, "")
    for key in ("model_cfg", "text_cfg", "hf_tokenizer_name"):
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, str) and _REPO.fullmatch(section) else None


def _read(
    spec: str, found: _Files, cache_dir: Path | None, progress: Progress | None
) -> Checkpoint:
    config = _config(found, catalog.CATALOG.get(spec))
    vision, text = config["model_cfg"]["vision_cfg"], config["model_cfg"]["text_cfg"]
    words = _json(found.tokenizer_config, found.remedy)
    pad_token = _token(words, "pad_token")
    if pad_token is None:
        raise CheckpointError(f"{found.tokenizer_config} names no pad_token. {found.remedy}")
    tensors = Tensors(found.weights, found.remedy)
    cache_dir = cache_folder(cache_dir)
    content = {
        "format": _FORMAT,
        "config": config,
        "weights": digest(found.weights, found.remedy, cache_dir, progress),
        "tokenizer": digest(found.tokenizer, found.remedy, cache_dir),
        "pad_token": pad_token,
    }
    packed = json.dumps(content, sort_keys=True).encode()
    return Checkpoint(
        name=spec,
        config=config,
        weights=found.weights,
        tokenizer=found.tokenizer,
        preprocess=Preprocess(
            size=_image_size(vision, found),
            mean=_colour(config["preprocess_cfg"], "mean", found),
            std=_colour(config["preprocess_cfg"], "std", found),
        ),
        context_length=_positive(text.get("context_length", 77), "context_length", found),
        pad_token=pad_token,
        unk_token=_token(words, "unk_token") or "<unk>",
        clean=_clean(text, found),
        head=tensors.head(),
        fingerprint=hashlib.sha256(packed).hexdigest()[:32],
    )


def _json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. {remedy}".rstrip()) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object. {remedy}".rstrip())
    return content


def _config(found: _Files, entry: catalog.Entry | None) -> dict[str, Any]:
    """Return open_clip_config.json, checked for what this program can do."""
    content = _json(found.config, found.remedy)
    model = _section(content, "model_cfg", found)
    vision, text = _section(model, "vision_cfg", found), _section(model, "text_cfg", found)
    preprocess = _section(content, "preprocess_cfg", found)
    if "hf_model_name" in text:
        raise _misfit(found, f"its text tower is a transformers model, {text['hf_model_name']!r}")
    if ":" in str(vision.get("timm_model_name")):
        raise _misfit(found, f"its image tower is elsewhere, {vision['timm_model_name']!r}")
    if vision.get("timm_model_pretrained"):
        vision["timm_model_pretrained"] = False  # timm would fetch weights that ours then replace
    for key, ours in (("resize_mode", "squash"), ("interpolation", "bicubic")):
        if preprocess.get(key, ours) != ours:
            raise _misfit(found, f"it asks for {key} {preprocess[key]!r}, not {ours!r}")
    if entry is not None and entry.vision is not None:
        # Two names share these files; the repository's config describes the other one.
        vision.update(image_size=entry.image_size, timm_model_name=entry.vision)
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def _section(config: dict[str, Any], key: str, found: _Files) -> dict[str, Any]:
    section = config.get(key)
    if not isinstance(section, dict):
        raise _misfit(found, f"it has no {key}")
    return section


def _misfit(found: _Files, why: str) -> CheckpointError:
    return CheckpointError(f"{found.config} is not one this program can run: {why}.")


def _image_size(vision: dict[str, Any], found: _Files) -> int:
    size = vision.get("image_size", 224)
    if isinstance(size, list):
        raise _misfit(found, f"image_size is {size}, and only square images as one number will do")
    return _positive(size, "image_size", found)


def _positive(value: object, key: str, found: _Files) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _misfit(found, f"{key} is {value!r}, not a whole number from 1 up")
    return value


def _colour(preprocess: dict[str, Any], key: str, found: _Files) -> tuple[float, float, float]:
    values = preprocess.get(key)
    try:
        red, green, blue = (float(value) for value in values or ())
    except (TypeError, ValueError):
        # open_clip would take OpenAI's here, silently wrong for every SigLIP.
        raise _misfit(found, f"preprocess_cfg.{key} is {values!r}, not three numbers") from None
    return red, green, blue


def _clean(text: dict[str, Any], found: _Files) -> str:
    options = dict(text.get("tokenizer_kwargs") or {}, mode=text.get("tokenizer_mode"))
    clean = options.pop("clean", "whitespace")
    unknown = [key for key, value in options.items() if value]
    if unknown:
        raise _misfit(found, f"its tokenizer wants {', '.join(unknown)}, which is not known here")
    return str(clean)


def _token(words: dict[str, Any], key: str) -> str | None:
    token = words.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
