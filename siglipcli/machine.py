"""What this machine has, asked without importing a model library."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["available_cpus", "cache_folder", "has_accelerator", "has_bf16", "memory"]
__all__ += ["processor"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # x86's two, and Arm's


def cache_folder(chosen: Path | None = None) -> Path:
    """Return where siglip keeps what it may use again: `chosen`, or the user's cache folder."""
    if chosen is not None:
        return chosen
    from platformdirs import user_cache_path

    return user_cache_path("siglip", appauthor=False)


def available_cpus() -> int:
    """Return how many processors this process may use: affinity and cgroup quota respected."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    """Return the processors that cgroups grant, rounded up; None where there is no limit.

    This process's group and those above it count, in version 2 (`cpu.max`) and 1 (`cpu.cfs_…`).
    """
    granted = [_granted(_CGROUPS / controllers / group) for controllers, group in _groups("cpu")]
    return min((-(-quota // period) for quota, period in filter(None, granted)), default=None)


def _groups(controller: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the cgroups that bound this process, each with its hierarchy ("" in version 2)."""
    try:
        lines = [line.split(":", 2) for line in _MEMBERSHIP.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in lines:
        if not controllers or controller in controllers.split(","):
            group = PurePosixPath(path.lstrip("/"))
            yield from ((controllers, folder) for folder in (group, *group.parents))


def _granted(folder: Path) -> tuple[int, int] | None:
    """Return microseconds of processor time and the period they are for; None for no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        shares = int(quota), int(period)
    except (OSError, ValueError):  # not there, or "max"
        return None
    return shares if min(shares) > 0 else None


def memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or what its cgroups grant."""
    limits = [_physical_memory()]
    for controllers, group in _groups("memory"):
        folder = _CGROUPS / controllers / group
        for name in ("memory.max", "memory.limit_in_bytes"):  # of cgroups 2 and 1
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((folder / name).read_text()))
    return min(limits)


def _physical_memory() -> int:
    if sys.platform == "win32":
        return _windows_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _windows_memory() -> int:
    """Ask `GlobalMemoryStatusEx`: the third field of its answer, 8 bytes at offset 8."""
    status = (ctypes.c_ulonglong * 8)()
    ctypes.memmove(status, ctypes.byref(ctypes.c_ulong(ctypes.sizeof(status))), 4)
    ctypes.CDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status[1])


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices itself; False where that cannot be told."""
    try:
        with _CPUINFO.open(encoding="ascii", errors="replace") as lines:
            flags = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        return False
    return not _BF16.isdisjoint(flags.split())


def processor() -> str:
    """Return what the processor calls itself."""
    import platform

    with suppress(OSError, StopIteration), _CPUINFO.open(errors="replace") as lines:
        return next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    return platform.processor() or platform.machine()


def has_accelerator() -> bool:
    """Whether torch may find a GPU here: worth importing it to ask."""
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    return Path("/dev/kfd").exists() or _cuda_devices() > 0  # AMD's, NVIDIA's driver


def _cuda_devices() -> int:
    """Ask NVIDIA's driver how many devices it shows this process (CUDA_VISIBLE_DEVICES counts)."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value
