"""The worker process: images come on stdin, pixels go to stdout, one at a time until stdin ends.

It begins with `READY`. A request is `REQUEST` and the file's bytes. A reply is `REPLY` and so many bytes:
the pixels, uint8[size, size, 3]; or an ImageError's kind and message, or a bug's words, as UTF-8 text.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from contextlib import suppress

from siglipcli import images
from siglipcli.errors import ImageError
from siglipcli.processes import end_with_parent, private_streams

__all__ = ["BUG", "ERROR", "NO_MEMORY", "PIXELS", "READY", "REPLY", "REQUEST", "serve"]

REQUEST = struct.Struct("<QIdd???")
"""Bytes that follow, size, megapixels, seconds (0: any), exact, color_management, allow_truncated."""
REPLY = struct.Struct("<BI")  # one of the next four, bytes that follow
PIXELS, ERROR, NO_MEMORY, BUG = range(4)
READY = b"siglip: ready to decode\n"  # no other program begins so

_ORPHAN_TIMES, _ORPHAN_SECONDS = 9, 60
"""Of an image's limit, and at least: so late that a parent that lives has acted long before."""
_MEMORY = 512 << 20
_MEMORY_A_PIXEL = 28
"""Bytes that a decode may add to the process, and this many more for each pixel that is allowed.

The most that was seen is 25 a pixel (16-bit TIFF and JPEG 2000); threads of decoders take the rest.
"""


def serve() -> None:
    """Answer requests until stdin ends; never returns."""
    from siglipcli.images import decoding  # noqa: F401  # so that the first image finds it imported

    requests, replies = private_streams(with_stderr=True)
    ends_with_parent = end_with_parent()  # a decoder that hangs does not see stdin end
    _leave_no_core()
    _hear_alarms()
    own_bytes = _own_bytes()
    with suppress(BrokenPipeError):
        replies.write(READY)
        replies.flush()
        while len(head := requests.read(REQUEST.size)) == REQUEST.size:
            n_bytes, size, megapixels, seconds, *flags = REQUEST.unpack(head)
            data = requests.read(n_bytes)
            _wake_up_in(0 if ends_with_parent else seconds)
            _bound(own_bytes + _MEMORY + megapixels * 1e6 * _MEMORY_A_PIXEL + 2 * n_bytes)
            kind, payload = _decoded(data, size, images.Limits(megapixels), *flags)
            _wake_up_in(0)
            replies.write(REPLY.pack(kind, len(payload)))
            replies.write(payload)
            replies.flush()
    os._exit(0)


def _decoded(
    data: bytes,
    size: int,
    limits: images.Limits,
    exact: bool,
    color_management: bool,
    allow_truncated: bool,
) -> tuple[int, memoryview | bytes]:
    try:
        pixels = images.decode(
            data,
            size,
            limits,
            exact=exact,
            color_management=color_management,
            allow_truncated=allow_truncated,
        )
        return PIXELS, pixels.data.cast("B")
    except ImageError as error:
        kind = NO_MEMORY if isinstance(error.__context__, MemoryError) else ERROR
        return kind, f"{error.kind}\n{error}".encode(errors="replace")
    except Exception as error:  # noqa: BLE001  # shown where it can be seen
        return BUG, f"{type(error).__name__}: {error}".encode(errors="replace")[:1000]


def _leave_no_core() -> None:
    if sys.platform != "win32":
        import resource

        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _hear_alarms() -> None:
    if sys.platform != "win32":  # the parent may ignore or block them
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])


def _own_bytes() -> int:
    """Return the bytes of memory of its own that this process has; 0 where that is unknown."""
    if sys.platform == "linux":
        with suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _bound(n_bytes: float) -> None:
    """Make what passes this much a MemoryError: the end of a row, not of the machine."""
    if sys.platform == "linux":
        import resource

        # not RLIMIT_AS, which counts what threads only reserve
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most != resource.RLIM_INFINITY:
            n_bytes = min(n_bytes, most)
        with suppress(OSError, ValueError, OverflowError):
            resource.setrlimit(resource.RLIMIT_DATA, (int(min(n_bytes, sys.maxsize)), most))


def _wake_up_in(seconds: float) -> None:
    """Have the kernel end an orphan that is still at this image long after; 0 takes that back."""
    if sys.platform != "win32":
        with suppress(OSError, ValueError, OverflowError):
            late = max(_ORPHAN_TIMES * seconds, _ORPHAN_SECONDS) if seconds else 0
            signal.setitimer(signal.ITIMER_REAL, late)
