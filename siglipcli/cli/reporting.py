"""`--report`: a page for a browser, beside the ordinary answers and without a change to them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import is_same, open_output
from siglipcli.terminal import signals
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siglipcli.api import Classifier
    from siglipcli.cli.options import (
        DocumentOptions,
        InputOptions,
        OutputOptions,
        SavedOptions,
    )
    from siglipcli.labels import LabelSet
    from siglipcli.outputs.html import Section, Sheet
    from siglipcli.results import Result
    from siglipcli.scoring import ScoringOptions

__all__ = ["Asked", "Reported", "Reporting", "check", "reported", "title"]

logger = logging.getLogger("siglipcli")

_NAMES = 3  # of inputs in a title


Page = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        show_default=False,
        help="Also write a page for a browser: images, tags, a threshold to move.",
    ),
]


@dataclass(frozen=True)
class Reporting:
    """A page to look at."""

    heading = "Output"

    report: Page = None
    report_thumbs: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Images with a thumbnail in --report: the first N."),
    ] = 2000
    report_limit: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Images that --report lists: the first N."),
    ] = 20_000


def check(
    options: Reporting,
    output: OutputOptions | DocumentOptions,
    inputs: Iterable[str | Path | None],
) -> None:
    """Refuse a report that would replace something that the run reads or writes. Raises UsageError."""
    report = options.report
    if report is None:
        return
    if report.suffix.lower() not in {".html", ".htm"}:  # so it takes the place of no image
        raise UsageError(f"--report writes a page: {str(report)!r} should end in .html")
    if output.output and is_same(report, output.output):
        raise UsageError(f"--report and --output are both {report}")
    safety.check(report, inputs, force=output.force)


def title(inputs: InputOptions, saved: SavedOptions) -> str:
    """Name a report by what was read."""
    names = [visible(name) for name in inputs.paths or ()]
    if inputs.files_from:
        names.append(f"images listed in {visible(inputs.files_from)}")
    if saved.saved:
        names.append(visible(saved.saved.name))
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class Asked:
    """What a run was asked: its title, its label sets, and which labels an answer holds."""

    title: str
    sets: Sequence[LabelSet]
    selection: ScoringOptions


@dataclass(frozen=True)
class Reported:
    """Results on their way past a sheet, or past none; `sections` will stand before the images."""

    asked: Asked
    sheet: Sheet | None = None
    sections: list[Section] = field(default_factory=list)

    @property
    def selection(self) -> ScoringOptions:
        """What to score with: more labels than were asked for where a page is to show them."""
        if self.sheet is None:
            return self.asked.selection
        from siglipcli.outputs.html import widened

        return widened(self.asked.selection, self.asked.sets)

    def passing(self, results: Iterable[Result]) -> Iterator[Result]:
        """Put results on the sheet; pass on what was asked for, as it would be without a sheet."""
        if self.sheet is None:
            yield from results
            return
        from siglipcli.outputs.html import narrowed
        from siglipcli.results import Prediction

        for result in results:
            self.sheet.add(result)  # type: ignore[arg-type]  # `classify` gives no other kind
            if isinstance(result, Prediction):
                yield narrowed(result, self.asked.selection, self.asked.sets)
            else:
                yield result


@contextmanager
def reported(given: Reporting, asked: Asked, classifier: Classifier) -> Iterator[Reported]:
    """Give what results are to pass through; once the block ends well, the page is written.

    The file is begun at once, so that a place where none can be is said before the work. Raises
    OutputError.
    """
    if given.report is None:
        yield Reported(asked)
        return
    from siglipcli.outputs.html import Heading, Sheet

    heading = Heading(
        asked.title, classifier.encoder.name, asked.sets, asked.selection, page=given.report
    )
    with (
        signals.put_away(),
        open_output(given.report) as stream,
        Sheet(
            heading,
            classifier.load_options,
            thumbs=given.report_thumbs,
            limit=given.report_limit,
        ) as sheet,
    ):
        page = Reported(asked, sheet)
        yield page
        sheet.write(stream, page.sections)
    if sheet.left_out:
        logger.warning(
            "the page lists the first %s images; %s more are not in it (--report-limit)",
            f"{given.report_limit:,}",
            f"{sheet.left_out:,}",
        )
