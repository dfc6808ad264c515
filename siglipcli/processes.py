"""Other processes of this machine: a Python that imports what this one does, and whether one is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "NO_CONSOLE",
    "can_start_python",
    "end_with_parent",
    "how_it_ended",
    "import_paths",
    "is_running",
    "is_stopped",
    "private_streams",
    "python_flags",
]

NO_CONSOLE = 0
"""Popen's `creationflags` for a process without a window of its own."""
if sys.platform == "win32":
    NO_CONSOLE = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW


def is_running(pid: int) -> bool:
    """Whether a process of this machine has that number; always true on Windows, which has no signal that only asks."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def can_start_python() -> bool:
    """Whether `sys.executable` is an interpreter; a program that carries its Python has none."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def import_paths() -> list[str]:
    """Return where this process imports from: not from what folder it goes to later."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return [path for path in map(str, sys.path) if Path(path).is_absolute()]
    return [str(here / path) for path in map(str, sys.path)]


def python_flags() -> list[str]:
    """Return the options with which this Python was started and which say what it imports."""
    flags = sys.flags
    chosen = {
        "-I": flags.isolated,
        "-E": flags.ignore_environment,
        "-s": flags.no_user_site,
        "-S": flags.no_site,
        "-B": flags.dont_write_bytecode,
        "-P": getattr(flags, "safe_path", False),  # from Python 3.11 on
        "-Xutf8": flags.utf8_mode,
    }
    return [option for option, is_set in chosen.items() if is_set] + [
        part for warning in sys.warnoptions for part in ("-W", warning)
    ]


def end_with_parent() -> bool:
    """Have the kernel end this process with the thread that started it; return whether it will."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            return ctypes.CDLL(None).prctl(1, signal.SIGKILL) == 0  # type: ignore[no-any-return]  # PR_SET_PDEATHSIG
    return False


def private_streams(*, with_stderr: bool = False) -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout away from libraries that may read or print; return both. stderr may go too."""
    # buffered: a raw write may end before all is written, when the machine or the process was stopped
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2)[: 3 if with_stderr else 2]:
        os.dup2(nothing, stream)
    os.close(nothing)
    return requests, replies


def how_it_ended(status: int | None) -> str:
    """Return the end of a process in words: "by SIGKILL", "with status 1"; "" where it is not known."""
    if status is None:
        return ""
    if status < 0:
        with suppress(ValueError):
            return f" by {signal.Signals(-status).name}"
    return f" with status {status}"


def is_stopped(pid: int) -> bool:
    """Whether a process waits for SIGCONT, as after Ctrl-Z; False for one that is not there."""
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2]
        except OSError:
            return False
    else:
        state = _ps(pid)  # "" on Windows, where nothing stops a process so
    return state.strip()[:1] in {"T", "t"}


def _ps(pid: int) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-o", "stat=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout  # noqa: S603, PLW1510
    return ""
