"""Measure what `siglip batch` costs beside `siglip classify`, and what its bookkeeping costs at a million shards.

    python benchmarks/batch_bench.py                # rate and overhead, about 5 minutes on 2 cores
    python benchmarks/batch_bench.py --only scale   # a million shards, planned and resumed, about 4 minutes

`rate`: the full-size architecture at random weights; the same photos as a folder (classify) and as tars (batch), in
turns. `overhead`: the demo model, many shards of one image against one shard of many. `scale`: names, listings
and parts that stand for a million shards. Figures go into batch_results.json beside this file, and BATCH.md is made
from all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "batch_results.json", HERE / "BATCH.md"
PHOTOS, PER_TAR, TURNS = 64, 32, 2
SMALL = 200  # shards of one image
MILLION = 1_000_000
LABELS = ("red circle", "blue heart", "green star", "white cross", "black crescent", "yellow bolt")
WORDS = [word for label in LABELS for word in ("--label", label)]
PHASES = ("rate", "overhead", "scale")


def main() -> None:
    """Measure the phases, store the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PHASES, action="append")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument(
        "--model", help="in place of the full-size one at random weights, for a try"
    )
    parser.add_argument("--shards", type=int, default=MILLION)
    parser.add_argument("--work", type=Path, default=HERE / ".work" / "batch")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.step:
        print(json.dumps(measured(STEPS[options.step], options)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for phase in options.only or PHASES[:2]:
        results[phase] = {"rate": rate, "overhead": overhead, "scale": scale}[phase](options)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text("\n".join(page(results)) + "\n")
    print(PAGE.read_text())


def siglip(*arguments: str, cwd: Path) -> tuple[float, str]:
    """Run a command: its wall seconds and its stderr. 0 and 1 are ends that may be."""
    line = [sys.executable, "-m", "siglipcli", *arguments]
    env = os.environ | {"SIGLIP_PROGRESS": "none", "SIGLIP_OFFLINE": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), env.get("PYTHONPATH", "")])
    start = time.perf_counter()
    done = subprocess.run(
        line,
        cwd=cwd,
        env=env,
        check=True,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start, done.stderr


def facts() -> dict[str, Any]:
    """Return what tells this machine, and how busy it is."""
    from facts import gather

    return gather()


# --- rate -----------------------------------------------------------------------------------------


def rate(options: argparse.Namespace) -> dict[str, Any]:
    """Measure classify and batch over the same photos, in turns."""
    before = facts()
    model = options.model or str(_model(options.work))
    photos = _photos(options.work, options.photos)
    tars = _tars(options.work / "tars", photos, PER_TAR)
    common = ["--model", model, "--cache-dir", str(options.work / "cache"), *WORDS]
    work = options.work
    siglip(
        "classify", str(photos / "0000.jpg"), "--no-cache", *common, cwd=work
    )  # the engine is built
    runs: dict[str, list[float]] = {"classify": [], "batch": []}
    walls: dict[str, list[float]] = {"classify": [], "batch": []}
    for turn in range(TURNS):
        order = ("classify", "batch") if turn % 2 == 0 else ("batch", "classify")
        for name in order:
            wall, images = _once(name, photos, tars, common, work)
            runs[name].append(images)
            walls[name].append(wall)
            print(f"{name}: {images:.2f} images a second, {wall:.1f} s in all", flush=True)
    return {
        "machine": before, "photos": options.photos, "per_tar": PER_TAR, "images_per_second": runs,
        "wall_seconds": walls, "ratio": max(runs["batch"]) / max(runs["classify"]),
    }  # fmt: skip


def _once(name: str, photos: Path, tars: str, common: list[str], work: Path) -> tuple[float, float]:
    if name == "classify":
        command = ["classify", str(photos), "--no-cache", "--format", "jsonl", *common]
        wall, said = siglip(*command, cwd=work)
        return wall, float(re.findall(r"([\d.,]+) images/s", said)[-1].replace(",", ""))
    shutil.rmtree(work / "out", ignore_errors=True)
    wall, _ = siglip("batch", tars, "-o", "out", *common, cwd=work)
    return wall, json.loads((work / "out" / "_summary.json").read_text())["this_run"][
        "images_per_second"
    ]


def _model(work: Path) -> Path:
    folder = work / "weights"
    if not (folder / "open_clip").exists():
        script = HERE.parent / "scripts" / "random_weights.py"
        subprocess.run(
            [sys.executable, script, "--out", folder], check=True, stdout=subprocess.DEVNULL
        )
    return folder / "open_clip"


def _photos(work: Path, count: int) -> Path:
    folder = work / f"photos-{count}"
    if not folder.exists():
        line = [sys.executable, HERE / "photos.py", "--out", folder, "--count", str(count)]
        subprocess.run([*line, "--size", "500x375"], check=True, stdout=subprocess.DEVNULL)
        for index, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"{index:04d}.jpg")
    return folder


def _tars(folder: Path, photos: Path, size: int) -> str:
    """Write the photos as tars of `size`, and return the name of all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = sorted(photos.iterdir())
    count = -(-len(files) // size)
    for index in range(count):
        with tarfile.open(folder / f"{index:05d}.tar", "w") as archive:
            for path in files[index * size : (index + 1) * size]:
                archive.add(path, arcname=path.name)
    return str(folder / f"{{{0:05d}..{count - 1:05d}}}.tar")


# --- overhead -------------------------------------------------------------------------------------


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what one more shard costs: many shards of one image against one of many, with the demo model."""
    photos = _photos(options.work, SMALL)
    seconds: dict[str, list[float]] = {"many": [], "one": []}
    for _ in range(3):
        for name, size in (("many", 1), ("one", SMALL)):
            tars = _tars(options.work / "small", photos, size)
            shutil.rmtree(options.work / "out", ignore_errors=True)
            command = ["batch", tars, "-o", "out", "--model", "demo", "--runtime", "torch", *WORDS]
            siglip(*command, cwd=options.work)
            summary = json.loads((options.work / "out" / "_summary.json").read_text())
            seconds[name].append(SMALL / summary["this_run"]["images_per_second"])
    each = (median(seconds["many"]) - median(seconds["one"])) / (SMALL - 1)
    return {"machine": facts(), "shards": SMALL, "seconds": seconds, "seconds_per_shard": each}


# --- scale ----------------------------------------------------------------------------------------


def scale(options: argparse.Namespace) -> dict[str, Any]:
    """Measure each step in a process of its own: seconds, and memory above what the imports take."""
    count = options.shards
    parts = options.work / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    found = {"machine": facts(), "shards": count}
    names = [step for step in STEPS if step != "resume"]
    for step in [*names, "resume"]:
        if step == "resume":
            _pretend_parts(parts, count)
        line = [
            sys.executable,
            __file__,
            "--step",
            step,
            "--shards",
            str(count),
            "--work",
            str(options.work),
        ]
        done = subprocess.run(line, check=True, text=True, stdout=subprocess.PIPE)
        found[step] = json.loads(done.stdout.splitlines()[-1])
        print(step, found[step], flush=True)
    shutil.rmtree(parts, ignore_errors=True)
    return found


def measured(
    step: Callable[[argparse.Namespace], object], options: argparse.Namespace
) -> dict[str, Any]:
    """Run a step: seconds, peak megabytes above the start, and what it says of itself."""
    import pyarrow.fs
    import pyarrow.parquet  # noqa: F401

    from siglipcli.batch import plan, work  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    said = step(options)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = round((peak - before) / 1024)
    return {
        "seconds": round(seconds, 2), "cpu_seconds": round(processor, 2), "megabytes": megabytes, "what": said,
    }  # fmt: skip


def _survey(options: argparse.Namespace, output: Any) -> str:
    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.work import survey

    inputs = Inputs.of((f"s3://bucket/train/{{{0:07d}..{options.shards - 1:07d}}}.tar",), "tars")
    work = survey(inputs.shards(output), output)
    return f"{len(work.todo):,} to do, {len(work.done):,} done"


def plan_step(options: argparse.Namespace) -> str:
    """Plan from a range of names into an empty output."""
    from siglipcli.batch.storage import Folder

    return _survey(options, Folder(str(options.work / "nothing-here")))


def resume_step(options: argparse.Namespace) -> str:
    """Resume where every part is there, in a folder of this machine."""
    from siglipcli.batch.storage import Folder

    return _survey(options, Folder(str(options.work / "parts")))


def store_step(options: argparse.Namespace) -> str:
    """Resume from an object store's listing, as pyarrow returns it; the time on the network is not in it."""
    from pyarrow import fs

    from siglipcli.batch.storage import Folder, Location, Storage

    class Listed:
        """A file system that lists every part."""

        type_name = "s3"

        def get_file_info(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
            if not selector.base_dir.endswith("out"):
                return []
            names = (f"bucket/out/{name}" for name in _part_names(options.shards))
            return [fs.FileInfo(name, fs.FileType.File, size=1000) for name in names]

    class Fake(Storage):
        """Leads to that file system."""

        def at(self, uri: str) -> Location:
            return Location(Listed(), uri.removeprefix("s3://"))

    return _survey(options, Folder("s3://bucket/out", Fake()))


def listing_step(options: argparse.Namespace, times: int = 1) -> str:
    """Store a listing of loose files, and find out that nothing in it is new."""
    from siglipcli.batch import listing
    from siglipcli.batch.storage import Folder

    folder = options.work / f"listing-{times}"
    shutil.rmtree(folder, ignore_errors=True)
    output = Folder(str(folder))
    count = times * options.shards // 4

    def paths() -> Any:
        return (f"s3://bucket/photos/{i // 1000:06d}/{i % 1000:03d}.jpg" for i in range(count))

    stored = listing.extend(paths(), output, 4096)
    again = listing.extend(paths(), output, 4096)
    shutil.rmtree(folder)
    return f"{stored:,} files stored, {again} new the second time"


def footers_step(options: argparse.Namespace) -> str:
    """Count the rows of parts that are there, by their footers."""
    import pyarrow as pa
    from pyarrow import parquet

    from siglipcli.batch.storage import Folder
    from siglipcli.batch.summary import Counts

    folder = options.work / "footers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    counts = {"siglip_counts": json.dumps({"rows": 10, "failures": {}, "incomplete": False})}
    table = pa.table({"path": [str(i) for i in range(10)]}).replace_schema_metadata(counts)
    first = folder / "part-0.parquet"
    parquet.write_table(table, first)
    ids = [str(i) for i in range(options.shards // 100)]
    for name in ids[1:]:
        os.link(first, folder / f"part-{name}.parquet")
    total = Counts()
    start = time.perf_counter()
    total.add_parts(Folder(str(folder)), ids)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return f"{total.rows:,} rows in {len(ids):,} parts: {1e6 * seconds / len(ids):.0f} µs a part"


STEPS: dict[str, Any] = {
    "plan": plan_step,
    "resume": resume_step,
    "store": store_step,
    "listing": listing_step,
    "listing4": lambda options: listing_step(options, 4),
    "footers": footers_step,
}
STEP_WORDS = {
    "plan": "plan {n} shards from a range of names, empty output",
    "resume": "resume with {n} parts in a local folder",
    "store": "resume with {n} parts in an object store's listing (fake, without the network)",
    "listing": "list loose files, store the listing, list again",
    "listing4": "the same with four times as many files",
    "footers": "count rows by the footers of a hundredth as many parts",
}


def _part_names(count: int) -> Any:
    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.shards import part_name
    from siglipcli.batch.storage import Folder

    inputs = Inputs.of((f"s3://bucket/train/{{{0:07d}..{count - 1:07d}}}.tar",), "tars")
    return (part_name(shard.id) for shard in inputs.shards(Folder("unused")))


def _pretend_parts(folder: Path, count: int) -> None:
    for name in _part_names(count):
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))


# --- the page -------------------------------------------------------------------------------------

IMAGES, PER_SHARD = 10**9, 10_000
GFLOP = 110.0  # of one image: ViT-B/16 at 384, 576 tokens, 12 layers of (24 d² + 4 n d) a token, d = 768
GPUS = {
    "L4": 121,
    "A10": 125,
    "A100": 312,
    "H100 SXM": 989,
}  # dense bf16 TFLOP/s of their data sheets
USED = 0.4  # of that: what large models reach in practice; assumed


def page(results: dict[str, Any]) -> list[str]:
    """Return the page's lines, from what was measured."""
    lines = ["# `siglip batch`: what was measured", ""]
    lines += [
        "Made by `python benchmarks/batch_bench.py` and `--only scale`; figures in `batch_results.json`.",
        "",
    ]
    for name, write in (("rate", rate_lines), ("overhead", overhead_lines), ("scale", scale_lines)):
        if name in results:
            lines += [*write(results[name]), ""]
    if "overhead" in results:
        lines += projection(results["overhead"]["seconds_per_shard"])
    return lines


def _figures(values: list[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def _machine(found: dict[str, Any]) -> str:
    about = found["machine"]
    return f"{about['date']}, {about['cores']} cores, {about['cpu']}, load before {about['load_before']}."


def rate_lines(found: dict[str, Any]) -> list[str]:
    """Return the comparison with classify."""
    rows = [
        f"| `siglip {name}` | {_figures(found['images_per_second'][name], 2)} | "
        f"{_figures(found['wall_seconds'][name], 1)} |"
        for name in ("classify", "batch")
    ]
    return [
        "## Beside `siglip classify`",
        "",
        (
            f"ViT-B-16-SigLIP-384 at random weights, {found['photos']} photos of 500×375: a folder, and tars of "
            f"{found['per_tar']}; {len(found['wall_seconds']['batch'])} runs each, in turns. {_machine(found)}"
        ),
        "",
        "| | images a second | seconds in all |",
        "|---|---|---|",
        *rows,
        "",
        (
            f"The best run of `batch` has {100 * found['ratio']:.0f} % of the rate of `classify`'s best: what else a machine"
            " does makes a run slower, never faster."
        ),
    ]


def overhead_lines(found: dict[str, Any]) -> list[str]:
    """Return what a shard costs."""
    return [
        "## One more shard",
        "",
        (
            f"{found['shards']} tars of one image against one tar of {found['shards']}, the demo model, medians of three: "
            f"{1000 * found['seconds_per_shard']:.0f} ms a shard (two are in work at once). {_machine(found)}"
        ),
    ]


def scale_lines(found: dict[str, Any]) -> list[str]:
    """Return planning and resuming at a million shards."""
    rows = [
        f"| {STEP_WORDS[step].format(n=format(found['shards'], ','))} | {found[step]['seconds']:.1f} | {found[step]['cpu_seconds']:.1f} | "
        f"{found[step]['megabytes']:,} | {found[step]['what']} |"
        for step in STEPS
    ]
    return [
        "## Very many shards",
        "",
        f"Each in a process of its own; memory is the peak above what the imports take. {_machine(found)}",
        "",
        "| | seconds | of them CPU | MB | |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "A shard is one record, whatever the number of its images.",
    ]


def projection(per_shard: float) -> list[str]:
    """Return what a billion images would take: arithmetic, not a measurement."""
    lines = [
        "## A billion images (a projection, not measured)",
        "",
        (
            f"{IMAGES:,} images in {IMAGES // PER_SHARD:,} shards of {PER_SHARD:,}, ViT-B-16-SigLIP-384: {GFLOP:.0f} GFLOP an "
            f"image, {USED:.0%} of the bf16 peak in each GPU's data sheet (assumed), with CPUs beside it that decode as fast. "
            "Bookkeeping is the time a shard costs above, on the CPU it was measured on."
        ),
        "",
        "| GPU | images a second of one | hours on 1 | on 16 | on 64 | bookkeeping, part of the time |",
        "|---|---|---|---|---|---|",
    ]
    for name, peak in GPUS.items():
        speed = 1000 * peak * USED / GFLOP
        hours = IMAGES / speed / 3600
        part = per_shard / (PER_SHARD / speed + per_shard)
        lines.append(
            f"| {name} | {speed:,.0f} | {hours:,.0f} | {hours / 16:,.1f} | {hours / 64:,.1f} | {part:.1%} |"
        )
    return lines


if __name__ == "__main__":
    main()
