"""`--report`: a page for a browser, beside the ordinary output and without a change to it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, cast

from siglipcli import outputs
from siglipcli.cli.options import option
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import is_same
from siglipcli.terminal import signals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siglipcli.api import Classifier
    from siglipcli.cli.options import DocumentOptions, OutputOptions
    from siglipcli.labels import LabelSet
    from siglipcli.outputs.html import ReportSink
    from siglipcli.scoring import ScoringOptions

__all__ = ["ReportOptions", "check", "report"]

logger = logging.getLogger("siglipcli")


@dataclass(frozen=True)
class ReportOptions:
    """A page to look at."""

    heading = "Output"

    report: Annotated[Path | None, option("report", metavar="FILE")] = None
    report_thumbs: Annotated[int, option("report_thumbs", min=0, metavar="N")] = 2000
    report_limit: Annotated[int, option("report_limit", min=1, metavar="N")] = 20_000


def check(options: ReportOptions, output: OutputOptions | DocumentOptions,
          inputs: Iterable[str | Path | None]) -> None:  # fmt: skip
    """Refuse a report that would replace something that the run reads or writes. Raises UsageError."""
    if options.report is None:
        return
    if output.output and is_same(options.report, output.output):
        raise UsageError(f"--report and --output are both {options.report}")
    safety.check_report(options.report, inputs, force=output.force)


@contextmanager
def report(options: ReportOptions, names: Sequence[str], label_sets: Sequence[LabelSet],
           scoring: ScoringOptions, classifier: Classifier) -> Iterator[ReportSink | None]:  # fmt: skip
    """Open the report, which is written once the block ends well; None where none is wanted.

    The file is begun at once, so that a place where none can be is said before the work. Raises OutputError.
    """
    if options.report is None:
        yield None
        return
    from siglipcli.outputs.html import ReportHeader

    header = ReportHeader.of(
        classifier, label_sets, scoring, names,
        page=options.report, thumbs=options.report_thumbs, limit=options.report_limit,
    )  # fmt: skip
    with signals.put_away(), outputs.opened("html", options.report, header) as sink:
        page = cast("ReportSink", sink)
        yield page
    if page.left_out:
        logger.warning("the page lists the first %s images; %s more are not in it (--report-limit)",
                       f"{header.limit:,}", f"{page.left_out:,}")  # fmt: skip
