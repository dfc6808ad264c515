"""Measure what the embedding store is for: the second run over a folder, and search in it.

    python benchmarks/store_bench.py                          # the demo model, about 2 minutes
    python benchmarks/store_bench.py --model FOLDER --cache DIR --million 0

Folders are made of small files (hard links to a few JPEGs: the path differs, which is what counts),
and the store is filled with random unit vectors under the model's own fingerprint, so that nothing
waits for a tower. Each figure is a whole process, the median of five. Prints; writes no results.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

SMALL, MANY = 10_000, 100_000
PER_FOLDER = 1_000
LINKS = 30_000  # of one file, at most; file systems have limits
REPEATS = 5
LABELS = ("red circle", "blue heart", "green star", "white cross", "black crescent", "yellow bolt")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="a model that is here")
    parser.add_argument("--cache", type=Path, help="a cache folder with its engine; it is copied")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work" / "store")
    parser.add_argument("--million", type=int, default=1_000_000, help="paths for the memory row")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Make the folders, measure, print."""
    options = arguments()
    cache = options.work / "cache"
    if options.fill:
        fill(options.work, options.fill, cache, options.model)
        return
    if options.cache and not cache.exists():
        shutil.copytree(options.cache, cache)
    options.work.mkdir(parents=True, exist_ok=True)
    common = ["--model", options.model, "--cache-dir", str(cache), "--offline", "--format", "jsonl"]
    counts = [SMALL, MANY, *([options.million] if options.million else [])]
    folders = {count: made(options, count) for count in counts}
    print(f"load before: {os.getloadavg()[0]:.2f}")
    labels = [word for label in LABELS for word in ("--label", label)]
    for name, command in (
        ("classify 10,000 again", ["classify", folders[SMALL], *labels]),
        ("search 100,000, words known", ["search", "a dog on a beach", folders[MANY]]),
        ("search 100,000, new words", ["search", "NEW", folders[MANY]]),
        ("classify 100,000 again", ["classify", folders[MANY], *labels]),
    ):
        show(name, [process([*command, *common], turn) for turn in range(-1, REPEATS)][1:])
    for count in counts:
        command = ["search", "a dog on a beach", folders[count], *common]
        show(f"search {count:,}: memory", [process(command, turn) for turn in range(2)][1:])
    print(f"load after: {os.getloadavg()[0]:.2f}")


def show(name: str, runs: list[tuple[float, float]]) -> None:
    """Print one row."""
    seconds, peak = (median(column) for column in zip(*runs, strict=True))
    print(f"{name:<30} {seconds:6.2f} s  {peak:6.0f} MB")


def process(command: list[Any], turn: int) -> tuple[float, float]:
    """Run `siglip` once: wall seconds and peak resident megabytes. NEW becomes words never seen."""
    words = [f"a dog on beach {time.time_ns()} {turn}" if w == "NEW" else str(w) for w in command]
    line = [sys.executable, "-c", "from siglipcli.__main__ import main; main()", *words, "--quiet"]
    started = time.perf_counter()
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def made(options: argparse.Namespace, count: int) -> Path:
    """Return a folder of so many files whose vectors the store holds, made by a process of its own."""
    folder: Path = options.work / str(count)
    if not folder.exists():
        line = [sys.executable, __file__, "--fill", str(count), "--work", str(options.work)]
        subprocess.run([*line, "--model", options.model], check=True)
    return folder


def fill(work: Path, count: int, cache: Path, model: str) -> None:
    """Make a folder of `count` files and enter a random vector for each."""
    import numpy as np

    from siglipcli import Classifier
    from siglipcli.files import stamp
    from siglipcli.store import Entry, FileState, Store, content_digest

    store = Store(cache)
    classifier = Classifier.load(model, cache_dir=cache, offline=True, store=store)
    width = classifier.encode_texts(["a dog on a beach"]).shape[1]
    encoder = classifier.encoder
    space = store.space(f"{encoder.fingerprint}-reduced", encoder.name)
    draft, rng = work / f"{count}.draft", np.random.default_rng(0)
    final = os.fsencode((work / str(count)).absolute())
    for start in range(0, count, PER_FOLDER):
        vectors = rng.standard_normal((PER_FOLDER, width), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        names = linked(draft, start)
        space.keep(
            [
                Entry(
                    content_digest(f"{count} {start + i}".encode()),
                    vectors[i],
                    FileState(
                        final + b"/" + os.fsencode(name),
                        *stamp(info),
                    ),
                )
                for i, (name, info) in enumerate(names)
            ]
        )
    store.close()
    draft.rename(work / str(count))


def linked(draft: Path, start: int) -> list[tuple[Path, os.stat_result]]:
    """Make one subfolder of small JPEGs; return their paths below the folder, and their states."""
    first = draft / f"photo{start - start % LINKS:07}.source"
    if not first.exists():
        draft.mkdir(parents=True, exist_ok=True)
        first.write_bytes(jpeg(start))
        os.utime(first, (0, time.time() - 1000))
    names = [
        Path(f"{start // PER_FOLDER:05}", f"photo{start + i:07}.jpg") for i in range(PER_FOLDER)
    ]
    (draft / names[0]).parent.mkdir()
    for name in names:
        os.link(first, draft / name)
    info = first.stat()
    return [(name, info) for name in names]


def jpeg(seed: int) -> bytes:
    """Return a tiny image."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (seed % 256, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
