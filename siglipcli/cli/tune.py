"""`siglip models tune`: an int8 engine made from the user's own images, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import label_sets, setup
from siglipcli.cli.completion import models
from siglipcli.cli.inputs import walking
from siglipcli.cli.options import (
    DEFAULT_MODEL,
    CacheDir,
    JsonOrTable,
    LabelOptions,
    ModelOptions,
    WalkOptions,
    argument,
    option,
)
from siglipcli.cli.output import print_json
from siglipcli.errors import DeviceError
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions

if TYPE_CHECKING:
    from siglipcli.tuning import Tuning

__all__ = ["tune"]

_WORTH = 1.1  # times as fast, below which int8 only costs


@dataclass(frozen=True)
class TuneInputOptions(WalkOptions):
    """The model to tune, and the images to tune it on."""

    name: Annotated[
        str,
        argument(
            "model", "[MODEL]", envvar="SIGLIP_MODEL", show_envvar=False, autocompletion=models
        ),
    ] = DEFAULT_MODEL
    images: Annotated[list[str] | None, option("tune.images", "--with", metavar="PATH")] = None
    count: Annotated[int, option("tune.count", "--images", min=64, metavar="N")] = 400
    seed: Annotated[int, option("draw_seed", "--seed", min=0, metavar="N")] = 0


@dataclass(frozen=True)
class TuneRunOptions:
    """How the engine is made, and where it is kept."""

    heading = "Tuning"

    minutes: Annotated[float, option("tune.minutes", "--minutes", min=0.1, metavar="N")] = 10.0
    accept: Annotated[bool, option("tune.accept", "--accept")] = False
    offline: Annotated[bool, option("offline", "--offline", env=True)] = False
    cache_dir: CacheDir = None
    output_format: JsonOrTable = "table"


@grouped
def tune(
    options: TuneInputOptions,
    labels: LabelOptions,
    run: TuneRunOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Make an int8 engine of a model from your own images, and say what it changes.

    It is for --precision int8, on the CPU. Of the images that --with names, some are drawn; a third or more of
    them is kept back to compare results with those of the current engine. Where they differ too much nothing is
    installed, unless --accept is given.

    Exit status: 0 installed; 2 usage or labels; 3 nothing is installed, or could not go on.
    """
    from siglipcli import tuning
    from siglipcli.inputs import expand

    terminal = Terminal(verbosity, rows_on_screen=False)
    if not options.images:
        raise typer.BadParameter("name a folder of your images", param_hint="'--with'")
    label_sets.read_stdin_once(labels.labels or (), *options.images)
    wanted = tuning.TuningOptions(options.count, options.seed, run.minutes, run.accept)
    sets = setup.label_sets(labels, terminal)
    engine = ModelOptions(
        model=options.name, device="cpu", runtime="openvino", no_cache=True,
        offline=run.offline, cache_dir=run.cache_dir,
    )  # fmt: skip
    with setup.classifier(engine, options, terminal) as classifier:
        images = expand(options.images, walking(options))
        with terminal.stages() as progress:
            result = tuning.tune(classifier, images, sets, wanted, progress)
    _report(result, as_json=run.output_format == "json")
    _conclude(result, terminal)


def _report(result: Tuning, *, as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
        return
    from siglipcli.outputs import tuning_report
    from siglipcli.outputs.plain_table import print_table

    print_table(None, tuning_report.rows(result.to_dict()))


def _conclude(result: Tuning, terminal: Terminal) -> None:
    if not result.is_installed:
        raise DeviceError(
            f"nothing is installed: {'; '.join(result.missed)}.",
            code="below_floors",
            model=result.model,
        )
    if result.speedup < _WORTH:
        terminal.note(
            f"on this processor it is {result.speedup:.2f} times as fast as {result.reference}: not worth"
            " the changes in scores"
        )
    below = " below its floors, which every run will say" if result.missed else ""
    terminal.note(
        f"installed the int8 engine of {result.model}{below}: use it with --precision int8"
    )
