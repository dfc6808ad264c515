"""Run whole processes in turn: wall time and peak memory of each, always on files never read before.

This module and those that import it stay within the standard library: a child's peak memory counts
from the fork, so it is never less than what this process holds.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
_TAIL = 5  # lines of a failed process's stderr that are shown


@dataclass(frozen=True)
class Contender:
    """A program to measure: `command(folder, labels)` is its command line.

    One that `reports` prints a JSON object with figures of its own.
    """

    name: str
    command: Callable[[Path, list[str]], list[str]]
    reports: bool = False


@dataclass(frozen=True)
class Run:
    """A contender's part of a work: which photos it reads, under the name `key` in the results.

    `photos` are copied afresh for every process, unless they are a folder, which is read in place.
    `seen` labels are the same in every run; others are never used twice.
    """

    key: str
    contender: Contender
    photos: Sequence[Path] | Path
    seen: bool = False

    @property
    def images(self) -> int:
        """How many photos a process reads."""
        if isinstance(self.photos, Path):
            return sum(1 for _ in self.photos.iterdir())
        return len(self.photos)


@dataclass(frozen=True)
class Work:
    """Runs that are measured in turn, `repeats` times, each time in another order."""

    name: str
    title: str
    runs: Sequence[Run]
    repeats: int


@dataclass(frozen=True)
class Sample:
    """One process: wall seconds, peak resident megabytes, and what it printed."""

    seconds: float
    peak_mb: float
    stdout: str


class Bench:
    """Where runs take place: a scratch folder and the labels."""

    _NOUNS = ("cat", "dog", "rocket", "cup", "face", "galaxy", "engine", "tree", "street", "boat")

    def __init__(self, work: Path) -> None:
        self.work = work
        self._environment = _environment()

    def seen_labels(self) -> list[str]:
        """Return the ten labels that are the same in every run."""
        return [f"red {noun}" for noun in self._NOUNS]

    def new_labels(self) -> list[str]:
        """Return ten labels that no process has had before."""
        nonce = secrets.token_hex(4)
        return [f"{noun} {nonce}" for noun in self._NOUNS]

    def measure(self, work: Work) -> dict[str, Any]:
        """Run a work; return samples by run, and the medians."""
        samples: dict[str, list[Sample]] = {run.key: [] for run in work.runs}
        for repeat in range(work.repeats):
            shift = repeat % len(work.runs)
            for run in [*work.runs[shift:], *work.runs[:shift]]:
                sample = self.once(run)
                samples[run.key].append(sample)
                _say(f"{work.name}: {run.contender.name}, {run.images}: {sample.seconds:.2f} s")
        rows = [_row(run, samples[run.key]) for run in work.runs]
        return {"title": work.title, "repeats": work.repeats, "rows": rows}

    def once(self, run: Run) -> Sample:
        """Run one process on fresh copies of its photos."""
        labels = self.seen_labels() if run.seen else self.new_labels()
        if isinstance(run.photos, Path):
            return self.process(run.contender.command(run.photos, labels))
        folder = self.work / "copies"
        copy_fresh(run.photos, folder, secrets.token_hex(8))
        try:
            return self.process(run.contender.command(folder, labels))
        finally:
            shutil.rmtree(folder)

    def process(self, command: list[str]) -> Sample:
        """Run a command to its end. Raises SystemExit with its last lines where it fails."""
        out, err = self.work / "stdout", self.work / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            started = perf_counter()
            child = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=self._environment)
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                child.kill()
                raise
            seconds = perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            lines = err.read_text(errors="replace").splitlines()[-_TAIL:]
            raise SystemExit("\n".join([f"failed: {' '.join(command[:3])} …", *lines]))
        peak_mb = usage.ru_maxrss * _MAXRSS_UNIT / 1e6
        return Sample(seconds, peak_mb, out.read_text(errors="replace"))


def copy_fresh(photos: Sequence[Path], folder: Path, stamp: str) -> None:
    """Copy JPEGs with `stamp` as a comment in each: new content for a store, the same image.

    The copies are on the disk and in memory when this returns: no process waits for either.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    comment = stamp.encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    for photo in photos:
        data = photo.read_bytes()
        cut = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2  # after JFIF
        (folder / photo.name).with_suffix(".jpg").write_bytes(data[:cut] + segment + data[cut:])
    os.sync()


def _environment() -> dict[str, str]:
    """Return this process's environment: no network, no GPU, and no settings of siglip's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SIGLIP_")}
    return kept | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def _row(run: Run, samples: Sequence[Sample]) -> dict[str, Any]:
    seconds = [sample.seconds for sample in samples]
    reports = [json.loads(sample.stdout) for sample in samples if run.contender.reports]
    return {
        "key": run.key,
        "name": run.contender.name,
        "images": run.images,
        "seconds": seconds,
        "median": median(seconds),
        "peak_mb": max(sample.peak_mb for sample in samples),
        "reports": reports,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
