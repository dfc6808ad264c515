"""The environment of tests that run commands: none of this machine's settings, and no model fetched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["settle", "with_engine"]


def settle(monkeypatch: pytest.MonkeyPatch, folder: Path, cache: Path, columns: int = 80) -> None:
    """Stand in `folder` with the demo model on torch, in fp32, and its store in `cache`."""
    for name in [name for name in os.environ if name.startswith("SIGLIP_")]:
        monkeypatch.delenv(name)
    for name, value in (
        *(("CACHE_DIR", str(cache)), ("MODEL", "demo"), ("OFFLINE", "1")),
        *(("RUNTIME", "torch"), ("DEVICE", "cpu"), ("PRECISION", "fp32")),
    ):
        monkeypatch.setenv(f"SIGLIP_{name}", value)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(folder)


def with_engine(prepared: Path, cache: Path) -> dict[str, str]:
    """Copy the fixture `prepared` to `cache`; return the environment of a process that uses it.

    A process with an engine takes a second; one that imports torch ten.
    """
    shutil.copytree(prepared, cache, dirs_exist_ok=True)
    plain = {k: v for k, v in os.environ.items() if not k.startswith("SIGLIP_")}
    return plain | {"SIGLIP_CACHE_DIR": str(cache), "SIGLIP_OFFLINE": "1", "SIGLIP_MODEL": "demo"}
