"""Signals: whole rows, the signal's status, a word about what is done, and never a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from settings import with_engine

from siglipcli.demo import IMAGES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# One process imports what a warm run needs; each run is a fork of it, so that 500 of them take seconds.
ATTACK = """
import os, random, signal, sys, time
import numpy, siglipcli.cli, siglipcli.api, siglipcli.cli.classify, siglipcli.store, siglipcli.outputs.output
from siglipcli import cli

count, folder, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rng = random.Random(11)
SIDE_BY_SIDE = 5

def start(name):
    files = [os.open(f"{out}/{name}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
             for stream in ("stdout", "stderr")]  # there, and empty, whenever the child ends
    pid = os.fork()
    if pid:
        for file in files:
            os.close(file)
        return pid
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    sys.argv = ["siglip", "classify", folder, "--labels", "labels.yaml", "--format", "jsonl"]
    cli.main()

def finish(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def attack(pids, began):
    firsts = [rng.uniform(0.002, whole) for _ in pids]
    moments = [(first + more, pid) for first, pid in zip(firsts, pids)
               for more in (0, rng.uniform(0.001, 0.05))]
    for moment, pid in sorted(moments):
        time.sleep(max(0, began + moment - time.perf_counter()))
        os.kill(pid, signal.SIGINT)  # a zombie takes it too

# as siglipcli.__main__ does; before the fork, as a signal may come before the child is scheduled
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
whole = 60.0
for _ in range(3):  # the quickest: a stall in one would bring the attack too late
    began = time.perf_counter()
    assert finish(start(0)) == 0, open(f"{out}/0.stderr").read()
    whole = min(whole, time.perf_counter() - began)
bad, interrupted = [], 0
for _ in range(count // SIDE_BY_SIDE):
    pids = [start(n) for n in range(SIDE_BY_SIDE)]
    attack(pids, time.perf_counter())
    for n, pid in enumerate(pids):
        status = finish(pid)
        said = open(f"{out}/{n}.stderr", errors="replace").read()
        rows = open(f"{out}/{n}.stdout", "rb").read()
        interrupted += status == 130
        whole_rows = not rows or rows[-1:] == b"\\n"
        if status not in (0, 130) or "bug" in said or "Traceback" in said or not whole_rows:
            bad.append((status, said[-300:], rows[-100:]))
print(interrupted, bad)
"""

# A process started in the background of a shell has Ctrl-C switched off: switch it on again.
START = """
import signal
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler)
from siglipcli.cli import main
main()
"""


@pytest.fixture
def warm(tmp_path: Path, prepared: Path) -> Path:
    """A folder with images and labels, and a cache with the demo's engine."""
    with_engine(prepared, tmp_path / "cache")
    folder = tmp_path / "images"
    folder.mkdir()
    image = (IMAGES / "red-circle.jpg").read_bytes()
    for n in range(60):
        (folder / f"{n:03}.jpg").write_bytes(image)
    (tmp_path / "labels.yaml").write_text("labels: [red circle, blue star]\n")
    os.utime(folder / "000.jpg", (1_700_000_000, 1_700_000_000))
    return tmp_path


def environment(tmp_path: Path) -> dict[str, str]:
    settings = {"MODEL": "demo", "DEVICE": "cpu"}
    cache = {"CACHE_DIR": str(tmp_path / "cache"), "OFFLINE": "1"}
    return os.environ | {f"SIGLIP_{name}": value for name, value in (settings | cache).items()}


@pytest.mark.parametrize("runs", [40, pytest.param(500, marks=pytest.mark.stress)])
def test_a_second_ctrl_c_ends_a_run_as_the_first_would(warm: Path, runs: int) -> None:
    """Runs that are interrupted twice, 1 to 50 ms apart: status 130 or done, whole rows, no crash."""
    first = [sys.executable, "-m", "siglipcli", "classify", "images", "--labels", "labels.yaml"]
    subprocess.run(first, cwd=warm, env=environment(warm), check=True, capture_output=True)
    run = subprocess.run(
        [sys.executable, "-c", ATTACK, str(runs), "images", str(warm)],
        cwd=warm, env=environment(warm), check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    interrupted, _, bad = run.stdout.partition(" ")
    assert bad.strip() == "[]"
    assert int(interrupted) >= runs / 2  # else the attack came too late


def test_an_interrupt_says_what_is_done_and_how_to_go_on(warm: Path) -> None:
    """Ctrl-C in a run over a list that never ends: the count, and that the same command continues."""
    run = subprocess.Popen(
        [sys.executable, "-c", START, "classify", "--files-from", "-", "--labels", "labels.yaml"],
        cwd=warm, env=environment(warm), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdin
    assert run.stdout
    run.stdin.write(b"images/000.jpg\nimages/001.jpg\n")
    run.stdin.flush()
    rows = [run.stdout.readline(), run.stdout.readline()]
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert all(row.endswith(b"\n") for row in rows)
    assert run.returncode == 130
    assert b"done and stored; run the same command to continue" in said
    assert (
        b"interrupted: 2 done" in said or b"interrupted: 1 done" in said
    )  # the second is on its way


def test_sighup_puts_the_draft_away(warm: Path) -> None:
    """A terminal that closes ends a run as SIGTERM does: status 129, no draft beside the output."""
    run = subprocess.Popen(
        [sys.executable, "-c", START, "classify", "--files-from", "-", "--labels", "labels.yaml", "-o", "out.jsonl"],
        cwd=warm, env=environment(warm), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdin
    run.stdin.write(b"images/000.jpg\n")
    run.stdin.flush()
    end = time.monotonic() + 60
    while not list(warm.glob(".siglip-*.part")) and time.monotonic() < end:
        time.sleep(0.02)
    assert list(warm.glob(".siglip-*.part"))
    run.send_signal(signal.SIGHUP)
    run.communicate(timeout=60)
    assert run.returncode == 129
    assert not [*warm.glob(".siglip-*.part"), *warm.glob("out*")]
