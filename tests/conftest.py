"""What every test may ask for: a deterministic fake encoder, the demo model, the full-size one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_encoder import FakeEncoder

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]


@pytest.fixture
def encoder() -> FakeEncoder:
    """A fresh fake encoder."""
    return FakeEncoder()


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ViT-B-16-SigLIP-384 at random weights: `open_clip/` and `transformers/`."""
    folder = tmp_path_factory.mktemp("full-size")
    script = ROOT / "scripts" / "random_weights.py"
    subprocess.run([sys.executable, script, "--out", folder], check=True, capture_output=True)
    return folder
