"""What this machine has, asked without importing a model library."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus", "cache_folder", "has_accelerator", "has_bf16"]

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
    try:
        groups = [line.split(":", 2) for line in _MEMBERSHIP.read_text().splitlines()]
    except OSError:
        return None
    granted = []
    for _, controllers, path in groups:
        if not controllers or "cpu" in controllers.split(","):
            group = PurePosixPath(path.lstrip("/"))
            granted += [_granted(_CGROUPS / controllers / g) for g in (group, *group.parents)]
    return min((-(-quota // period) for quota, period in filter(None, granted)), default=None)


def _granted(folder: Path) -> tuple[int, int] | None:
    """Return microseconds of processor time and the period they are for; None for no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        found = int(quota), int(period)
    except (OSError, ValueError):  # not there, or "max"
        return None
    return found if min(found) > 0 else None


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices itself; False where that cannot be told."""
    try:
        with _CPUINFO.open(encoding="ascii", errors="replace") as lines:
            flags = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        return False
    return not _BF16.isdisjoint(flags.split())


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
