"""The options that commands share, in groups: same name, same meaning, same help everywhere.

A command takes whole groups as parameters; `terminal.groups.grouped` spreads their fields out for Typer.
What an option's help says is in `cli.help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path  # Typer reads the annotations
from typing import Annotated, Any

import typer

from siglipcli import outputs
from siglipcli.cli import completion
from siglipcli.cli.help import OPTIONS
from siglipcli.encoders.spec import CLEANINGS, PRECISIONS, RUNTIMES
from siglipcli.errors import UsageError
from siglipcli.terminal import values
from siglipcli.terminal.values import Size, words

__all__ = ["DECODING", "DEFAULT_LIMIT", "DEFAULT_MODEL", "AllowEmpty", "CacheDir", "CacheLimit"]
__all__ += ["CalibratedLabelOptions", "DecodingOptions", "DocumentOptions", "EngineOptions"]
__all__ += ["Force", "InputOptions", "JsonOrTable", "LabelOptions", "ModelOptions"]
__all__ += ["OneLabelSet", "OutputOptions", "SavedOptions", "ThresholdOptions", "TopOptions"]
__all__ += ["WalkOptions", "argument", "model_option", "option"]

MOST_SECONDS = 86_400.0  # a day; NaN is refused with what is more
DEFAULT_LIMIT = Size(8 * 10**9)  # about 2.5 million images
DEFAULT_MODEL = "ViT-B-16-SigLIP-384"
CACHE, DECODING = "Cache", "Decoding"  # headings of options in groups of another heading


def option(
    name: str, *names: str, env: bool = False, heading: str | None = None, **more: Any
) -> Any:
    """Return a Typer option with the help that `OPTIONS` has; `env`: SIGLIP_NAME sets it too."""
    if env:
        more["envvar"] = f"SIGLIP_{name.upper()}"
    return typer.Option(*names, help=OPTIONS[name], rich_help_panel=heading, **more)


def argument(name: str, metavar: str, **more: Any) -> Any:
    """Return a Typer argument with the help that `OPTIONS` has."""
    return typer.Argument(metavar=metavar, help=OPTIONS[name], **more)


def model_option(name: str = "model", **more: Any) -> Any:
    """Return --model, with the help that `OPTIONS` has of `name`."""
    return option(name, "--model", "-m", metavar="MODEL", autocompletion=completion.models, **more)


def _sets_option(name: str) -> Any:
    """Return --labels, with the help that `OPTIONS` has of `name`."""
    more: dict[str, Any] = {"autocompletion": completion.label_sets, "envvar": "SIGLIP_LABELS"}
    return option(name, "--labels", "-l", metavar="SET", **more)


_decoding = partial(option, heading=DECODING)
_cache = partial(option, heading=CACHE)

CacheDir = Annotated[Path | None, _cache("cache_dir", metavar="DIR", env=True)]
CacheLimit = Annotated[Size, _cache("cache_limit", parser=Size.parse, metavar="SIZE", env=True)]
JsonOrTable = Annotated[str, option("json_or_table", "--format", "-f", **words("table", "json"))]
Force = Annotated[bool, option("force", "--force")]
AllowEmpty = Annotated[bool, option("allow_empty", "--allow-empty")]


@dataclass(frozen=True)
class DecodingOptions:
    """How images are decoded."""

    heading = DECODING

    max_megapixels: Annotated[float, _decoding("max_megapixels", min=0, metavar="N", env=True)] = (
        100.0
    )
    exact_decode: Annotated[bool, _decoding("exact_decode", "--exact-decode")] = False
    color_management: Annotated[bool, _decoding("color_management", env=True)] = True
    allow_truncated: Annotated[bool, _decoding("allow_truncated", "--allow-truncated")] = False
    image_timeout: Annotated[
        float, _decoding("image_timeout", min=0, max=MOST_SECONDS, metavar="SECONDS", env=True)
    ] = 60.0
    isolate: Annotated[bool | None, _decoding("isolate", env=True, show_default=False)] = None


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

    paths: Annotated[list[str] | None, argument("paths", "PATHS", show_default=False)] = None
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

    labels: Annotated[list[str] | None, _sets_option("labels")] = None
    label: Annotated[list[str] | None, option("label", "--label", "-L", metavar="NAME")] = None
    template: Annotated[list[str] | None, option("template", metavar="TEXT")] = None


@dataclass(frozen=True)
class OneLabelSet(LabelOptions):
    """The one label set that a command works on."""

    labels: Annotated[list[str] | None, _sets_option("one_label_set")] = None


@dataclass(frozen=True)
class CalibratedLabelOptions(LabelOptions):
    """Which labels to score, where thresholds decide."""

    strict: Annotated[bool, option("strict", "--strict")] = False


@dataclass(frozen=True)
class ThresholdOptions:
    """What makes a tag."""

    heading = "Labels"

    threshold: Annotated[
        float | None,
        option("threshold", "--threshold", "-t", metavar="P", callback=values.probability),
    ] = None
    bias_shift: Annotated[float, option("bias_shift", metavar="X", callback=values.moderate)] = 0.0


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

    model: Annotated[str, model_option(env=True)] = DEFAULT_MODEL
    device: Annotated[
        str,
        option("device", **values.devices(), env=True),
    ] = "auto"
    runtime: Annotated[str, option("runtime", **words(*RUNTIMES), env=True)] = "auto"
    precision: Annotated[str, option("precision", **words(*PRECISIONS), env=True)] = "auto"
    text_cleaning: Annotated[str | None, option("text_cleaning", **words(*CLEANINGS))] = None
    batch_size: Annotated[
        str, option("batch_size", metavar="auto|N", callback=values.auto_or_count, env=True)
    ] = "auto"
    offline: Annotated[bool, option("offline", "--offline", env=True)] = False
    cache_dir: CacheDir = None


@dataclass(frozen=True)
class ModelOptions(EngineOptions):
    """The model, what runs it, and what is kept of its work."""

    workers: Annotated[int | None, _decoding("workers", min=1, metavar="N", env=True)] = None
    no_cache: Annotated[bool, _cache("no_cache", "--no-cache")] = False
    cache_limit: CacheLimit = DEFAULT_LIMIT
    verify: Annotated[bool, _cache("verify", "--verify")] = False


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
