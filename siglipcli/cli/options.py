"""The options that commands share, in groups: same name, same meaning, same help everywhere.

A command takes whole groups as parameters; `terminal.groups.grouped` spreads their fields out for Typer.
What an option's help says is in `cli.help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # Typer reads the annotations
from typing import Annotated, Any

import typer

from siglipcli import outputs
from siglipcli.cli import completion
from siglipcli.cli.help import OPTIONS
from siglipcli.encoders.spec import CLEANINGS, PRECISIONS, RUNTIMES
from siglipcli.errors import UsageError
from siglipcli.terminal.values import (
    Size,
    auto_or_count,
    choices,
    device,
    moderate,
    probability,
    words,
)

__all__ = [
    "DEFAULT_LIMIT",
    "AllowEmpty",
    "CacheDir",
    "CacheLimit",
    "DecodingOptions",
    "DocumentOptions",
    "EngineOptions",
    "Force",
    "InputOptions",
    "JsonOrTable",
    "LabelOptions",
    "ModelOptions",
    "OutputOptions",
    "SavedOptions",
    "ThresholdOptions",
    "TopOptions",
    "WalkOptions",
    "option",
]

MOST_SECONDS = 86_400.0  # a day; NaN is refused with what is more
DEFAULT_LIMIT = Size(8 * 10**9)  # about 2.5 million images
CACHE, DECODING = "Cache", "Decoding"  # headings of options in groups of another heading


def option(
    name: str, *names: str, env: bool = False, heading: str | None = None, **more: Any
) -> Any:
    """Return a Typer option with the help that `OPTIONS` has; `env`: SIGLIP_NAME sets it too."""
    if env:
        more["envvar"] = f"SIGLIP_{name.upper()}"
    return typer.Option(*names, help=OPTIONS[name], rich_help_panel=heading, **more)


CacheDir = Annotated[
    Path | None,
    option("cache_dir", metavar="DIR", env=True, heading=CACHE, show_default=False),
]
CacheLimit = Annotated[
    Size, option("cache_limit", parser=Size.parse, metavar="SIZE", env=True, heading=CACHE)
]
JsonOrTable = Annotated[str, option("json_or_table", "--format", "-f", **words("table", "json"))]
Force = Annotated[bool, option("force", "--force")]
AllowEmpty = Annotated[bool, option("allow_empty", "--allow-empty")]


@dataclass(frozen=True)
class DecodingOptions:
    """How images are decoded."""

    heading = DECODING

    max_megapixels: Annotated[
        float, option("max_megapixels", min=0, metavar="N", env=True, heading=DECODING)
    ] = 100.0
    exact_decode: Annotated[bool, option("exact_decode", "--exact-decode", heading=DECODING)] = (
        False
    )
    color_management: Annotated[bool, option("color_management", env=True, heading=DECODING)] = True
    allow_truncated: Annotated[
        bool, option("allow_truncated", "--allow-truncated", heading=DECODING)
    ] = False
    image_timeout: Annotated[
        float,
        option(
            "image_timeout", min=0, max=MOST_SECONDS, metavar="SECONDS", env=True, heading=DECODING
        ),
    ] = 60.0
    isolate: Annotated[
        bool | None, option("isolate", env=True, heading=DECODING, show_default=False)
    ] = None


@dataclass(frozen=True)
class WalkOptions(DecodingOptions):
    """What is read in folders, and how."""

    heading = "Inputs"

    recursive: Annotated[bool, option("recursive")] = True
    ext: Annotated[list[str] | None, option("ext", metavar="EXT")] = None
    exclude: Annotated[list[str] | None, option("exclude", metavar="GLOB")] = None
    hidden: Annotated[bool, option("hidden", "--hidden")] = False


@dataclass(frozen=True)
class InputOptions(WalkOptions):
    """What to read."""

    heading = "Inputs"

    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATHS", show_default=False, help=OPTIONS["paths"]),
    ] = None
    files_from: Annotated[str | None, option("files_from", metavar="FILE")] = None
    null: Annotated[bool, option("null", "--null", "-0")] = False
    pairs: Annotated[str, option("pairs", **words("both", "one"))] = "both"


@dataclass(frozen=True)
class SavedOptions:
    """What to use in place of images."""

    heading = "Inputs"

    saved: Annotated[Path | None, option("saved", "--from", metavar="FILE")] = None


@dataclass(frozen=True)
class LabelOptions:
    """Which labels to score."""

    heading = "Labels"

    labels: Annotated[
        list[str] | None,
        option(
            "labels",
            "--labels",
            "-l",
            metavar="SET",
            autocompletion=completion.label_sets,
            env=True,
        ),
    ] = None
    label: Annotated[list[str] | None, option("label", "--label", "-L", metavar="NAME")] = None
    template: Annotated[list[str] | None, option("template", metavar="TEXT")] = None


@dataclass(frozen=True)
class ThresholdOptions:
    """What makes a tag."""

    heading = "Labels"

    threshold: Annotated[
        float | None, option("threshold", "--threshold", "-t", metavar="P", callback=probability)
    ] = None
    bias_shift: Annotated[float, option("bias_shift", metavar="X", callback=moderate)] = 0.0


@dataclass(frozen=True)
class TopOptions(ThresholdOptions):
    """Which labels a result has."""

    heading = "Labels"

    top: Annotated[int, option("top", "--top", "-k", min=1, metavar="N")] = 5
    every: Annotated[bool, option("every", "--all")] = False
    tags_only: Annotated[bool, option("tags_only", "--tags-only")] = False


@dataclass(frozen=True)
class EngineOptions:
    """The model, and what runs it."""

    heading = "Model and device"

    model: Annotated[
        str,
        option(
            "model", "--model", "-m", metavar="MODEL", autocompletion=completion.models, env=True
        ),
    ] = "ViT-B-16-SigLIP-384"
    device: Annotated[
        str,
        option(
            "device",
            metavar="auto|cpu|cuda|cuda:N|mps",
            callback=device,
            autocompletion=choices("auto", "cpu", "cuda", "mps"),
            env=True,
        ),
    ] = "auto"
    runtime: Annotated[str, option("runtime", **words(*RUNTIMES), env=True)] = "auto"
    precision: Annotated[str, option("precision", **words(*PRECISIONS), env=True)] = "auto"
    text_cleaning: Annotated[str | None, option("text_cleaning", **words(*CLEANINGS))] = None
    batch_size: Annotated[
        str, option("batch_size", metavar="auto|N", callback=auto_or_count, env=True)
    ] = "auto"
    offline: Annotated[bool, option("offline", "--offline", env=True)] = False
    cache_dir: CacheDir = None


@dataclass(frozen=True)
class ModelOptions(EngineOptions):
    """The model, what runs it, and what is kept of its work."""

    workers: Annotated[
        int | None, option("workers", min=1, metavar="N", env=True, heading=DECODING)
    ] = None
    no_cache: Annotated[bool, option("no_cache", "--no-cache", heading=CACHE)] = False
    cache_limit: CacheLimit = DEFAULT_LIMIT
    verify: Annotated[bool, option("verify", "--verify", heading=CACHE)] = False


@dataclass(frozen=True)
class OutputOptions:
    """Where results go, and how they are written."""

    heading = "Output"

    output_format: Annotated[
        str | None, option("output_format", "--format", "-f", **words(*outputs.names()))
    ] = None
    output: Annotated[Path | None, option("output", "--output", "-o", metavar="FILE")] = None
    force: Force = False
    allow_empty: AllowEmpty = False
    provenance: Annotated[bool, option("provenance", "--provenance")] = False


@dataclass(frozen=True)
class DocumentOptions:
    """Where figures go, and how they are written."""

    heading = "Output"

    output_format: Annotated[
        str | None, option("document_format", "--format", "-f", **words("table", "json"))
    ] = None
    output: Annotated[Path | None, option("document", "--output", "-o", metavar="FILE")] = None
    force: Force = False

    @property
    def is_json(self) -> bool:
        """Whether JSON is wanted. Raises UsageError for a file's ending that names no format."""
        if self.output_format:
            return self.output_format == "json"
        ending = self.output.suffix.lower() if self.output else ""
        if ending not in {"", ".txt", ".json"}:
            raise UsageError(
                f"the ending of {str(self.output)!r} names no format; use .json or .txt, or give --format"
            )
        return ending == ".json"
