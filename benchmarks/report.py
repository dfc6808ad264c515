"""From what was measured to RESULTS.md: the bars, then a table for each work."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FOLDER = 1_000  # photos, in the bar for a folder
BUSY = 0.5  # load average before a run above which figures are in doubt
SPREAD = 1.25  # slowest to fastest of one row above which figures are in doubt


@dataclass(frozen=True)
class Bar:
    """Something to reach: `value` is None where it was not measured."""

    work: str
    limit: float
    value: float | None
    show: Callable[[float], str]
    at_least: bool = True
    basis: str = ""

    @property
    def verdict(self) -> str:
        """Reached, not reached (by how much), or not measured."""
        if self.value is None:
            return "not measured"
        over = self.value / self.limit - 1
        if (over >= 0) if self.at_least else (over <= 0):
            return "reached"
        return f"**not reached**, {_percent(abs(over))} {'short' if self.at_least else 'over'}"

    def row(self) -> list[str]:
        """Return the bar as cells of a table."""
        reach = ("≥ " if self.at_least else "≤ ") + self.show(self.limit)
        value = "–" if self.value is None else self.show(self.value)
        return [self.work, reach, value, self.verdict, self.basis]


class Figures:
    """What was measured, by work and run; None for what was not."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.works = results["works"]
        self.rows = {
            (name, row["key"]): row for name, work in self.works.items() for row in work["rows"]
        }

    def seconds(self, work: str, key: str) -> float | None:
        """Return the median wall time of a run."""
        row = self.rows.get((work, key))
        return float(row["median"]) if row else None

    def peak(self, work: str, key: str) -> float | None:
        """Return the highest peak memory of a run's processes, MB."""
        row = self.rows.get((work, key))
        return float(row["peak_mb"]) if row else None

    def ratio(self, work: str, slow: str, fast: str) -> float | None:
        """Return how many times faster one run is than another of the same photos."""
        return _divided(self.seconds(work, slow), self.seconds(work, fast))

    def steady(self, less: tuple[str, str], more: tuple[str, str]) -> float | None:
        """Return images a second between two runs of one contender: without what a start costs."""
        few, many = self.rows.get(less), self.rows.get(more)
        if not few or not many or many["median"] <= few["median"]:
            return None
        return float((many["images"] - few["images"]) / (many["median"] - few["median"]))

    def own_rate(self) -> float | None:
        """Return the image tower's own rate: the ceiling."""
        row = self.rows.get(("folder", "ceiling"))
        return median(r["images_per_second"] for r in row["reports"]) if row else None

    def rate(self, key: str) -> float | None:
        """Return a contender's steady images a second in a folder of small photos."""
        if key == "siglip":
            return self.steady(("folder", "siglip"), ("folder", "many"))
        return self.steady(("one", key), ("folder", key))

    def projected(self, key: str) -> float | None:
        """Return the seconds for a folder of 1,000 photos, from the largest run and the steady rate."""
        row = self.rows.get(("folder", "many" if key == "siglip" else key))
        steady = self.rate(key)
        if not row or not steady:
            return None
        return float(row["median"] + (FOLDER - row["images"]) / steady)


def bars(found: Figures) -> list[Bar]:
    """Return what is to be reached, beside what was."""
    return [*_against_pipeline(found), *_against_itself(found), *_int8(found), *_memory(found)]


def _against_pipeline(found: Figures) -> Iterable[Bar]:
    folder = _divided(found.projected("pipeline"), found.projected("siglip"))
    basis = "against the pipeline"
    for work, limit, value, more in (
        ("one photo, new labels", 7, found.ratio("one", "pipeline", "siglip"), ""),
        ("one photo, labels seen before", 11, found.ratio("one", "pipeline", "seen"), ""),
        ("a folder of 1,000 photos", 4.5, folder, "; both projected from shorter runs"),
        ("a folder of 12-megapixel photos", 5, found.ratio("large", "pipeline", "siglip"), ""),
    ):
        yield Bar(work, limit, value, _times, basis=basis + more)


def _against_itself(found: Figures) -> Iterable[Bar]:
    own = _divided(found.rate("siglip"), found.own_rate())
    work = "a folder, of the image tower's own rate"
    yield Bar(work, 0.95, own, _percent, basis="steady rate in the same run")
    again = found.steady(("again", "again-few"), ("again", "again-many"))
    work = "the same folder again, other labels"
    yield Bar(work, 5_000, again, _rate, basis="steady rate, without the start")
    yield Bar("`siglip --help`", 0.25, found.seconds("help", "help"), _seconds, at_least=False)


def _int8(found: Figures) -> Iterable[Bar]:
    if "int8" not in found.works:
        return
    work = "a folder at int8"
    few, many = found.rows["int8", "siglip_int8"], found.rows["int8", "siglip_int8_many"]
    rates = [
        found.steady(("int8", key), ("int8", more))
        for key, more in (("siglip_int8", "siglip_int8_many"), ("siglip", "many"))
    ]
    apart = ", measured apart" if "machine" in found.works["int8"] else ""
    basis = f"against siglip without it, steady rates of the same run{apart}"
    yield Bar(work, 1.55, _divided(*rates), _times_exactly, basis=basis)
    whole = found.ratio("int8", "pipeline", "siglip_int8")
    yield Bar(work, 4.5, whole, _times, basis=f"against the fp32 pipeline, whole processes{apart}")
    peak = max(few["peak_mb"], many["peak_mb"])
    yield Bar(f"memory, {work}", 450, peak, _mb, at_least=False, basis=f"new labels{apart}")


def _memory(found: Figures) -> Iterable[Bar]:
    for work, limit, value, basis in (
        ("one photo, labels seen before", 600, found.peak("one", "seen"), ""),
        ("one photo, new labels", 700, found.peak("one", "siglip"), ""),
        ("the longest folder encoded", 700, found.peak("folder", "many"), "new labels"),
    ):
        yield Bar(f"memory, {work}", limit, value, _mb, at_least=False, basis=basis)


def markdown(results: dict[str, Any], notes: Path) -> str:
    """Return RESULTS.md; `notes` is text written by hand that goes in where the file is there."""
    found = Figures(results)
    parts = [
        "# Benchmarks",
        "Written by `make bench`. The figures of a table of photos are of one run on one machine; compare ratios, not seconds.",
        "**A quick run: these figures mean nothing.**" if results["quick"] else "",
        _machine(results["machine"]),
        "## What was to be reached",
        _table(["work", "to reach", "measured", "", "basis"], [bar.row() for bar in bars(found)]),
        *(
            _work(found, name)
            for name in ("one", "folder", "int8", "large", "again")
            if name in found.works
        ),
        _tuned(results["tuned"]) if "tuned" in results else "",
        "## Notes",
        _notes(results, found),
        notes.read_text(encoding="utf-8").strip() if notes.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; "
        f"Python {machine['python']}, {packages}; {machine['date']}."
    )


def _work(found: Figures, name: str) -> str:
    """Return one work's table. Rivals are compared with its first row, siglip's."""
    work = found.works[name]
    first = work["rows"][0]
    head = [
        "",
        "photos",
        "seconds",
        "min–max",
        "photos a second",
        "steady",
        "peak memory",
        "siglip is",
    ]
    rows = [_cells(found, name, row, first) for row in work["rows"] if not row["reports"]]
    title = f"## {work['title']}: whole processes, median of {work['repeats']}"
    other = (
        f"Measured apart from the others: {_machine(work['machine'])}" if "machine" in work else ""
    )
    text = "\n\n".join(part for part in (title, other, _table(head, rows)) if part)
    rate = found.own_rate() if name == "folder" else None
    return text + (f"\n\nThe image tower alone: {rate:.2f} photos a second." if rate else "")


def _tuned(tuned: dict[str, Any]) -> str:
    """Say what int8 changes on the photos kept back, and what tuning took."""
    agreement = tuned["agreement"]
    (labels, *_) = agreement["sets"]
    same = labels["best_label"]
    missed = (
        f" Floors missed, and accepted here: {'; '.join(tuned['missed'])}."
        if tuned["missed"]
        else ""
    )
    return (
        f"The int8 engine was tuned on photos of the same folder in {tuned['wall_seconds']:.0f} s (the largest process"
        f" {_mb(tuned['peak_mb'])}): SmoothQuant alpha {tuned['alpha']:g}, layers as {tuned['form']}, {len(tuned['left'])} of {tuned['layers']} layers"
        f" at {tuned['reference']}. On {agreement['images']} photos kept back: cosine to {tuned['reference']}"
        f" {agreement['median_cosine']:.5f} median and {agreement['lowest_cosine']:.4f} lowest, the same best label of"
        f" `{labels['set']}` for {same['same']} of {same['of']}.{missed}"
    )


def _cells(found: Figures, work: str, row: dict[str, Any], first: dict[str, Any]) -> list[str]:
    rival = not row["name"].startswith("siglip")
    return [
        row["name"],
        f"{row['images']:,}",
        f"{row['median']:.2f}",
        f"{min(row['seconds']):.2f}–{max(row['seconds']):.2f}",
        f"{row['images'] / row['median']:,.2f}",
        _steady(found, work, row["key"]),
        _mb(row["peak_mb"]),
        f"{row['median'] / first['median']:.2f}× as fast" if rival else "",
    ]


def _steady(found: Figures, work: str, key: str) -> str:
    """Return a row's steady rate, in the one row of a contender that is the longer of its two."""
    value = None
    if work == "folder" and key != "siglip":
        value = found.rate("siglip" if key == "many" else key)
    if work == "int8" and key in {"many", "siglip_int8_many"}:
        value = found.steady(
            ("int8", key.removesuffix("_many").replace("many", "siglip")), ("int8", key)
        )
    if key == "again-many":
        value = found.steady(("again", "again-few"), ("again", "again-many"))
    return f"{value:,.2f}" if value else ""


def _notes(results: dict[str, Any], found: Figures) -> str:
    lines = [*_materials(results), *_doubts(results), *_agreement(results["agreement"])]
    if prepare := results["prepare"]:
        lines.append(
            f"First run of siglip on a machine, when the engine is built: {prepare['seconds']:.0f} s and "
            f"{_mb(prepare['peak_mb'])} at the peak, once a checkpoint; not part of any row."
        )
    if "seen" not in {key for _, key in found.rows}:
        lines.append(
            "This version keeps no embeddings: rows about what was seen before are left out."
        )
    return "\n".join(f"- {line}" for line in lines)


def _materials(results: dict[str, Any]) -> Iterable[str]:
    small, large = results["photos"]["small"] * 1000, results["photos"]["large"]
    yield (
        "Random weights of the ViT-B-16-SigLIP-384 architecture, the same in both formats; 10 labels, one "
        "template. Every process is new, with files and weights in the disk cache; contenders take turns."
    )
    made = {True: "made from scikit-image's photographs", False: "from a folder that was given"}
    yield (
        f"JPEGs of {small:.0f} kB on average ({made[results['own_photos']['small']]}) and, at 12 megapixels, "
        f"{large:.1f} MB ({made[results['own_photos']['large']]}). The whole run took "
        f"{results['minutes']:.0f} minutes."
    )
    yield (
        "siglip runs with its defaults, its store switched on: every process reads copies with new content, "
        "and new labels are words no run had before."
    )
    yield (
        "Steady: photos a second between two runs of different length, without what a start costs. Rivals read "
        "fewer photos than siglip's longest run, as theirs take minutes; 1,000 photos are projected for all as "
        "the longest run and the rest at the steady rate."
    )
    yield (
        "Not measured here: memory from 1,000 to 1,000,000 files (the peaks above, from one photo to the longest "
        "folder, tell whether it grows), and GPUs."
    )


def _doubts(results: dict[str, Any]) -> Iterable[str]:
    """Say what may have disturbed the run."""
    load = results["machine"]["load_before"]
    if load > BUSY:
        yield f"**The machine was busy before the run (load {load}): measure again when it is idle.**"
    for work in results["works"].values():
        for row in work["rows"]:
            spread = max(row["seconds"]) / min(row["seconds"])
            if spread > SPREAD:
                yield f"{work['title']}: {row['name']} varied by {spread:.2f}× between repeats."


def _agreement(agreement: list[dict[str, Any]]) -> Iterable[str]:
    for item in agreement:
        yield (
            f"Results of {item['name']} against open_clip in fp32: the same best label for {item['same_best']} "
            f"of {item['images']} photos, scores at most {item['largest_difference']:.1e} apart."
        )


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _divided(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _times(value: float) -> str:
    return f"{value:.1f}×"


def _times_exactly(value: float) -> str:
    return f"{value:.2f}×"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _rate(value: float) -> str:
    return f"{value:,.0f} photos a second"


def _mb(value: float) -> str:
    return f"{value:,.0f} MB"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
