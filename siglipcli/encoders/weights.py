"""One weights file, read without torch: is it whole, what is its head, what is its SHA-256."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from siglipcli import files
from siglipcli.encoders.local_files import WEIGHTS_LIMIT, Origin, require_regular
from siglipcli.errors import CheckpointError
from siglipcli.results import Head

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.hub import Progress

__all__ = ["digest", "read_head", "sha256"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22  # bytes
_FLOATS = {"F64", "F32", "F16", "BF16"}
_SCALES = (1e-3, 1e5)  # beyond these every score is 0, 1 or the same
_BIASES = (-1e5, 1e5)


def read_head(path: Path, origin: Origin) -> Head:
    """Return the sigmoid head in fp32 of a safetensors file, whose header must fit its length.

    Raises CheckpointError where the file is not whole, has no head, or one that gives no useful score.
    """
    from safetensors import SafetensorError, safe_open  # 1.5 ms, without torch

    require_regular(path, WEIGHTS_LIMIT, origin)
    try:
        with safe_open(path, framework="np") as file:
            if "logit_bias" not in file.keys():  # noqa: SIM118  # not a dict
                raise CheckpointError(
                    f"{path} is not a SigLIP: without a logit_bias it was trained with softmax, like CLIP.",
                    code="no_siglip",
                    path=str(path),
                )
            scale, bias = (
                _number(file, path, key, origin) for key in ("logit_scale", "logit_bias")
            )
    except OSError as error:
        raise origin.unreadable(path, error) from error
    except SafetensorError as error:
        raise origin.damaged(path, _what_is_wrong(path, str(error))) from error
    return _head(scale, bias, path, origin)


def _head(log_scale: float, bias: float, path: Path, origin: Origin) -> Head:
    scale = math.exp(min(log_scale, 100.0))  # NaN stays NaN
    if not (_SCALES[0] <= scale <= _SCALES[1] and _BIASES[0] <= bias <= _BIASES[1]):
        raise origin.damaged(
            path,
            f"has a logit_scale of {log_scale:g} and a logit_bias of {bias:g}, not finite or not sane",
        )
    return Head(logit_scale=scale, logit_bias=bias)


def _what_is_wrong(path: Path, error: str) -> str:
    with path.open("rb") as file:
        if file.read(8) == b"version ":
            return "is a Git LFS pointer, not the weights"
    reason = error.removeprefix("Error while deserializing header: ")
    if "not fully covered" in reason:
        return "is cut short or too long: its header promises another number of bytes"
    return f"is not a safetensors file, or is cut short ({reason})"


def _number(file: Any, path: Path, key: str, origin: Origin) -> float:
    """Return a tensor that holds one floating-point number."""
    names = file.keys()
    tensor = file.get_slice(key) if key in names else None
    if tensor is None or math.prod(tensor.get_shape()) != 1 or tensor.get_dtype() not in _FLOATS:
        raise origin.damaged(path, f"has no {key} that is one number")
    if tensor.get_dtype() == "BF16":
        return _bf16(path, key)
    return float(file.get_tensor(key).item())


def _bf16(path: Path, key: str) -> float:
    """Read a number of a type that numpy does not have: the upper half of an fp32.

    The library has checked the header: 8 bytes for its length, then JSON.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        begin, end = json.loads(file.read(length))[key]["data_offsets"]
        file.seek(8 + length + begin)
        return float(struct.unpack("<f", b"\0\0" + file.read(end - begin))[0])


def digest(path: Path, origin: Origin, cache_dir: Path, progress: Progress | None = None) -> str:
    """Return a file's SHA-256, computed once for each state of the file and kept under `cache_dir`.

    A large file of the hub's cache is a link to a blob that is named by its SHA-256: a bit that
    flipped on the way or on the disk is noticed here. Raises CheckpointError.
    """
    require_regular(path, WEIGHTS_LIMIT, origin)
    try:
        state = files.stamp(path.stat())
        digest = _recall(path, state, cache_dir)
        if digest is None:
            digest = sha256(path, progress)
            if files.stamp(path.stat()) == state:
                _remember(path, state, digest, cache_dir)
    except OSError as error:
        raise origin.unreadable(path, error) from error
    blob = os.path.basename(os.readlink(path)) if path.is_symlink() else ""  # noqa: PTH115, PTH119
    if _SHA256.fullmatch(blob) and digest != blob:
        raise origin.damaged(path, "is damaged: its content is not what the hub sent")
    return digest


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


def _recall(path: Path, state: files.Stamp, cache_dir: Path) -> str | None:
    note = files.read_note(_note(path, cache_dir))
    if not isinstance(note, dict) or note.get("state") != list(state):
        return None
    digest = note.get("sha256")
    return digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None


def _remember(path: Path, state: files.Stamp, digest: str, cache_dir: Path) -> None:
    """Keep a digest; a cache that cannot be written to costs time, nothing else."""
    note = {"state": state, "sha256": digest, "path": str(path)}
    with suppress(OSError):
        files.write_note(_note(path, cache_dir), note)
