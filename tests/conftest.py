"""What every test may ask for: a deterministic fake encoder, the demo model and its engine, the full-size one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_encoder import FakeEncoder
from filelock import FileLock
from hypothesis import settings

from siglipcli import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
LONGEST = (
    *("test_batch_ray", "test_tuning"),
    *("test_parity", "test_openvino_runtime", "test_faults_model", "test_review", "test_html_report_browser"),
    *("test_faults_output", "test_faults_images", "test_cli_signals", "test_store_runs", "test_cli_process"),
)  # fmt: skip
"""Files that take a minute or so: they come first, or one process would end long after the other."""
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # in the background; tests send it to programs
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("plain", deadline=None)  # nothing is timed in a test
settings.load_profile("plain")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays in its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def encoder() -> FakeEncoder:
    """A fresh fake encoder."""
    return FakeEncoder()


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls for a moment does not look like a list that pauses: batches are full."""
    monkeypatch.setattr(prefetch, "_PAUSE", 60)


@contextmanager
def once(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, Path | None]]:
    """Yield a folder that all of pytest's processes share, and where to make it: None where it is made."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, draft = root / name, root / f"{name}-draft"
    with FileLock(root / f"{name}.lock"):
        if folder.exists():
            yield folder, None
        else:
            yield folder, draft
            draft.rename(folder)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the demo model's engine and no store, to be copied: `settings.with_engine`.

    Building an engine imports torch and open_clip, which takes ten times as long as a run with one.
    """
    with once(tmp_path_factory, "prepared") as (cache, draft):
        if draft:
            plain = {k: v for k, v in os.environ.items() if not k.startswith("SIGLIP_")}
            env = plain | {"SIGLIP_CACHE_DIR": str(draft), "SIGLIP_OFFLINE": "1"}
            line = [sys.executable, "-m", "siglipcli", "demo", "--format", "jsonl", "--quiet"]
            subprocess.run(line, env=env, check=True, capture_output=True)
            for store in draft.glob("embeddings*"):
                store.unlink()
    return cache


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ViT-B-16-SigLIP-384 at random weights: `open_clip/` and `transformers/`."""
    with once(tmp_path_factory, "full-size") as (folder, draft):
        if draft:
            script = ROOT / "scripts" / "random_weights.py"
            line = [sys.executable, script, "--out", draft]
            subprocess.run(line, check=True, capture_output=True)
    return folder
