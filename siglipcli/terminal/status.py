"""The exit statuses that scripts may rely on, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from siglipcli.errors import ImageError, SiglipError, UsageError

__all__ = ["ExitStatus", "status_of"]


class ExitStatus(IntEnum):
    """How a command ended."""

    OK = 0
    SOME_INPUTS_FAILED = 1
    USAGE = 2
    CANNOT_GO_ON = 3
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


def status_of(error: SiglipError) -> ExitStatus:
    """Return the status that a command ends with when this error reaches its end."""
    if isinstance(error, ImageError) or error.code == "no_images":
        return ExitStatus.SOME_INPUTS_FAILED
    if isinstance(error, UsageError):
        return ExitStatus.USAGE
    return ExitStatus.CANNOT_GO_ON
