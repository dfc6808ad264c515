"""What this machine has: processors, bf16, accelerators, the cache folder."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from siglipcli import machine


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Eight processors to run on, and a group whose quota file is not there yet."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_processors_respect_affinity_and_quota(cpus: Path, quota: str | None, count: int) -> None:
    """A container's quota limits the threads, rounded up and never below one."""
    if quota is not None:
        cpus.write_text(quota)
    assert machine.available_cpus() == count


def test_a_quota_of_a_group_above_counts(cpus: Path, tmp_path: Path) -> None:
    """The smallest quota on the way up to the root is the one that holds."""
    (tmp_path / "membership").write_text("0::/slice/job\n")
    (tmp_path / "slice" / "job").mkdir(parents=True)
    (tmp_path / "slice" / "job" / "cpu.max").write_text("600000 100000\n")
    assert machine.available_cpus() == 6
    (tmp_path / "slice" / "cpu.max").write_text("300000 100000\n")
    assert machine.available_cpus() == 3


def test_quotas_of_version_one_count(cpus: Path, tmp_path: Path) -> None:
    """Older systems keep quota and period in two files; -1 is no limit."""
    (tmp_path / "membership").write_text("4:memory:/job\n3:cpu,cpuacct:/job\n")
    group = tmp_path / "cpu,cpuacct" / "job"
    group.mkdir(parents=True)
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.available_cpus() == 8
    (group / "cpu.cfs_quota_us").write_text("400000\n")
    assert machine.available_cpus() == 4


def test_processors_where_affinity_is_unknown(cpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems without affinity count their processors."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.available_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cpus() == 1


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags : fpu avx512f avx2\n", False),
        ("flags : my_avx512_bf16x\n", False),
        ("processor : 0\n", False),
        ("", False),
    ],
)
def test_bf16_is_read_from_the_processors_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, has: bool
) -> None:
    """bf16 is used where the processor multiplies it itself, on x86 and on Arm."""
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", file)
    assert machine.has_bf16() is has


def test_bf16_is_not_assumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the processor's flags cannot be read, the answer is no."""
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "nothing")
    assert machine.has_bf16() is False


class _Driver:
    """A stand-in for NVIDIA's driver: `cuInit` answers `status`, and there are `devices`."""

    def __init__(self, status: int, devices: int) -> None:
        self.cuInit = lambda flags: status
        self._devices = devices

    def cuDeviceGetCount(self, pointer: object) -> int:  # noqa: N802  # the driver's own name
        pointer._obj.value = self._devices
        return 0


@pytest.mark.skipif(sys.platform == "darwin", reason="asks the processor's make instead")
@pytest.mark.parametrize(
    ("status", "devices", "has"), [(0, 2, True), (0, 0, False), (100, 1, False)]
)
def test_nvidia_devices_are_asked_of_the_driver(
    monkeypatch: pytest.MonkeyPatch, status: int, devices: int, has: bool
) -> None:
    """A card counts if the driver shows it to this process; a driver without one does not."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Driver(status, devices))
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert machine.has_accelerator() is has


@pytest.mark.skipif(sys.platform == "darwin", reason="asks the processor's make instead")
def test_no_driver_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVIDIA's driver and without AMD's has no accelerator."""

    def absent(name: str) -> object:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert machine.has_accelerator() is False
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/kfd")
    assert machine.has_accelerator() is True


def test_the_cache_folder_is_the_users_unless_another_is_chosen(tmp_path: Path) -> None:
    """What is kept lies in the user's cache folder, or where --cache-dir says."""
    assert machine.cache_folder(tmp_path) == tmp_path
    assert machine.cache_folder().name == "siglip"


def test_memory_respects_the_groups_limits(cpus: Path, tmp_path: Path) -> None:
    """A container's limit bounds it, the smallest on the way up; "max" is none."""
    whole = machine.memory()
    assert whole > 1 << 27
    (tmp_path / "membership").write_text("0::/slice/job\n")
    (tmp_path / "slice" / "job").mkdir(parents=True)
    (tmp_path / "slice" / "job" / "memory.max").write_text("max\n")
    assert machine.memory() == whole
    (tmp_path / "slice" / "memory.max").write_text("67108864\n")
    assert machine.memory() == 1 << 26


def test_memory_limits_of_version_one_count(cpus: Path, tmp_path: Path) -> None:
    """Older systems keep the limit in a file of another name."""
    (tmp_path / "membership").write_text("4:memory:/job\n3:cpu,cpuacct:/job\n")
    group = tmp_path / "memory" / "job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("67108864\n")
    assert machine.memory() == 1 << 26
