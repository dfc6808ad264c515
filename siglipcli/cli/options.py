"""The options that commands share, in groups: same name, same meaning, same help everywhere.

A command takes whole groups as parameters; `groups.grouped` spreads their fields out for Typer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # Typer reads the annotations
from typing import Annotated

import typer

from siglipcli import outputs
from siglipcli.cli import completion
from siglipcli.cli.replacing import AllowEmpty, Force, WithProvenance
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
    "CacheDir",
    "CacheLimit",
    "DocumentOptions",
    "InputOptions",
    "JsonOrTable",
    "LabelOptions",
    "ModelOptions",
    "OutputOptions",
    "SavedOptions",
    "ThresholdOptions",
    "TopOptions",
    "WalkOptions",
]


CacheDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        rich_help_panel="Cache",
        envvar="SIGLIP_CACHE_DIR",
        show_default=False,
        help="The folder of stored embeddings and compiled engines.",
    ),
]
MOST_SECONDS = 86_400.0  # a day; NaN is refused with what is more
DEFAULT_LIMIT = Size(8 * 10**9)  # about 2.5 million images
CacheLimit = Annotated[
    Size,
    typer.Option(
        "--cache-limit",
        parser=Size.parse,
        metavar="SIZE",
        rich_help_panel="Cache",
        envvar="SIGLIP_CACHE_LIMIT",
        help="What stored embeddings may take (500M, 8G); the least recently used go first.",
    ),
]
JsonOrTable = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        **words("table", "json"),
        help="A table, or JSON for programs.",
    ),
]


@dataclass(frozen=True)
class WalkOptions:
    """What is read in folders, and how."""

    heading = "Inputs"

    recursive: Annotated[bool, typer.Option(help="Read folders with all below them.")] = True
    ext: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXT",
            help="In folders, read these endings only: jpg, jpg,png or '*.jp*g'; repeatable.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="In folders, skip what matches; repeatable."),
    ] = None
    hidden: Annotated[
        bool, typer.Option("--hidden", help="In folders, read names that start with a dot too.")
    ] = False
    max_megapixels: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel="Decoding",
            envvar="SIGLIP_MAX_MEGAPIXELS",
            help="Refuse larger images.",
        ),
    ] = 100.0
    exact_decode: Annotated[
        bool,
        typer.Option(
            "--exact-decode",
            rich_help_panel="Decoding",
            help="Decode large JPEGs in full, not at a reduced scale.",
        ),
    ] = False
    color_management: Annotated[
        bool,
        typer.Option(
            envvar="SIGLIP_COLOR_MANAGEMENT",
            help="Convert colors to sRGB by the image's color profile.",
        ),
    ] = True
    allow_truncated: Annotated[
        bool,
        typer.Option(
            "--allow-truncated", help="Score what is there of an image that was cut short."
        ),
    ] = False
    image_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            max=MOST_SECONDS,
            metavar="SECONDS",
            rich_help_panel="Decoding",
            envvar="SIGLIP_IMAGE_TIMEOUT",
            help="Timeout for one image, in seconds; 0 for none.",
        ),
    ] = 60.0
    isolate: Annotated[
        bool | None,
        typer.Option(
            rich_help_panel="Decoding",
            envvar="SIGLIP_ISOLATE",
            show_default=False,
            help="Decode every image in worker processes, or none.  [default: all but JPEG and PNG]",
        ),
    ] = None


@dataclass(frozen=True)
class InputOptions(WalkOptions):
    """What to read."""

    heading = "Inputs"

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS",
            show_default=False,
            help="Images, folders (read recursively), or - for one image's bytes on stdin.",
        ),
    ] = None
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Read paths from FILE, one per line; - for stdin.",
            show_default=False,
        ),
    ] = None
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths in --files-from end with NUL.")
    ] = False


@dataclass(frozen=True)
class SavedOptions:
    """What to use in place of images."""

    heading = "Inputs"

    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            show_default=False,
            help="In place of images, use the embeddings that siglip embed saved in FILE.",
        ),
    ] = None


@dataclass(frozen=True)
class LabelOptions:
    """What to ask for."""

    heading = "Labels"

    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="SET",
            autocompletion=completion.label_sets,
            envvar="SIGLIP_LABELS",
            help="A built-in set (siglip labels list), a YAML or JSON file, a text file with one label"
            " per line, or - for stdin; repeatable.",
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-L", metavar="NAME", help="A label, or cat,dog; repeatable."),
    ] = None
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Fill labels into TEXT at {}; repeatable."),
    ] = None


@dataclass(frozen=True)
class ThresholdOptions:
    """What makes a tag."""

    heading = "Labels"

    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            "-t",
            metavar="P",
            callback=probability,
            help="The score that makes a tag; a label's own threshold wins."
            "  [default: the set's, or 0.2; 0<=x<=1]",
        ),
    ] = None
    bias_shift: Annotated[
        float, typer.Option(metavar="X", callback=moderate, help="Add X to every logit.")
    ] = 0.0


@dataclass(frozen=True)
class TopOptions(ThresholdOptions):
    """Which labels an answer holds."""

    heading = "Labels"

    top: Annotated[
        int,
        typer.Option(
            "--top",
            "-k",
            min=1,
            metavar="N",
            help="The N best labels of each set, and every tag beyond them.",
        ),
    ] = 5
    every: Annotated[bool, typer.Option("--all", help="Show every label, negative ones too.")] = (
        False
    )
    tags_only: Annotated[
        bool, typer.Option("--tags-only", help="Show the labels that are tags, and no other.")
    ] = False


@dataclass(frozen=True)
class ModelOptions:
    """The model, and what runs it."""

    heading = "Model and device"

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=completion.models,
            envvar="SIGLIP_MODEL",
            help="A name from siglip models list, a model folder, hf-hub:ORG/NAME, or demo.",
        ),
    ] = "ViT-B-16-SigLIP-384"
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:N|mps",
            callback=device,
            autocompletion=choices("auto", "cpu", "cuda", "mps"),
            envvar="SIGLIP_DEVICE",
            help="Where it runs.",
        ),
    ] = "auto"
    runtime: Annotated[
        str,
        typer.Option(
            **words(*RUNTIMES),
            envvar="SIGLIP_RUNTIME",
            help="What runs it.",
        ),
    ] = "auto"
    precision: Annotated[
        str,
        typer.Option(
            **words(*PRECISIONS),
            envvar="SIGLIP_PRECISION",
            help="The towers' arithmetic; the head is always fp32.",
        ),
    ] = "auto"
    text_cleaning: Annotated[
        str | None,
        typer.Option(
            **words(*CLEANINGS),
            show_default=False,
            help="How prompts are cleaned before they are tokenized.  [default: as the model's config says]",
        ),
    ] = None
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            callback=auto_or_count,
            envvar="SIGLIP_BATCH_SIZE",
            help="Images encoded at a time.",
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel="Decoding",
            envvar="SIGLIP_WORKERS",
            help="Threads that read and decode.  [default: one per processor]",
        ),
    ] = None
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", rich_help_panel="Cache", help="Neither use nor keep stored embeddings."
        ),
    ] = False
    cache_limit: CacheLimit = DEFAULT_LIMIT
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            rich_help_panel="Cache",
            help="Read every file, even one whose size and times are known.",
        ),
    ] = False
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", envvar="SIGLIP_OFFLINE", help="Use only model files that are here."
        ),
    ] = False
    cache_dir: CacheDir = None


@dataclass(frozen=True)
class OutputOptions:
    """Where answers go, and how they are written."""

    heading = "Output"

    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            **words(*outputs.names()),
            help="The output format.  [default: table on a terminal, jsonl in a pipe]",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to FILE, in the format its ending names; replaced only when complete.",
        ),
    ] = None
    force: Force = False
    allow_empty: AllowEmpty = False
    provenance: WithProvenance = False


@dataclass(frozen=True)
class DocumentOptions:
    """Where figures go, and how they are written."""

    heading = "Output"

    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            **words("table", "json"),
            help="Tables, or JSON for programs.  [default: table; json where --output ends in .json]",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to FILE; replaced only when complete."
        ),
    ] = None

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
