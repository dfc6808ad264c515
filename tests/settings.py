"""The environment of tests that run commands: none of this machine's settings, and no model fetched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["settle"]


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
