"""Compiled engines: built once, whole or not at all, and never trusted when they are not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from siglipcli.encoders import engines
from siglipcli.encoders.engines import Manifest, open_engine
from siglipcli.results import Head

MANIFEST = Manifest(
    model="tiny",
    fingerprint="f" * 32,
    precision="fp32",
    runtime="openvino 1",
    head=Head(10.0, -2.0),
    image_size=8,
    context_length=4,
    pad_token="</s>",
    clean="canonicalize",
)


class Builder:
    """Writes an engine of two files, and counts how often it was asked."""

    def __init__(self, content: str = "graph") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, draft: Path) -> None:
        self.calls += 1
        (draft / "image.xml").write_text(self.content)
        (draft / "tokenizer.json").write_text("{}")


def get(root: Path, build: Builder, manifest: Manifest = MANIFEST) -> Path:
    return open_engine(root / "engines", manifest, build, root)


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    """The second run finds what the first one built."""
    build = Builder()
    folder = get(tmp_path, build)
    assert get(tmp_path, build) == folder
    assert build.calls == 1
    assert (folder / "image.xml").read_text() == "graph"


@pytest.mark.parametrize(
    "change",
    [{"runtime": "openvino 2"}, {"head": Head(11.0, -2.0)}, {"image_size": 16}, {"clean": "lower"}],
)
def test_an_engine_that_is_stale_is_built_again(tmp_path: Path, change: dict[str, object]) -> None:
    """Another library version, or another reading of the checkpoint, means another engine."""
    get(tmp_path, Builder("old"))
    folder = get(tmp_path, Builder("new"), replace(MANIFEST, **change))  # type: ignore[arg-type]
    assert (folder / "image.xml").read_text() == "new"


@pytest.mark.parametrize(
    "damage", ["changed", "cut", "missing", "manifest", "no manifest", "replaced"]
)
def test_a_damaged_engine_is_built_again(tmp_path: Path, damage: str) -> None:
    """Whatever was done to its files, what runs is what was built."""
    folder = get(tmp_path, Builder())
    graph, manifest = folder / "image.xml", folder / "engine.json"
    if damage == "changed":
        graph.write_text("grapH")
    elif damage == "cut":
        graph.write_text("gr")
    elif damage == "missing":
        graph.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-20])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        times = graph.stat().st_atime_ns, graph.stat().st_mtime_ns
        other = tmp_path / "other"
        other.write_text("grapX")
        os.utime(other, ns=times)
        other.replace(graph)
    build = Builder()
    get(tmp_path, build)
    assert build.calls == 1
    assert graph.read_text() == "graph"


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The error is the builder's own, and no draft stays."""

    def fail(draft: Path) -> None:
        (draft / "image.xml").write_text("half")
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        open_engine(tmp_path / "engines", MANIFEST, fail, tmp_path)
    assert engines.engines(tmp_path / "engines") == []


def test_a_killed_build_is_not_trusted_and_not_left(tmp_path: Path) -> None:
    """Kill -9 in the middle leaves a draft, which the next builder throws away."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_engines import MANIFEST, open_engine\n"
        "def build(draft):\n"
        "    (draft / 'image.xml').write_text('half'); print('building', flush=True); time.sleep(60)\n"
        "root = Path(sys.argv[1]); open_engine(root / 'engines', MANIFEST, build, root)\n"
    )
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout
        assert builder.stdout.readline() == "building\n"
        builder.send_signal(signal.SIGKILL)
    (left,) = engines.engines(tmp_path / "engines")
    assert left.model == "unfinished"
    folder = get(tmp_path, Builder())
    assert (folder / "image.xml").read_text() == "graph"
    assert [kept.folder for kept in engines.engines(tmp_path / "engines")] == [folder]


def _slow_build(draft: Path) -> None:
    time.sleep(0.3)
    Builder(str(os.getpid()))(draft)


def _obtain_in_process(root: str) -> str:
    folder = open_engine(Path(root) / "engines", MANIFEST, _slow_build, Path(root))
    return (folder / "image.xml").read_text()


def test_two_first_runs_build_one_engine(tmp_path: Path) -> None:
    """Both get the same one; the second waited for the first."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        built = pool.map(_obtain_in_process, [str(tmp_path)] * 2, chunksize=1)
    assert built[0] == built[1]


def test_pruning_removes_what_this_version_cannot_use(tmp_path: Path) -> None:
    """Engines of another version go; the present one stays."""
    old = get(tmp_path, Builder(), replace(MANIFEST, fingerprint="a" * 32, runtime="openvino 0"))
    new = get(tmp_path, Builder())
    freed = engines.prune(tmp_path / "engines", "openvino 1")
    assert freed > 0
    assert (old.exists(), new.exists()) == (False, True)
    engines.clear(tmp_path / "engines")
    assert engines.engines(tmp_path / "engines") == []


def test_clearing_leaves_what_is_being_built(tmp_path: Path) -> None:
    """Its lock is taken: neither the engine nor the lock's file goes; afterwards the engine does."""
    root = tmp_path / "engines"
    folder = get(tmp_path, Builder())
    with engines.lock(root, MANIFEST.folder):
        number = (root / f"{MANIFEST.folder}.lock").stat().st_ino
        assert engines.clear(root) == 0
        assert folder.exists()
        assert (root / f"{MANIFEST.folder}.lock").stat().st_ino == number
    assert engines.clear(root) > 0
    assert not folder.exists()


def test_the_manifest_says_what_the_engine_is(tmp_path: Path) -> None:
    """A person can read what a folder was built from."""
    folder = get(tmp_path, Builder())
    content = json.loads((folder / "engine.json").read_text())
    assert content["manifest"]["model"] == "tiny"
    assert set(content["files"]) == {"image.xml", "tokenizer.json"}
