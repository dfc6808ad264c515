"""Models, shown for people: the published ones, one of them, and what is kept of them in the cache folder."""

# ruff: noqa: T201  # what is shown goes to standard output

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.outputs import tuning_report
from siglipcli.outputs.plain_table import print_table
from siglipcli.text import sized, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Facts = Mapping[str, Any]

__all__ = ["print_kept", "print_model", "print_models"]


def print_models(models: Sequence[Facts], *, measured: bool, here: bool) -> None:
    """Print a line for each model: facts of `encoders.facts`, and whether it is here.

    `measured`: with the speeds that were published; `here`: those that are here alone, with what was timed on this
    machine.
    """
    titles = ["name", "px", "params", "top-1"]  # short: the whole list fits 80 columns
    has_int8 = any(model["int8_images_per_second"] for model in models)
    titles += ["img/s", *(["int8"] if has_int8 else []), "GB"] if measured else []
    titles += ["img/s here", "lang"] if here else ["lang", "here"]
    rows = [_row(model, titles) for model in models]
    print_table(titles, rows, right=set(titles[1:]) - {"lang", "here"})


def _row(facts: Facts, titles: Sequence[str]) -> list[str]:
    cells = {
        "name": facts["name"],
        "px": str(facts["image_size"]),
        "params": f"{facts['parameters_millions']:,.0f}",
        "top-1": _number(facts["imagenet_top1"], ".1f"),
        "img/s": _number(facts["images_per_second"], ".3g"),
        "int8": _number(facts["int8_images_per_second"], ".3g"),
        "GB": _number(facts["peak_mb"] and facts["peak_mb"] / 1000, ".1f"),
        "img/s here": _number(facts.get("images_per_second_here"), ".3g"),
        "lang": "many" if facts["multilingual"] else "en",
        "here": "yes" if facts["here"] else "",
    }
    return [cells[title] for title in titles]


def print_model(facts: Facts, files: Sequence[Facts], tuned: Facts | None) -> None:
    """Print what is known of one model, of its int8 engine where it has one, and where its files are."""
    print_table(None, [[key.replace("_", " "), _text(value)] for key, value in facts.items()])
    print()
    if tuned:
        print("int8 engine")
        print_table(None, [[f"  {name}", value] for name, value in tuning_report.rows(tuned)])
        print()
    rows = [[file["file"], file["from"], _megabytes(file["bytes"]), file["path"] or ""] for file in files]  # fmt: skip
    print_table(["file", "from", "size", "path"], rows, right={"size"})


def print_kept(facts: Facts) -> None:
    """Print the facts of `siglipcli.kept`: engines, embeddings and the rest, with sizes."""
    print(f"{facts['folder']}\n\nengines")
    for engine in facts["engines"] or [{"model": "none", "precision": "", "bytes": 0}]:
        name = f"{engine['model']} {engine['precision']}"
        print(f"  {visible(name):<40} {sized(engine['bytes']):>10}")
    print("\nembeddings")
    for row in facts["embeddings"] or [{"model": "none", "vectors": 0, "bytes": 0, "used": ""}]:
        count = f"{row['vectors']:,} vectors"
        line = (
            f"  {visible(row['model']):<40} {sized(row['bytes']):>10}  {count:>18}  {row['used']}"
        )
        print(line.rstrip())
    others = {
        "damaged stores, set aside": facts["damaged_stores"],
        "digests of model files": facts["digests"],
    }
    for name, kept in others.items():
        if kept["files"]:
            print(f"\n{name}\n  {kept['files']:,} files {sized(kept['bytes']):>32}")


def _number(value: float | None, form: str) -> str:
    return _text(None) if value is None else format(value, form)


def _text(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _megabytes(size: int | None) -> str:
    return "not here" if size is None else f"{size / 1e6:,.1f} MB"
