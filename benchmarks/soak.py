"""One process over very many inputs: memory and descriptors stay flat, the counts are right.

    python benchmarks/soak.py [--inputs 100000] [--store]

The inputs are hard links of a few hundred images, one in fifty cut short. Memory is looked at after
a tenth of the rows and near the last; it may grow by 5 %. `--store` runs with the embedding store (a
fresh one, whose page cache of 4 MiB fills on the way), otherwise every image is decoded and encoded. About five minutes on 2 cores. Linux only.
Exit status 1 if a condition does not hold.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = 500  # different images; one in BAD of them is cut short
BAD = 50
A_FOLDER = 1000
GROWTH = 1.05
READING = 16  # descriptors of files that are read at the moment
LABELS = ("-L", "red circle", "-L", "blue heart", "-L", "green star")


@dataclass(frozen=True)
class Look:
    """What a process held after so many rows: memory in MiB, in all and its own; open descriptors.

    What is not its own are files that it maps.
    """

    rows: int
    memory: float
    own: float
    descriptors: int


def make(folder: Path, inputs: int) -> None:
    """Make so many inputs in folders of a thousand, named in the order they are read."""
    sources = [_source(folder / f"source-{kind}", kind) for kind in range(KINDS)]
    for number in range(inputs):
        home = folder / "in" / f"{number // A_FOLDER:06}"
        if number % A_FOLDER == 0:
            home.mkdir(parents=True)
        os.link(sources[number % KINDS], home / f"{number % A_FOLDER:04}.jpg")


def _source(path: Path, kind: int) -> Path:
    rng = np.random.default_rng(kind)
    side = int(rng.integers(40, 500))
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((side, side + kind % 90)).save(out, "PNG" if kind % 5 == 0 else "JPEG")
    data = out.getvalue()
    path.write_bytes(data[: len(data) // 2] if kind % BAD == 0 else data)
    return path


def look(process: int, rows: int) -> Look:
    """Look at a process from outside."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    held, own = (int(re.findall(rf"{key}:\s+(\d+) kB", status)[0]) for key in ("VmRSS", "RssAnon"))
    descriptors = len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208
    return Look(rows, held / 1024, own / 1024, descriptors)


def run(folder: Path, inputs: int, *, store: bool) -> tuple[list[Look], dict[str, int], int, str]:
    """Run over the inputs; return the looks, how many rows of each status, exit status, stderr."""
    command = [sys.executable, "-c", "from siglipcli.__main__ import main; main()", "classify"]
    command += [
        "--model",
        "demo",
        *LABELS,
        "--format",
        "jsonl",
        "--cache-dir",
        str(folder / "cache"),
    ]
    # a run of its own prepares the engine: that takes torch, which would stay in memory
    prepare = [*command, "--no-cache", str(folder / "source-1")]
    subprocess.run(prepare, check=True, capture_output=True)
    command += [str(folder / "in"), *([] if store else ["--no-cache"])]
    looks: list[Look] = []
    counts = {"ok": 0, "error": 0}
    with (
        (folder / "stderr").open("w+", encoding="utf-8") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout
        for number, line in enumerate(process.stdout, 1):
            counts[json.loads(line)["status"]] += 1
            # a little before the last row: then the process is still there to be looked at
            tenth = number % (inputs // 10) == 0 and number < inputs
            if tenth or number == inputs - inputs // 100:
                looks.append(look(process.pid, number))
        status = process.wait()
        stderr.seek(0)
        return looks, counts, status, stderr.read()


def judge(
    looks: list[Look], counts: dict[str, int], status: int, said: str, inputs: int
) -> list[str]:
    """Return what does not hold."""
    bad = sum(1 for number in range(inputs) if number % KINDS % BAD == 0)
    wrong = []
    if counts != {"ok": inputs - bad, "error": bad}:
        wrong.append(f"rows: {counts}, where {inputs - bad} ok and {bad} errors were due")
    if status != 1 or f"{bad:,} failed, " not in said:
        wrong.append(f"exit status {status}: {said}")
    if looks[-1].memory > looks[0].memory * GROWTH:
        wrong.append(f"memory grew from {looks[0].memory:.0f} to {looks[-1].memory:.0f} MiB")
    if looks[-1].descriptors > looks[0].descriptors + READING:
        wrong.append(f"descriptors: {looks[0].descriptors}, then {looks[-1].descriptors}")
    return wrong


def main() -> int:
    """Make the inputs, run, print the looks; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--store", action="store_true", help="with the embedding store")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, given.inputs)
        begun = time.monotonic()
        looks, counts, status, said = run(folder, given.inputs, store=given.store)
        seconds = time.monotonic() - begun
    print("| rows | memory, MiB | its own, MiB | descriptors |\n|---:|---:|---:|---:|")
    for each in looks:
        print(f"| {each.rows:,} | {each.memory:.1f} | {each.own:.1f} | {each.descriptors} |")
    print(f"\n{counts['ok']:,} answered, {counts['error']:,} failed, {seconds:.0f} s")
    wrong = judge(looks, counts, status, said, given.inputs)
    print(
        "\n".join(wrong) if wrong else "memory is flat, no descriptor leaks, the counts are right"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
