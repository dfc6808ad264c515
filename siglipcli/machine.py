"""What this machine has, asked without importing a model library."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

__all__ = ["available_cpus", "cache_folder", "has_accelerator", "has_bf16"]

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
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
    """Return the processors that cgroup v2 grants, rounded up; None where there is no limit."""
    try:
        quota, period = _CGROUP_V2.read_text(encoding="ascii").split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return None


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
