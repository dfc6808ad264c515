"""The Hugging Face hub: its cache on this machine, and fetching into it what is missing.

Files already in the cache are found without importing huggingface_hub, which would cost every run
0.15 s. The layout is the documented one: `refs/main` names a commit, `snapshots/COMMIT` holds its
files; a test compares this reading with `huggingface_hub.try_to_load_from_cache`.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli.errors import CheckpointError, ModelError, OfflineError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from typing_extensions import Self

__all__ = ["CONFIG", "TOKENIZER", "TOKENIZER_CONFIG", "WEIGHTS", "Hub", "Progress"]
__all__ += ["absent", "cache_root", "cached", "switched_off"]

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

_TIMEOUT = 10.0  # seconds
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


def cache_root() -> Path:
    """Return the folder of the hub's cache: HF_HUB_CACHE, HF_HOME/hub, or under ~/.cache."""
    env = os.environ.get
    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or "~/.cache", "huggingface")  # noqa: PTH118
    root = env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")  # noqa: PTH118
    return Path(os.path.expandvars(os.path.expanduser(root)))  # noqa: PTH111  # as the hub's own


def cached(repo: str, filename: str) -> Path | None:
    """Return where a repository's file is in the cache, or None. No network, no import of the hub's library."""
    folder = cache_root() / f"models--{repo.replace('/', '--')}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    path = folder / "snapshots" / commit / filename
    return path if commit and os.path.isfile(path) else None  # noqa: PTH113  # never raises


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
        self._listings: dict[str, Mapping[str, int | None]] = {}

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
        self._require_space(sizes[filename] or 0)
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
                    f"the files of {repo} are not here, and --offline or HF_HUB_OFFLINE is set"
                )
            with self._translated(repo):
                from huggingface_hub import HfApi

                api = HfApi(endpoint=_endpoint())
                info = api.model_info(repo, files_metadata=True, timeout=_TIMEOUT)
            self._listings[repo] = {file.rfilename: file.size for file in info.siblings or ()}
        return self._listings[repo]

    def _fetch(self, repo: str, filename: str) -> Path:
        with self._translated(repo):
            from huggingface_hub import hf_hub_download

            return Path(
                hf_hub_download(
                    repo,
                    filename,
                    cache_dir=cache_root(),
                    endpoint=_endpoint(),
                    force_download=self._force,
                    **_bar_option(hf_hub_download, filename, self._progress),
                )
            )

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

        if isinstance(error, ValueError) and isinstance(error.__cause__, Exception):
            error = error.__cause__  # "force download failed due to the above error"
        if isinstance(error, errors.GatedRepoError):
            return ModelError(
                f"{repo} is gated: accept its terms on the hub, then run `hf auth login`."
            )
        if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
            return UnknownModelError(
                f"the hub has no model repository {repo!r}, or it is private: check the name, "
                "or run `hf auth login`."
            )
        if "Consistency check" in str(error):
            return CheckpointError(
                f"a file of {repo} was cut short on its way; run `siglip models pull {self._model}`."
            )
        refusal = _refusal(error, repo)
        return refusal or self._offline(f"{repo} cannot be fetched from the hub ({_reason(error)})")

    def _offline(self, why: str) -> OfflineError:
        return OfflineError(
            f"{why}. Where there is a network run `siglip models pull {self._model}` and copy "
            f"{cache_root()} here, or give a model folder, or try --model demo."
        )


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


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


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


def _bar_option(
    download: Callable[..., str], filename: str, progress: Progress | None
) -> dict[str, Any]:
    """Return the argument that sends a download's progress to `progress` and nowhere else."""
    from inspect import signature

    if "tqdm_class" in signature(download).parameters:
        return {"tqdm_class": type("Bar", (_Bar,), {"filename": filename, "progress": progress})}
    from huggingface_hub.utils.tqdm import disable_progress_bars  # before 1.1: no bar of one's own

    disable_progress_bars()
    return {}


class _Bar:
    """What the hub's library takes for a tqdm bar.

    `update` counts bytes written, `update_transfer` bytes received (Xet, which writes later and sends
    less than the file's size): the larger is the one that moves.
    """

    filename = ""
    progress: Progress | None = None

    def __init__(
        self, *_: object, total: int | None = None, initial: int = 0, **__: object
    ) -> None:
        self.total = total
        self.n = initial
        self._received = 0
        self._tell()

    def update(self, n: float = 1) -> None:
        self.n += int(n)
        self._tell()

    def update_transfer(self, n: float = 1) -> None:
        self._received += int(n)
        self._tell()

    def _tell(self) -> None:
        report = type(self).progress
        if report is not None:
            done = max(self.n, self._received)
            report(self.filename, min(done, self.total or done), self.total)

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    close = refresh = reset = set_description = _ignore
    set_postfix_str = set_transfer_postfix_str = _ignore

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
