"""How help looks: options under headings, two examples at the end; plain text, as Rich's tables cost a start."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["EXAMPLES", "HEADINGS", "write_examples", "write_options"]

HEADINGS = (
    "Query",
    "Inputs",
    "Labels",
    "Output",
    "Model and device",
    "Decoding",
    "Cache",
    "Messages",
)
"""The order of an option's headings; what belongs to the command itself comes before, as Options."""
_OWN = "Options"
_CHOICES = re.compile(r"<([^<>]*\|[^<>]*)>")
_TYPE = re.compile(r"\s+<[^<>]*>")  # of a Python type, which Typer puts behind an argument's name

EXAMPLES: dict[str, tuple[str, str]] = {
    "": ("siglip demo", "siglip classify photo.jpg --labels animals"),
    "classify": (
        "siglip classify photos --labels animals",
        "siglip classify photo.jpg -L cat -L dog --format json",
    ),
    "search": (
        "siglip search 'a dog on a beach' photos",
        "siglip search --image like-this.jpg photos --top 20 --paths",
    ),
    "score": (
        "siglip score 'a cat asleep' photo.jpg",
        "siglip score photos --text 'a cat' --text 'a dog' --format csv",
    ),
    "embed": (
        "siglip embed photos --output photos.npz",
        "siglip embed --text 'a cat' 'a dog' --output words.jsonl",
    ),
    "evaluate": (
        "siglip evaluate known --labels animals",
        "siglip evaluate known.csv --labels mine.yaml --format json",
    ),
    "calibrate": (
        "siglip calibrate known --labels mine.yaml",
        "siglip calibrate known --labels mine.yaml --output calibrated.yaml",
    ),
    "compare": (
        "siglip compare known --labels old.yaml --labels new.yaml",
        "siglip compare known.csv -l old.yaml -l new.yaml --format json",
    ),
    "prompts": (
        "siglip prompts known --labels mine.yaml",
        "siglip prompts known.csv --labels mine.yaml --format json",
    ),
    "demo": ("siglip demo", "siglip demo --format jsonl"),
    "labels": ("siglip labels list", "siglip labels check mine.yaml"),
    "labels list": ("siglip labels list", "siglip labels list --format json"),
    "labels show": ("siglip labels show animals", "siglip labels show animals --format yaml > mine.yaml"),
    "labels check": ("siglip labels check mine.yaml", "siglip labels check sets/*.yaml"),
    "labels new": ("siglip labels new pets", "siglip labels new pets --output sets/pets.yaml"),
    "models": ("siglip models list", "siglip models pull ViT-B-16-SigLIP-384"),
    "models list": ("siglip models list", "siglip models list --here"),
    "models info": ("siglip models info demo", "siglip models info ViT-B-16-SigLIP-384 --format json"),
    "models pull": ("siglip models pull ViT-B-16-SigLIP-384", "siglip models pull hf-hub:ORG/NAME"),
    "cache": ("siglip cache info", "siglip cache prune --cache-limit 2G"),
    "cache info": ("siglip cache info", "siglip cache info --format json"),
    "cache prune": ("siglip cache prune", "siglip cache prune --cache-limit 2G"),
    "cache clear": ("siglip cache clear --embeddings", "siglip cache clear --engines"),
    "doctor": ("siglip doctor", "siglip doctor --model demo"),
}  # fmt: skip
"""Command → two examples that may be typed as they are, but for the names of files."""


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments and options, each under its heading."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _OWN: []}
    sections |= {heading: [] for heading in HEADINGS}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        name, text = _CHOICES.sub(r"\1", record[0]), record[1]
        if param.param_type_name == "argument":
            sections["Arguments"].append((_TYPE.sub("", name), text))
        else:
            sections[getattr(param, "rich_help_panel", None) or _OWN].append((name, text))
    for heading, rows in sections.items():
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


def write_examples(ctx: Any, formatter: Any) -> None:
    """Write the command's two examples."""
    words: list[str] = []
    while ctx.parent:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    if examples := EXAMPLES.get(" ".join(words)):
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
