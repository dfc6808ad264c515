"""One weights file, read without torch: is it whole, what is its head, what is its SHA-256.

Safetensors is 8 bytes (the length of the header), the header (JSON), the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from typing import TYPE_CHECKING

from siglipcli.errors import CheckpointError
from siglipcli.results import Head

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.hub import Progress

__all__ = ["Tensors", "digest", "sha256"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER_LIMIT = 100_000_000  # bytes, the format's own
_CHUNK = 1 << 22  # bytes
_NUMBERS = {"F64": "<d", "F32": "<f", "F16": "<e", "BF16": "<f"}


class Tensors:
    """A safetensors file's table of contents, checked against the file's length.

    `remedy` is the sentence that ends each complaint. Raises CheckpointError.
    """

    def __init__(self, path: Path, remedy: str) -> None:
        self._path = path
        self._remedy = remedy
        try:
            self._parse()
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
            raise self._damaged("is not a safetensors file") from error

    def head(self) -> Head:
        """Return the sigmoid head in fp32; CheckpointError where there is none, or it is not finite."""
        if "logit_bias" not in self._table:
            raise CheckpointError(
                f"{self._path} is not a SigLIP: without a logit_bias it was trained with softmax, like CLIP."
            )
        try:
            scale, bias = math.exp(self._number("logit_scale")), self._number("logit_bias")
        except OverflowError:
            scale = bias = math.inf
        if not (math.isfinite(scale) and math.isfinite(bias)):
            raise self._damaged("has a logit_scale or logit_bias that is not finite")
        return Head(logit_scale=scale, logit_bias=bias)

    def _parse(self) -> None:
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            start = file.read(8)
            if start == b"version ":
                raise self._damaged("is a Git LFS pointer, not the weights")
            (length,) = struct.unpack("<Q", start)
            if length > _HEADER_LIMIT:
                raise ValueError(length)
            header = file.read(length)
        if len(header) < length:
            raise self._damaged(f"is cut short: {size:,} bytes, less than its own header")
        self._table = dict(json.loads(header))
        self._table.pop("__metadata__", None)
        self._start = 8 + length
        wanted = self._start + max((t["data_offsets"][1] for t in self._table.values()), default=0)
        if size != wanted:
            what = "is cut short" if size < wanted else "is too long"
            raise self._damaged(f"{what}: {size:,} bytes, where its header promises {wanted:,}")

    def _number(self, key: str) -> float:
        try:
            entry = self._table[key]
            begin, end = entry["data_offsets"]
            with self._path.open("rb") as file:
                file.seek(self._start + begin)
                raw = file.read(end - begin)
            if entry["dtype"] == "BF16":  # the upper half of an fp32
                raw = b"\0\0" + raw
            (value,) = struct.unpack(_NUMBERS[entry["dtype"]], raw)
        except (OSError, KeyError, TypeError, ValueError, struct.error) as error:
            raise self._damaged(f"has no {key} that is one number") from error
        return float(value)

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._path} {what}. {self._remedy}")


def digest(path: Path, remedy: str, cache_dir: Path, progress: Progress | None = None) -> str:
    """Return a file's SHA-256, computed once for each state of the file and kept under `cache_dir`.

    A large file of the hub's cache is a link to a blob that is named by its SHA-256: a bit that
    flipped on the way or on the disk is noticed here. Raises CheckpointError.
    """
    try:
        state = _state(path)
        digest = _recall(path, state, cache_dir)
        if digest is None:
            digest = sha256(path, progress)
            if _state(path) == state:
                _remember(path, state, digest, cache_dir)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. {remedy}") from error
    blob = os.path.basename(os.readlink(path)) if path.is_symlink() else ""  # noqa: PTH115, PTH119
    if _SHA256.fullmatch(blob) and digest != blob:
        raise CheckpointError(f"{path} is damaged: its content is not what the hub sent. {remedy}")
    return digest


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def sha256(path: Path, progress: Progress | None = None) -> str:
    """Return a file's SHA-256, all of it read now. Raises OSError."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(f"checking {path.name}", done, total)
    return digest.hexdigest()


def _note(path: Path, cache_dir: Path) -> Path:
    key = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return cache_dir / "digests" / f"{key}.json"


def _recall(path: Path, state: list[int], cache_dir: Path) -> str | None:
    try:
        note = json.loads(_note(path, cache_dir).read_bytes())
        digest = note["sha256"] if note["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None


def _remember(path: Path, state: list[int], digest: str, cache_dir: Path) -> None:
    """Keep a digest; a cache that cannot be written to costs time, nothing else."""
    note = _note(path, cache_dir)
    draft = note.with_suffix(f".{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"state": state, "sha256": digest, "path": str(path)}))
        draft.replace(note)
    except (OSError, UnicodeError):
        return
