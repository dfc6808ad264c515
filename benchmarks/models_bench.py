"""Measure every architecture of the catalogue on this machine's CPU: images a second and peak memory.

    python benchmarks/models_bench.py                         # all that fit in memory, smallest first
    python benchmarks/models_bench.py --only B-16 --images 8  # those whose name holds this; the others stay as they were
    python benchmarks/models_bench.py --int8                  # also the int8 engine of each (minutes a model)

Weights are random, which changes neither speed nor memory, and the text tower has one layer, as none is encoded.
Models with the same image tower (SigLIP and SigLIP 2 of one size) are measured once. Figures go into
siglipcli/encoders/speeds.json, from where `siglip models list` and docs/models.md have them, with the
processor's name; compare models with each other, not seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facts
from jobs import Bench

from siglipcli.encoders import timing
from siglipcli.encoders.catalog import CATALOG
from siglipcli.encoders.speeds import PATH, tower

if TYPE_CHECKING:
    from siglipcli.encoders.catalog import Entry

HERE = Path(__file__).parent
PHOTOS = 96  # to tune on


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose name holds this")
    parser.add_argument("--images", type=int, default=12, help="images to encode, for each model")
    parser.add_argument("--int8", action="store_true", help="tune each model, and measure that too")
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="scratch folder")
    return parser.parse_args()


def main() -> None:
    """Measure one tower after another; what was measured is written at once."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.work)
    for entry in chosen(options.only):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if timing.building_bytes(entry.image_params) > memory:
            print(f"{entry.name}: left out, too large for this memory", file=sys.stderr)
            continue
        row = measured(bench, entry, options)
        write(entry, row)
        print(json.dumps({tower(entry): row}), flush=True)


def chosen(text: str) -> list[Entry]:
    """Return one model for each image tower, the smallest first."""
    towers: dict[str, Entry] = {}
    for entry in CATALOG.values():
        if text in entry.name:
            towers.setdefault(tower(entry), entry)
    return sorted(towers.values(), key=lambda entry: entry.image_params * entry.image_size**2)


def measured(bench: Bench, entry: Entry, options: argparse.Namespace) -> dict[str, Any]:
    """Build a model with random weights, and measure its image tower in a process of its own."""
    folder, cache = options.work / "model", options.work / "models-cache"
    for left in (folder, cache):
        shutil.rmtree(left, ignore_errors=True)
    script = HERE.parent / "scripts" / "random_weights.py"
    words = ["--out", str(folder), "--architecture", entry.name, "--image-only"]
    subprocess.run([sys.executable, str(script), *words], check=True)
    try:
        model = str(folder / "open_clip")
        encode(bench, model, cache, 1)  # builds the engine
        row = encode(bench, model, cache, options.images)
        if options.int8:
            tune(bench, model, cache, options.work)
            row["int8"] = encode(bench, model, cache, options.images, "int8")
        return row
    finally:
        for made in (folder, cache):
            shutil.rmtree(made, ignore_errors=True)


def encode(
    bench: Bench, model: str, cache: Path, images: int, precision: str = "auto"
) -> dict[str, Any]:
    """Return images a second, peak memory in MB, and at which precision."""
    where = ["--model", model, "--cache-dir", str(cache), "--images", str(images)]
    command = [sys.executable, str(HERE / "ceiling.py"), *where, "--precision", precision]
    sample = bench.process(command)
    report = json.loads(sample.stdout)
    return {
        "precision": report["precision"],
        "images_per_second": float(f"{report['images_per_second']:.3g}"),
        "peak_mb": round(sample.peak_mb),
    }


def tune(bench: Bench, model: str, cache: Path, work: Path) -> None:
    """Make the int8 engine; random weights need not hold the floors."""
    photos = work / f"{PHOTOS}-photos"
    if not photos.exists():
        words = ["--out", str(photos), "--count", str(PHOTOS), "--size", "500x375"]
        subprocess.run([sys.executable, str(HERE / "photos.py"), *words], check=True)
    program = str(Path(sys.executable).with_name("siglip"))
    where = ["--with", str(photos), "--cache-dir", str(cache), "--offline", "--accept"]
    bench.process([program, "models", "tune", model, *where, "--minutes", "3"])


def write(entry: Entry, row: dict[str, Any]) -> None:
    """Put a tower's figures into the data file; those of another machine go."""
    machine = facts.gather()
    about = {key: machine[key] for key in ("cpu", "cores", "date", "packages")}
    old = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    is_same = old.get("machine", {}).get("cpu") == about["cpu"]
    towers = old.get("towers", {}) if is_same else {}
    towers[tower(entry)] = row | {"load_before": machine["load_before"]}
    content = {"machine": about, "towers": dict(sorted(towers.items()))}
    PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
