"""Compiled engines: built once, whole or not at all, and never trusted when they are not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siglipcli.encoders import engines
from siglipcli.encoders.engines import Manifest, open_engine
from siglipcli.results import Head

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.skipif(os.name == "nt", reason="SIGSTOP is POSIX's")
def test_who_is_waited_for_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another's build is named after a while, with its process; a stopped one is told from one at work."""
    caplog.set_level("INFO", "siglipcli")
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_engines import MANIFEST, Builder, open_engine\n"
        "def build(draft):\n"
        "    print('building', flush=True); sys.stdin.readline(); Builder('theirs')(draft)\n"
        "root = Path(sys.argv[1]); open_engine(root / 'engines', MANIFEST, build, root)\n"
    )
    here, build = str(Path(__file__).parent), Builder()
    with (
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), here],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as other,
        ThreadPoolExecutor(1) as pool,
    ):  # fmt: skip
        assert other.stdout
        assert other.stdout.readline() == "building\n"
        other.send_signal(signal.SIGSTOP)
        root = tmp_path / "engines"
        waits = pool.submit(open_engine, root, MANIFEST, build, tmp_path, patience=0.05)
        stopped = f"the siglip that prepares tiny (pid {other.pid}) is stopped"
        works = f"waiting for another siglip that prepares tiny (pid {other.pid})"
        wait_for(lambda: stopped in caplog.text)
        other.send_signal(signal.SIGCONT)
        wait_for(lambda: works in caplog.text)
        other.communicate("go on\n")
        assert (waits.result(60) / "image.xml").read_text() == "theirs"
    assert build.calls == 0
    assert caplog.text.count(stopped) == 1


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to be")


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_an_engine_is_private(tmp_path: Path) -> None:
    """Other users may read none of it, nor the digests of its files."""
    before = os.umask(0)
    try:
        open_engine(tmp_path / "cache" / "engines", MANIFEST, Builder(), tmp_path / "cache")
        with engines.lock(tmp_path / "cache" / "engines", MANIFEST.folder, "tiny"):
            modes = {
                oct(path.stat().st_mode & 0o777)
                for path in (tmp_path / "cache").rglob("*")
                if path.is_file()
            }
            assert modes == {"0o600"}
    finally:
        os.umask(before)
    folders = [
        tmp_path / "cache",
        *(path for path in (tmp_path / "cache").rglob("*") if path.is_dir()),
    ]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


def test_clearing_takes_an_engine_away_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has left its name before the first of its files is deleted, and its lock is free by then."""
    folder = get(tmp_path, Builder())
    built: list[Path] = []

    def delete(aside: Path) -> None:
        monkeypatch.undo()  # the builder deletes too
        assert {path.name for path in aside.iterdir()} == {
            "engine.json",
            "image.xml",
            "tokenizer.json",
        }
        assert not folder.exists()
        built.append(get(tmp_path, Builder()))

    monkeypatch.setattr("siglipcli.files.delete", delete)
    engines.clear(tmp_path / "engines")
    assert built == [folder]


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
    with engines.lock(root, MANIFEST.folder, "tiny"):
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
