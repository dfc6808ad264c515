"""What every fault test may ask for: the command, with the demo model prepared once."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from command import HEART, Siglip

if TYPE_CHECKING:
    from pathlib import Path

_NOT_OURS = ("SIGLIP_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_")
_OF_TERMINALS = ("NO_COLOR", "FORCE_COLOR", "CI", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def _environment(cache: Path) -> dict[str, str]:
    plain = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(_NOT_OURS) and k not in _OF_TERMINALS
    }
    # no line of progress after the first minute, which a busy machine may take
    return {
        **plain, "SIGLIP_CACHE_DIR": str(cache), "SIGLIP_OFFLINE": "1", "TERM": "xterm-256color",
        "COLUMNS": "100", "LINES": "40", "HF_HOME": str(cache / "no-hub"), "SIGLIP_PROGRESS": "none",
    }  # fmt: skip


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Siglip:
    """The command with one cache for all tests, in which the demo model's engine is prepared."""
    cache = tmp_path_factory.mktemp("shared")
    shutil.copytree(prepared, cache, dirs_exist_ok=True)
    shared = Siglip(_environment(cache))
    run = shared.classify(HEART, "--no-cache")
    assert run.status == 0, run.stderr
    assert run.row["file"] == str(HEART)
    return shared


@pytest.fixture
def siglip(shared: Siglip, tmp_path: Path) -> Siglip:
    """The command; its temporary files stay in the test's folder."""
    return Siglip(shared.env | {"TMPDIR": str(tmp_path)})


@pytest.fixture
def own(shared: Siglip, tmp_path: Path) -> Siglip:
    """The command with a cache of its own: the engine is there, the store is empty."""
    cache = tmp_path / "cache"
    without = shutil.ignore_patterns("embeddings*")
    shutil.copytree(shared.env["SIGLIP_CACHE_DIR"], cache, ignore=without)
    return Siglip(_environment(cache) | {"TMPDIR": str(tmp_path)})
