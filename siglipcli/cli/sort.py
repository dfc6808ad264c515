"""`siglip sort`: put images into a folder for each label, and take that back."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import label_sets, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.label_sets import CalibratedLabelOptions  # Typer reads the annotations
from siglipcli.cli.options import InputOptions, ModelOptions, ThresholdOptions, option
from siglipcli.errors import UsageError
from siglipcli.outputs.output import open_output
from siglipcli.results import Failure
from siglipcli.terminal import signals
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.status import ExitStatus
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from siglipcli.actions.moving import Layout, Placement
    from siglipcli.actions.undo import Restored
    from siglipcli.labels import LabelSet
    from siglipcli.results import Prediction

__all__ = ["sort"]

_DONE = {"move": "moved", "copy": "copied", "link": "linked", "symlink": "linked"}
_BACK = {"move": "moved back to", "copy": "removed, a copy of", "link": "removed, a link to"}
_BACK["symlink"] = _BACK["link"]


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
        wanted = [name for name in _DONE if getattr(self, name)]
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
    results, sources, failed = _results(inputs, into, sets, labels, threshold, engine, terminal)
    rows = _Rows(options.output_format, layout.action)
    _place(results, layout, rows)
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
        names = [label.path for each in sets for label in each.labels if not label.negative]
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
) -> tuple[list[Prediction | Failure], Inputs, int]:
    """Score all images; none is touched before the last one has its result."""
    from siglipcli.scoring import ScoringOptions

    scoring = ScoringOptions(top=1, threshold=threshold.threshold, bias_shift=threshold.bias_shift)
    sources = Inputs(inputs, skip_folders=(into,), skip_files=_placed(into))
    tally = Tally()
    with setup.classifier(engine, inputs, terminal) as classifier:
        label_sets.check_calibration(sets, classifier.encoder, terminal.note, strict=labels.strict)
        label_sets.warn_of_prompts(sets, classifier.encoder, terminal)
        with terminal.waiting("encoding labels") as progress:
            embedded = [classifier.encode_labels(each, progress) for each in sets]
        with terminal.progress(sources.total) as counted:
            stream = classifier.classify(sources.stream(), embedded, scoring)
            results = list(tally.adding(counted(stream)))
        tally.require_inputs(sources.report, None, terminal, allow_empty=False)
        tally.report(terminal)
    return results, sources, tally.failed


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


def _place(results: list[Prediction | Failure], layout: Layout, rows: _Rows) -> None:
    from siglipcli.actions import journal, moving

    with open_output(None) as stream, signals.put_away():
        path = layout.into / journal.NAME
        if layout.action is None:
            origins = {e.target: e for run in journal.read(path) for e in run.entries}
            rows.write(moving.Plan(layout, results, origins), stream)
            return
        is_made = _make(layout.into)
        with journal.opened(path) as book:
            signals.describe(lambda: f"interrupted: {rows.so_far()}; {_how_back(layout.into)}")
            moving.recover(book)
            plan = moving.Plan(layout, results, book.origins())
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


def _how_back(into: Path) -> str:
    from siglipcli.actions import journal

    return f"take it back with: siglip sort --undo {shlex.quote(visible(str(into / journal.NAME)))}"


class _Rows:
    """What became of each image, on stdout; counted for the last line on stderr."""

    def __init__(self, form: str, action: str | None) -> None:
        self.counts = Counter[str]()
        self._is_json = form == "jsonl"
        self._action = action

    def write(self, items: Iterable[Placement | Failure | Restored], stream: TextIO) -> None:
        """Write a row for each item as it comes. Raises OutputError."""
        for item in items:
            self.counts[
                "failed" if isinstance(item, Failure) else getattr(item, "what", "back")
            ] += 1
            self.counts["files"] += len(getattr(item, "members", ()))
            row = self._json(item) if self._is_json else self._text(item)
            stream.write(row)
            stream.flush()

    def _json(self, item: Placement | Failure | Restored) -> str:
        if isinstance(item, Failure):
            row = {key: value for key, value in item.to_dict().items() if key != "labels"}
        else:
            row = item.to_dict()
        if self._action is None and row.get("what") == "placed":
            row["what"] = "planned"
        return json.dumps(row, ensure_ascii=False) + "\n"

    def _text(self, item: Placement | Failure | Restored) -> str:
        file = visible(item.file)
        if isinstance(item, Failure):
            return f"✗ {file}  {item.kind}: {visible(item.message)}\n"
        from siglipcli.actions.undo import Restored

        target = visible(item.target)
        if isinstance(item, Restored):
            return f"{file}  {_BACK[item.kind]} {target}\n"
        label = f"  {visible(item.score.label)} {item.score.score:.2f}" if item.score else ""
        if item.what != "placed":
            return f"{file}  {_SAID[item.what].format(target)}{label}\n"
        others = [(s, t) for s, t in item.members if s != item.file]
        lines = [f"{file} -> {target}{label}"]
        lines += [f"  {visible(source)} -> {visible(place)}" for source, place in others]
        return "\n".join(lines) + "\n"

    def so_far(self) -> str:
        """Return how many images are done, in words."""
        return f"{_counted(self.counts['placed'], 'image')} {_DONE.get(self._action or '', 'done')}"

    def summary(self, into: Path) -> str:
        """Return the last line."""
        counts = self.counts
        done = f"{_DONE[self._action]}" if self._action else "would place"
        parts = [f"{done} {_counted(counts['placed'], 'image')}"]
        if (others := counts["files"] - counts["placed"]) > 0:
            parts[0] += f" with {_counted(others, 'file')} that belong{'s' * (others == 1)} to them"
        for what, text in _COUNTED.items():
            if counts[what]:
                parts.append(text.format(f"{counts[what]:,}"))
        last = (
            _how_back(into)
            if self._action
            else "nothing is done without --move, --copy, --link or --symlink"
        )
        return f"{', '.join(parts)}; {last}"


_SAID = {
    "there": "left out: the same is at {} already",
    "in_place": "in place",
    "untagged": "no tag: stays",
    "follows": "goes with {}",
}
_COUNTED = {
    "follows": "{} RAW among these",
    "there": "{} there already",
    "in_place": "{} in place",
    "untagged": "{} without a tag stay",
    "failed": "{} failed",
}


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"


def _undo(options: SortOptions, inputs: InputOptions, terminal: Terminal) -> None:
    from siglipcli.actions import journal, undo

    if options.into or options.action or inputs.paths or inputs.files_from:
        raise UsageError(
            "--undo takes the journal alone: no images, and no other option of sorting"
        )
    path = options.undo or Path()
    path = path / journal.NAME if path.is_dir() else path
    rows = _Rows(options.output_format, None)
    with journal.opened(path, must_exist=True) as book, open_output(None) as stream:
        signals.describe(lambda: "interrupted: the same command goes on")
        with signals.put_away():
            rows.write(undo.undo(book), stream)
        remaining = len(book.runs) if path.exists() else 0
    terminal.note(_undone(rows, remaining))
    if rows.counts["failed"]:
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def _undone(rows: _Rows, remaining: int) -> str:
    line = f"{_counted(rows.counts['back'], 'file')} taken back"
    if rows.counts["failed"]:
        return f"{line}, {rows.counts['failed']:,} left as they are"
    runs = _counted(remaining, "earlier run")
    return f"{line}; {runs} can be undone by the same command" if remaining else line
