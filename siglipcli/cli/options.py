"""The options that commands share, in groups: same name, same meaning, same help everywhere.

A command takes whole groups as parameters; `grouped` spreads their fields out for Typer:

    @grouped
    def classify(inputs: Inputs, voice: Voice) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from siglipcli import writers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEFAULT_LIMIT", "Answers", "CacheDir", "CacheLimit", "Choice", "Engine", "Inputs"]
__all__ += ["JsonOrTable", "Labels", "Saved", "Size", "Voice", "grouped", "one_of"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with each dataclass parameter replaced by the dataclass's fields.

    Other parameters stay as they are.
    """
    own = inspect.signature(command).parameters
    groups = get_type_hints(command, include_extras=True)
    groups.pop("return", None)
    parameters = [p for name, kind in groups.items() for p in _spread(own[name], kind)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: _gather(name, kind, given) for name, kind in groups.items()})

    del run.__wrapped__  # or its signature would be seen
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _spread(parameter: inspect.Parameter, kind: Any) -> list[inspect.Parameter]:
    if not is_dataclass(kind):
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind)]
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields(kind)
    ]


def _gather(name: str, kind: Any, given: dict[str, Any]) -> Any:
    if not is_dataclass(kind):
        return given[name]
    return kind(**{f.name: given[f.name] for f in fields(kind)})  # type: ignore[operator]


def one_of(*words: str) -> Callable[[str | None], str | None]:
    """Return a Typer callback that accepts these words only, and names them."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(words)}.")
        return value

    return check


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.")
    return value


def _auto_or_count(value: str) -> str:
    if value != "auto" and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"{value!r} is neither auto nor a number from 1 up.")
    return value


def _moderate(value: float) -> float:
    """Refuse what would make a score meaningless: not a number, infinite, or near it in fp32."""
    if not -1000 <= value <= 1000:  # noqa: PLR2004  # false for NaN too
        raise typer.BadParameter(f"{value} is not a number from -1000 to 1000.")
    return value


def _probability(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:  # false for NaN, which `min` and `max` let pass
        raise typer.BadParameter(f"{value} is not a number from 0 to 1.")
    return value


RUNTIMES = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


CacheDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SIGLIP_CACHE_DIR",
        show_default=False,
        help="Where siglip keeps what it may use again.",
    ),
]
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Size:
    """A number of bytes, written as people write it: 500M, 2.5G."""

    bytes: int

    @classmethod
    def parse(cls, text: str | Size) -> Size:
        """Read 500M, 2.5 GB or a plain number. Raises Typer's BadParameter."""
        if isinstance(text, Size):  # a default
            return text
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text.upper())
        if not match:
            raise typer.BadParameter(f"{text!r} is no size; write 500M or 2.5G.")
        return cls(int(float(match[1]) * _UNITS[match[2]]))

    def __str__(self) -> str:
        unit = next((u for u in "TGMK" if self.bytes >= _UNITS[u]), "")
        return f"{self.bytes / _UNITS[unit]:.3g} {unit}B"


DEFAULT_LIMIT = Size(8 * 10**9)  # about 2.5 million images
CacheLimit = Annotated[
    Size,
    typer.Option(
        "--cache-limit",
        parser=Size.parse,
        metavar="SIZE",
        envvar="SIGLIP_CACHE_LIMIT",
        help="What stored embeddings may take (500M, 8G); the least recently used go first.",
    ),
]
JsonOrTable = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="table|json",
        callback=one_of("table", "json"),
        help="A table, or JSON for programs.",
    ),
]


@dataclass(frozen=True)
class Inputs:
    """What to read."""

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS",
            show_default=False,
            help="Pictures, folders (read recursively), or - for one picture's bytes on stdin.",
        ),
    ] = None
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Read paths from FILE, one a line; - for stdin.",
            show_default=False,
        ),
    ] = None
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths in --files-from end in NUL.")
    ] = False
    recursive: Annotated[bool, typer.Option(help="Read folders with all below them.")] = True
    ext: Annotated[
        list[str] | None,
        typer.Option(metavar="EXT", help="In folders, read this ending only; repeatable."),
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
            min=0, metavar="N", envvar="SIGLIP_MAX_MEGAPIXELS", help="Refuse larger pictures."
        ),
    ] = 100.0
    exact_decode: Annotated[
        bool,
        typer.Option("--exact-decode", help="Decode large JPEGs in full, not at a reduced scale."),
    ] = False


@dataclass(frozen=True)
class Saved:
    """What to use in place of pictures."""

    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            show_default=False,
            help="In place of pictures, use the vectors that siglip embed saved in FILE.",
        ),
    ] = None


@dataclass(frozen=True)
class Labels:
    """What to ask for."""

    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="SET",
            envvar="SIGLIP_LABELS",
            help="A YAML file or a built-in set (siglip labels list); repeatable.",
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-L", metavar="NAME", help="A label on the spot; repeatable."),
    ] = None


@dataclass(frozen=True)
class Choice:
    """Which labels an answer holds."""

    top: Annotated[
        int,
        typer.Option(
            "--top", "-k", min=1, metavar="N", help="Labels shown for each set, beside every tag."
        ),
    ] = 5
    every: Annotated[bool, typer.Option("--all", help="Show every label, negative ones too.")] = (
        False
    )
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            "-t",
            metavar="P",
            callback=_probability,
            help="The score that makes a tag; a label's own threshold wins."
            "  [default: the set's, or 0.2; 0<=x<=1]",
        ),
    ] = None
    bias_shift: Annotated[
        float, typer.Option(metavar="X", callback=_moderate, help="Add X to every logit.")
    ] = 0.0


@dataclass(frozen=True)
class Engine:
    """The model, and what runs it."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="SIGLIP_MODEL",
            help="A name from siglip models list, a model folder, hf-hub:ORG/NAME, or demo.",
        ),
    ] = "ViT-B-16-SigLIP-384"
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:N|mps",
            callback=_device,
            envvar="SIGLIP_DEVICE",
            help="Where it runs.",
        ),
    ] = "auto"
    runtime: Annotated[
        str,
        typer.Option(
            metavar="|".join(RUNTIMES),
            callback=one_of(*RUNTIMES),
            envvar="SIGLIP_RUNTIME",
            help="What runs it.",
        ),
    ] = "auto"
    precision: Annotated[
        str,
        typer.Option(
            metavar="|".join(PRECISIONS),
            callback=one_of(*PRECISIONS),
            envvar="SIGLIP_PRECISION",
            help="The towers' arithmetic; the head is always fp32.",
        ),
    ] = "auto"
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            callback=_auto_or_count,
            envvar="SIGLIP_BATCH_SIZE",
            help="Pictures encoded at a time.",
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            envvar="SIGLIP_WORKERS",
            help="Reading threads.  [default: one a processor]",
        ),
    ] = None
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep stored embeddings.")
    ] = False
    cache_limit: CacheLimit = DEFAULT_LIMIT
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every file, even one whose size and times are known."),
    ] = False
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", envvar="SIGLIP_OFFLINE", help="Use only model files that are here."
        ),
    ] = False
    cache_dir: CacheDir = None


@dataclass(frozen=True)
class Answers:
    """Where answers go, and how they are written."""

    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(writers.names()),
            callback=one_of(*writers.names()),
            help="How answers are written.  [default: table on a terminal, jsonl in a pipe]",
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


@dataclass(frozen=True)
class Voice:
    """What is said on stderr."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = (
        False
    )
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what is used, and when.")
    ] = False
    no_progress: Annotated[
        bool,
        typer.Option("--no-progress", envvar="SIGLIP_NO_PROGRESS", help="No progress bar."),
    ] = False
