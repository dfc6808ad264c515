"""`siglip sort`: put images into a folder for each label, and take that back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import label_sets, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    CalibratedLabelOptions,
    InputOptions,
    ModelOptions,
    ThresholdOptions,
    option,
)
from siglipcli.cli.sort_rows import DONE, Rows, counted, how_back
from siglipcli.errors import UsageError
from siglipcli.outputs.output import open_output
from siglipcli.results import Source
from siglipcli.terminal import signals
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.status import ExitStatus
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from siglipcli.actions.moving import Layout
    from siglipcli.actions.steps import State
    from siglipcli.labels import LabelSet
    from siglipcli.results import Failure, Prediction

__all__ = ["sort"]


@dataclass(frozen=True)
class SortLabelOptions(CalibratedLabelOptions):
    """Which labels to score; --template is where images go."""

    template: Annotated[
        list[str] | None, option("template", "--prompt-template", metavar="TEXT")
    ] = None


@dataclass(frozen=True)
class SortOptions:
    """Where images go, and how."""

    heading = "Sorting"

    into: Annotated[Path | None, option("sort.into", metavar="DIR", show_default=False)] = None
    move: Annotated[bool, option("sort.move", "--move")] = False
    copy: Annotated[bool, option("sort.copy", "--copy")] = False
    link: Annotated[bool, option("sort.link", "--link")] = False
    symlink: Annotated[bool, option("sort.symlink", "--symlink")] = False
    place: Annotated[str, option("sort.template", "--template", metavar="TEXT")] = "{label}/{name}"
    flat: Annotated[bool, option("sort.flat", "--flat")] = False
    untagged: Annotated[str | None, option("sort.untagged", metavar="NAME")] = None
    alone: Annotated[bool, option("sort.alone", "--alone")] = False
    undo: Annotated[Path | None, option("sort.undo", metavar="FILE", show_default=False)] = None
    output_format: Annotated[
        str, option("sort.format", "--format", "-f", **words("text", "jsonl"))
    ] = "text"

    @property
    def action(self) -> str | None:
        """The one that is wanted. Raises UsageError for several."""
        wanted = [name for name in DONE if getattr(self, name)]
        if len(wanted) > 1:
            raise UsageError(f"--{wanted[0]} and --{wanted[1]} contradict each other")
        return wanted[0] if wanted else None


@grouped
def sort(
    inputs: InputOptions,
    options: SortOptions,
    labels: SortLabelOptions,
    threshold: ThresholdOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Put images into a folder for each label, by the best tag of each; --undo takes it back.

    Without --move, --copy, --link or --symlink it only says what it would do. Sidecars, the RAW beside
    a JPEG and the video of a live photo go with their image. Nothing is ever overwritten.

    Exit status: 0 all inputs scored and placed; 1 some failed, their rows say why; 2 usage or labels;
    3 could not go on.
    """
    terminal = Terminal(verbosity, rows_on_screen=False)
    if options.undo is not None:
        _undo(options, inputs, terminal)
        return
    into = _destination(options, inputs)
    label_sets.read_stdin_once(labels.labels or (), inputs.files_from)
    layout_of = _layout(options, into)
    sets = setup.label_sets(labels, terminal)
    layout = layout_of(sets)
    states: dict[str, State] = {}
    results, sources, failed = _results(
        inputs, into, sets, labels, threshold, engine, terminal, states
    )
    rows = Rows(options.output_format, layout.action)
    _place(results, layout, rows, states)
    _report(sources, terminal, alone=options.alone)
    terminal.note(rows.summary(into))
    if failed or rows.counts["failed"]:
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def _destination(options: SortOptions, inputs: InputOptions) -> Path:
    """Return where images go. Raises UsageError where it cannot be a folder."""
    if options.into is None:
        raise UsageError("nowhere to sort to: give --into DIR")
    if "-" in (inputs.paths or ()):
        raise UsageError("an image on stdin has no file that could be sorted")
    if options.into.exists() and not options.into.is_dir():
        raise UsageError(f"{visible(str(options.into))} is a file; --into takes a folder")
    if not options.into.absolute().parent.is_dir():
        raise UsageError(
            f"the folder of {visible(str(options.into))} does not exist; make it first"
        )
    return options.into


def _layout(options: SortOptions, into: Path) -> Callable[[list[LabelSet]], Layout]:
    """Check the options before any model is loaded; return what makes a layout of label sets."""
    from siglipcli.actions.moving import Layout
    from siglipcli.actions.names import Folders
    from siglipcli.actions.templates import Template

    action, template = options.action, Template(options.place)
    if options.untagged is not None and not options.untagged.strip("/ "):
        raise UsageError("--untagged takes the name of a folder")

    def layout(sets: list[LabelSet]) -> Layout:
        names = [
            label.path for label_set in sets for label in label_set.labels if not label.negative
        ]
        folders = Folders(names, flat=options.flat)
        return Layout(into, action, template, folders, options.untagged, options.alone)

    return layout


def _results(
    inputs: InputOptions,
    into: Path,
    sets: list[LabelSet],
    labels: SortLabelOptions,
    threshold: ThresholdOptions,
    engine: ModelOptions,
    terminal: Terminal,
    states: dict[str, State],
) -> tuple[list[Prediction | Failure], Inputs, int]:
    """Score all images; none is touched before the last one has its result."""
    from siglipcli.scoring import ScoringOptions

    scoring = ScoringOptions(top=1, threshold=threshold.threshold, bias_shift=threshold.bias_shift)
    sources = Inputs(inputs, skip_folders=(into,), skip_files=_placed(into))
    tally = Tally()
    with setup.classifier(engine, inputs, terminal) as classifier:
        embedded = label_sets.embedded(sets, classifier, terminal, strict=labels.strict)
        with terminal.progress(sources.total) as counted:
            inputs_read = sources.stream()
            if isinstance(inputs_read, Iterator):  # not embeddings of an earlier run
                inputs_read = _noted(inputs_read, states)
            stream = classifier.classify(inputs_read, embedded, scoring)
            results = list(tally.adding(counted(stream)))
        tally.require_inputs(sources.report, None, terminal, allow_empty=False)
        tally.report(terminal)
    return results, sources, tally.failed


def _noted(
    items: Iterable[Source | Failure], states: dict[str, State]
) -> Iterator[Source | Failure]:
    """Pass inputs on, and note the state of each before it is read."""
    from siglipcli.actions import steps

    for item in items:
        if isinstance(item, Source):
            with suppress(OSError):  # its row will say why
                states[item.name] = steps.state(item.name)
        yield item


def _report(sources: Inputs, terminal: Terminal, *, alone: bool) -> None:
    """Say what was passed over, but for what goes with images."""
    from siglipcli.actions.companions import ENDINGS

    for ending in () if alone else ENDINGS:
        sources.overlooked.endings.pop(ending, None)
    sources.report(terminal)


def _placed(into: Path) -> Callable[[str], bool]:
    """Return what knows the files that earlier runs have put into the destination."""
    from siglipcli.actions import journal

    runs = journal.read(into / journal.NAME)
    placed = {
        os.path.abspath(into / entry.target)  # noqa: PTH100  # the name, not where it leads
        for run in runs
        for entry in run.entries
        if entry.kind != journal.FOLDER
    }
    return lambda path: bool(placed) and os.path.abspath(path) in placed  # noqa: PTH100


def _place(
    results: list[Prediction | Failure], layout: Layout, rows: Rows, states: dict[str, State]
) -> None:
    from siglipcli.actions import journal, moving, recovery

    with open_output(None) as stream, signals.put_away():
        path = layout.into / journal.NAME
        if layout.action is None:
            origins = journal.origins(journal.read(path), layout.into)
            rows.write(moving.Plan(layout, results, origins, states), stream)
            return
        is_made = _make(layout.into)
        with journal.opened(path) as book:
            signals.describe(lambda: f"interrupted: {rows.so_far()}; {how_back(layout.into)}")
            recovery.recover(book)
            origins = journal.origins(book.runs, layout.into)
            plan = moving.Plan(layout, results, origins, states)
            rows.write(moving.apply(plan, book, made=is_made), stream)


def _make(folder: Path) -> bool:
    from siglipcli.errors import OutputError

    try:
        folder.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"write error: {visible(str(folder))}: {error.strerror}") from error
    return True


def _undo(options: SortOptions, inputs: InputOptions, terminal: Terminal) -> None:
    from siglipcli.actions import journal, undo

    if options.into or options.action or inputs.paths or inputs.files_from:
        raise UsageError(
            "--undo takes the journal alone: no images, and no other option of sorting"
        )
    path = options.undo or Path()
    path = path / journal.NAME if path.is_dir() else path
    rows = Rows(options.output_format, None)
    with journal.opened(path, must_exist=True) as book, open_output(None) as stream:
        signals.describe(lambda: "interrupted: the same command goes on")
        with signals.put_away():
            rows.write(undo.undo(book), stream)
        remaining = len(book.runs)
    terminal.note(_undone(rows, remaining))
    if rows.counts["failed"]:
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def _undone(rows: Rows, remaining: int) -> str:
    line = f"{counted(rows.counts['back'], 'file')} taken back"
    if rows.counts["failed"]:
        return f"{line}, {rows.counts['failed']:,} left as they are"
    runs = counted(remaining, "earlier run")
    return f"{line}; {runs} can be undone by the same command" if remaining else line
