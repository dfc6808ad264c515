"""The Hugging Face hub: fetching into its cache what is missing. Nothing is imported for what is there."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from siglipcli.encoders import hub_cache
from siglipcli.encoders.hub_cache import cache_root, cached
from siglipcli.errors import CheckpointError, ModelError, OfflineError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from siglipcli.encoders.remote import Listing

__all__ = ["CONFIG", "TOKENIZER", "TOKENIZER_CONFIG", "WEIGHTS", "Hub", "Progress"]
__all__ += ["absent", "cache_root", "cached", "switched_off"]

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


class Progress(Protocol):
    """Told how far one file is: its name, bytes done, bytes in all (None while unknown)."""

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Report; called often, from any thread."""


def switched_off() -> bool:
    """Whether the environment forbids the network: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def absent(where: str, filename: str, names: Iterable[str]) -> CheckpointError:
    """Return the error for a file that a repository or folder holding `names` does not have."""
    pickles = sorted(name for name in names if name.lower().endswith(_PICKLES))
    if filename == WEIGHTS and pickles:
        return CheckpointError(
            f"{where} has its weights only as a pickle ({pickles[0]}), which may run code when read and "
            "is never opened. Convert it where you trust it, with safetensors.torch.save_file"
            f'(state_dict, "{WEIGHTS}"), and give that folder.'
        )
    return CheckpointError(
        f"{where} has no {filename}. An open_clip model is {CONFIG}, {WEIGHTS}, {TOKENIZER} "
        f"and {TOKENIZER_CONFIG}."
    )


class Hub:
    """One model's visit to the hub: the cache first, the network for what is not there.

    `model` is what the user calls it, for messages. `offline`: the network is never touched. `force`:
    every file is fetched again, once. `changed` tells whether anything was fetched.
    """

    def __init__(
        self, model: str, *, offline: bool, force: bool = False, progress: Progress | None = None
    ) -> None:
        self.offline = offline
        self.changed = False
        self._model = model
        self._force = force
        self._progress = progress
        self._fetched: set[tuple[str, str]] = set()
        self._listings: dict[str, Listing] = {}

    def peek(self, repo: str, filename: str) -> Path | None:
        """Return the file if it is here and need not be fetched again."""
        if self._force and (repo, filename) not in self._fetched:
            return None
        return cached(repo, filename)

    def get(self, repo: str, filename: str) -> Path:
        """Return the file, fetched if need be.

        Raises OfflineError (not here, no network), UnknownModelError (no such repository),
        CheckpointError (no such file in it) or ModelError (refused, disk full).
        """
        path = self.peek(repo, filename)
        if path is not None:
            return path
        sizes = self.listing(repo)
        if filename not in sizes:
            raise absent(repo, filename, sizes)
        path = self._fetch(repo, filename)
        self._fetched.add((repo, filename))
        self.changed = True
        return path

    def listing(self, repo: str) -> Mapping[str, int | None]:
        """Return the names of a repository's files and their sizes in bytes. Raises as `get` does.

        It is asked before anything is fetched: unlike a download it is tried once, so that a machine
        without a network hears about it at once.
        """
        if repo not in self._listings:
            if self.offline:
                raise self._offline(
                    f"the files of {repo} are not on this machine, and the network is switched off"
                )
            from siglipcli.encoders.remote import listing

            with self._translated(repo):
                self._listings[repo] = listing(repo)
        return self._listings[repo].sizes

    def _fetch(self, repo: str, filename: str) -> Path:
        from siglipcli.encoders.download import fetch
        from siglipcli.encoders.remote import describe

        with self._translated(repo):
            remote = describe(repo, filename, self._listings[repo])
            with hub_cache.locked(repo, remote):
                blob, partial = hub_cache.blob(repo, remote), hub_cache.partial(repo, remote)
                if self._force or not blob.is_file():
                    started = partial.stat().st_size if partial.is_file() else 0
                    self._require_space(remote.size - started)
                    fetch(remote, partial, self._reporting(filename, remote.size))
                    partial.replace(blob)
                path = hub_cache.install(repo, filename, remote)
                hub_cache.sweep(repo, remote)
            return path

    def _reporting(self, filename: str, size: int) -> Callable[[int], None]:
        def report(done: int) -> None:
            if self._progress is not None:
                self._progress(filename, done, size)

        return report

    def _require_space(self, size: int) -> None:
        root = cache_root()
        there = next(p for p in [root, *root.absolute().parents] if p.exists())
        free = shutil.disk_usage(there).free
        if free < size:
            raise ModelError(
                f"{self._model} needs {size / 1e6:,.0f} MB in {root}, where {free / 1e6:,.0f} MB are free; "
                "make room, or set HF_HOME to a folder on a larger disk."
            )

    @contextmanager
    def _translated(self, repo: str) -> Iterator[None]:
        try:
            with _silenced():
                yield
        # The library stands on requests, httpx or httpx2, by its version, and each has its own errors.
        except Exception as error:
            raise self._translate(error, repo) from error

    def _translate(self, error: Exception, repo: str) -> ModelError:
        from huggingface_hub import errors

        if isinstance(error, ModelError):
            return error
        if isinstance(error, errors.GatedRepoError):
            return ModelError(
                f"{repo} is gated: accept its terms on the hub, then run `hf auth login`."
            )
        if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
            return UnknownModelError(
                f"the hub has no model repository {repo!r}, or it is private: check the name, "
                "or run `hf auth login`."
            )
        refusal = _refusal(error, repo)
        return refusal or self._offline(f"{repo} cannot be fetched from the hub ({_reason(error)})")

    def _offline(self, why: str) -> OfflineError:
        return OfflineError(f"{why}.", model=self._model, cache=str(cache_root()))


def _refusal(error: Exception, repo: str) -> ModelError | None:
    """Return the error for a disk or a hub that says no, None for one that does not answer."""
    number = getattr(error, "errno", None)
    if number in _DISK_FULL:
        return ModelError(f"the disk is full: {cache_root()}; make room, or set HF_HOME elsewhere.")
    if number in _READ_ONLY:
        return ModelError(f"{cache_root()} cannot be written to; set HF_HOME to a folder that can.")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in {401, 403}:
        return ModelError(f"the hub refuses {repo} (status {status}): run `hf auth login`.")
    return None


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the library's own log lines off stderr: what matters in them is in our errors."""
    from logging import CRITICAL

    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
