"""Measure `siglip` side by side with the transformers pipeline and a script after open_clip's README.

    make bench                                  # everything, about 20 minutes on 2 cores
    python benchmarks/bench.py --quick          # does it run? its figures mean nothing
    python benchmarks/bench.py --only help one  # these rows anew, the others as they were measured
    python benchmarks/bench.py --half           # half the photos, for a machine that takes a second for each
    python benchmarks/bench.py --report         # write RESULTS.md again from results.json

All run the same weights (random, of the real architecture) on the same photos, on the CPU, each as a
whole process, in turn, and medians are compared. RESULTS.md and results.json are written only by a full
run; `--quick` leaves its own beside the photos in the work folder. What a person has to say about the
figures, such as why a bar is missed, goes into notes.md, and from there into RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from time import monotonic
from typing import Any

import agreement
import contenders
import facts
import report
from jobs import Bench, Contender, Run, Work

HERE = Path(__file__).parent
WARM_UP_PHOTOS = 8
LEAST_TUNED = 64  # photos, below which nothing can be tuned


@dataclass(frozen=True)
class Sizes:
    """How much work: photos and repeats. Rivals read only `small` of a folder's `many` photos."""

    small: int = 48
    many: int = 200
    large: int = 40
    again: int = 5_000
    short_repeats: int = 5
    repeats: int = 3
    ceiling: int = 100


HALF = Sizes(small=24, many=96, large=20, again=2_500)
QUICK = Sizes(small=4, many=8, large=2, again=300, short_repeats=1, repeats=1, ceiling=6)


@dataclass(frozen=True)
class Material:
    """What is measured with: weights in both formats, photos, siglip's cache folder."""

    open_clip: Path
    transformers: Path
    photos: list[Path]
    large: list[Path]
    cache: Path


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few photos, one repeat")
    parser.add_argument("--half", action="store_true", help="half the photos")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md again")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORK",
        help="measure these anew: help, one, folder, int8, large, again",
    )
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="scratch folder")
    parser.add_argument("--weights", type=Path, help="a folder made by scripts/random_weights.py")
    parser.add_argument(
        "--photos", type=Path, help="a folder of 200 or more JPEGs, in place of ours"
    )
    parser.add_argument("--large-photos", type=Path, help="a folder of 40 or more large JPEGs")
    parser.add_argument("--cache", type=Path, help="use this cache folder, and keep it")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the results."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    place = options.work if options.quick else HERE
    if options.report:
        results = json.loads((place / "results.json").read_text(encoding="utf-8"))
    else:
        sizes = QUICK if options.quick else HALF if options.half else Sizes()
        results = measured(options, sizes)
        if options.only:
            older = json.loads((place / "results.json").read_text(encoding="utf-8"))
            results = older | _only_new(results, older)
        (place / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = report.markdown(results, HERE / "notes.md")
    (place / "RESULTS.md").write_text(text, encoding="utf-8")
    print(text)


def _only_new(results: dict[str, Any], older: dict[str, Any]) -> dict[str, Any]:
    """Return what changes: works that were measured anew, with the machine and day where these are others."""
    machine = {} if _same_conditions(results, older) else {"machine": results["machine"]}
    works = {name: work | machine for name, work in results["works"].items()}
    tuned = {"tuned": results["tuned"]} if "tuned" in results else {}
    return {"works": older["works"] | works} | tuned


def _same_conditions(results: dict[str, Any], older: dict[str, Any]) -> bool:
    return all(results["machine"][key] == older["machine"][key] for key in ("cpu", "cores", "date"))


def measured(options: argparse.Namespace, sizes: Sizes) -> dict[str, Any]:
    """Do all the work and return what was measured."""
    started, machine = monotonic(), facts.gather()
    if not options.cache:  # left by a run that was killed
        shutil.rmtree(options.work / "cache", ignore_errors=True)
    material = gather(options, sizes)
    bench = Bench(options.work)
    stored = has_store(bench)
    try:
        prepare = prepare_engine(bench, material)
        wanted = options.only or ["help", "one", "folder", "int8", "large", "again"]
        tuned = tune_engine(bench, material) if "int8" in wanted else None
        if not tuned:
            wanted = [name for name in wanted if name != "int8"]
        few = material.photos[:WARM_UP_PHOTOS]
        compared = rivals_and_siglip(material, few)
        if tuned:
            compared.append(Run("siglip_int8", _int8(material), few))
        scores = agreement.check(bench, compared)
        everything = plan(material, sizes, stored=stored, bf16=bool(machine["bf16"]))
        planned = [work for work in everything if work.name in wanted]
        works = {work.name: bench.measure(work) for work in planned}
        if stored and "again" in wanted:
            works["again"] = bench.measure(again(bench, material, sizes))
    finally:
        for folder in _again_folders(bench):
            shutil.rmtree(folder, ignore_errors=True)
        if not options.cache:
            shutil.rmtree(material.cache, ignore_errors=True)
    return {
        "quick": options.quick,
        "machine": machine,
        "minutes": (monotonic() - started) / 60,
        "photos": {"small": megabytes(material.photos), "large": megabytes(material.large)},
        "own_photos": {"small": not options.photos, "large": not options.large_photos},
        "prepare": prepare,
        "agreement": scores,
        "works": works,
        **({"tuned": tuned} if tuned else {}),
    }


def gather(options: argparse.Namespace, sizes: Sizes) -> Material:
    """Find or make weights and photos, each in a process of its own: this one must stay small."""
    weights = options.weights or _random_weights(options.work / "weights")
    photos = options.photos or _made_photos(options.work, sizes.many, "500x375")
    large = options.large_photos or _made_photos(options.work, sizes.large, "4000x3000")
    return Material(
        open_clip=weights / "open_clip",
        transformers=weights / "transformers",
        photos=_first(photos, sizes.many),
        large=_first(large, sizes.large),
        cache=options.cache or options.work / "cache",
    )


def _random_weights(folder: Path) -> Path:
    if not folder.exists():
        draft = folder.with_name("weights-draft")
        _script(HERE.parent / "scripts" / "random_weights.py", "--out", str(draft))
        draft.rename(folder)
    return folder


def _made_photos(work: Path, count: int, size: str) -> Path:
    folder = work / f"{count}-photos-{size}"
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}-draft")
        more = ("--count", str(count), "--size", size)
        _script(HERE / "photos.py", "--out", str(draft), *more)
        draft.rename(folder)
    return folder


def _script(script: Path, *more: str) -> None:
    print(f"{script.name} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, str(script), *more], check=True)


def _first(folder: Path, count: int) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
    if len(found) < count:
        raise SystemExit(f"{folder} holds {len(found)} JPEGs; {count} are needed")
    return found[:count]


def has_store(bench: Bench) -> bool:
    """Whether this version of siglip keeps embeddings."""
    return "--no-cache" in bench.process([contenders.program(), "classify", "--help"]).stdout


def prepare_engine(bench: Bench, material: Material) -> dict[str, Any] | None:
    """Run siglip once where its cache is empty, and return what that took: it builds the engine."""
    if (material.cache / "engines").exists():
        return None
    first = Run("prepare", _siglip(material), material.photos[:1], seen=True)
    sample = bench.once(first)
    return {"seconds": sample.seconds, "peak_mb": sample.peak_mb}


def tune_engine(bench: Bench, material: Material) -> dict[str, Any] | None:
    """Make the int8 engine, and return what that took and what it changes; None for too few photos."""
    if len(material.photos) < LEAST_TUNED:
        return None
    photos = material.photos[0].parent
    sample = bench.process(contenders.tune(material.open_clip, material.cache, photos))
    took = {"wall_seconds": sample.seconds, "peak_mb": sample.peak_mb}
    return json.loads(sample.stdout) | took


def plan(material: Material, sizes: Sizes, *, stored: bool, bf16: bool) -> list[Work]:
    """Return the works, but for the one that needs what others stored; `bf16`: the processor multiplies in it."""
    one = material.photos[:1]
    single = rivals_and_siglip(material, one)
    if stored:
        seen = contenders.siglip(material.open_clip, material.cache, "siglip, labels seen before")
        single.insert(1, Run("seen", seen, one, seen=True))
    tower = contenders.ceiling(material.open_clip, material.cache, sizes.ceiling)
    folder = rivals_and_siglip(material, material.photos[: sizes.small])
    folder.append(Run("many", _siglip(material), material.photos))
    folder.append(Run("ceiling", tower, ()))
    large = rivals_and_siglip(material, material.large)
    int8 = fastest(material, material.photos[: sizes.small], bf16=bf16)
    starting = [Run("help", contenders.siglip_help(), ())]
    return [
        Work("help", "Help", starting, sizes.short_repeats),
        Work("one", "One photo", single, sizes.short_repeats),
        Work("folder", "A folder of photos of about 500×375", folder, sizes.repeats),
        Work("int8", "The fastest of each over a folder of photos", int8, sizes.repeats),
        Work("large", "A folder of photos of 12 megapixels", large, sizes.repeats),
    ]


def rivals_and_siglip(material: Material, photos: list[Path]) -> list[Run]:
    """Return a run of each contender over the same photos, siglip first."""
    source = material.open_clip
    return [
        Run("siglip", _siglip(material), photos),
        Run("pipeline", contenders.transformers_pipeline(material.transformers), photos),
        Run("open_clip", contenders.open_clip_script(source), photos),
        Run("open_clip_bf16", contenders.open_clip_script(source, bf16=True), photos),
    ]


def fastest(material: Material, photos: list[Path], *, bf16: bool) -> list[Run]:
    """Return runs at int8, at the precision that is chosen unasked, and of transformers at its best."""
    pipeline = partial(contenders.transformers_pipeline, material.transformers)
    at_bf16 = (
        [Run("pipeline_bf16", pipeline(bf16=True), photos)] if bf16 else []
    )  # slow where emulated
    return [
        Run("siglip_int8", _int8(material), photos),
        Run("siglip", _siglip(material), photos),
        Run("siglip_int8_many", _int8(material), material.photos),
        Run("many", _siglip(material), material.photos),
        Run("pipeline", pipeline(), photos),
        *at_bf16,
        Run("pipeline_compiled", pipeline(bf16=bf16, compiled=True), photos),
        Run("open_clip", contenders.open_clip_script(material.open_clip), photos),
    ]


def _int8(material: Material) -> Contender:
    return _siglip(material, "siglip, int8", "--precision", "int8")


def _siglip(material: Material, name: str = "siglip", *more: str) -> Contender:
    return contenders.siglip(material.open_clip, material.cache, name, *more)


def again(bench: Bench, material: Material, sizes: Sizes) -> Work:
    """Store a few photos and a folder of many copies of them; return a work that reads both again."""
    few, many = _again_folders(bench)
    _fill(few, material.photos[: sizes.small], sizes.small)
    _fill(many, material.photos[: sizes.small], sizes.again)
    runs = [Run(folder.name, _siglip(material), folder) for folder in (few, many)]
    for run in runs:
        bench.once(run)
    return Work("again", "The same folder again, other labels", runs, sizes.short_repeats)


def _again_folders(bench: Bench) -> tuple[Path, Path]:
    return bench.work / "again-few", bench.work / "again-many"


def _fill(folder: Path, photos: list[Path], count: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copies = chain.from_iterable(repeat(photos))
    for i, photo in zip(range(count), copies, strict=False):
        shutil.copyfile(photo, folder / f"{i:05}.jpg")


def megabytes(photos: list[Path]) -> float:
    """Return the mean size of files."""
    return sum(photo.stat().st_size for photo in photos) / len(photos) / 1e6


if __name__ == "__main__":
    main()
