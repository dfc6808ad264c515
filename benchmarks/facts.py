"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from siglipcli.machine import available_cpus, has_bf16

PACKAGES = ("siglipcli", "openvino", "torch", "open_clip_torch", "timm", "transformers", "pillow")
_CPUINFO = Path("/proc/cpuinfo")


def gather() -> dict[str, object]:
    """Return what tells this machine and its software, and how busy it was at the start."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cpu": _cpu(),
        "cores": available_cpus(),
        "bf16": has_bf16(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES if _here(name)},
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    """Return the processor's name and its family of wide instructions."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    name = facts.get("model name") or platform.processor() or "unknown"
    return f"{name} ({', '.join(wide)})" if wide else name


def _here(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        print(f"{package} is not installed", file=sys.stderr)
        return False
    return True
