"""What can go wrong, and the exit status each error ends the program with.

    SiglipError                3  could not go on
    ├── UsageError             2  options that contradict each other or name nothing
    │   └── LabelError         2  a label set that cannot be used: file, line, key, what was expected
    ├── ImageError             1  one input that is not a usable image; becomes a Failure row
    ├── ModelError             3  checkpoint, tokenizer or catalogue
    │   ├── UnknownModelError  3  a name that is neither in the catalogue nor a folder
    │   ├── OfflineError       3  files are missing here and may not, or cannot, be fetched
    │   └── CheckpointError    3  files are here but cannot be trusted: truncated, pickled, non-finite
    ├── DeviceError            3  a device, runtime or precision that this machine does not have
    └── OutputError            3  the answer could not be written

Every message is one or two plain sentences: what happened, then what to do about it.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "CheckpointError",
    "DeviceError",
    "ExitStatus",
    "ImageError",
    "LabelError",
    "ModelError",
    "OfflineError",
    "OutputError",
    "SiglipError",
    "UnknownModelError",
    "UsageError",
]


class ExitStatus(IntEnum):
    """The exit statuses that scripts may rely on."""

    OK = 0
    SOME_INPUTS_FAILED = 1
    USAGE = 2
    CANNOT_GO_ON = 3
    INTERRUPTED = 130
    TERMINATED = 143


class SiglipError(Exception):
    """Root of every error this package raises on purpose."""

    status = ExitStatus.CANNOT_GO_ON


class UsageError(SiglipError):
    """Options that contradict each other, or that name something that is not there."""

    status = ExitStatus.USAGE


class LabelError(UsageError):
    """A label set that cannot be used."""


class ImageError(SiglipError):
    """One input that is not a usable image.

    `kind` is a stable word for programs (`truncated`, `unidentified`, `too_large`, …).
    """

    status = ExitStatus.SOME_INPUTS_FAILED

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ModelError(SiglipError):
    """A checkpoint, tokenizer or catalogue entry that cannot be used."""


class UnknownModelError(ModelError):
    """A model name that is neither in the catalogue nor a folder."""


class OfflineError(ModelError):
    """Files that are not here and may not, or cannot, be fetched."""


class CheckpointError(ModelError):
    """Files that are here but cannot be trusted."""


class DeviceError(SiglipError):
    """A device, runtime or precision that this machine does not have."""


class OutputError(SiglipError):
    """The answer could not be written."""
