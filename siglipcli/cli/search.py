"""`siglip search`: rank images against words, an image, or a sum of them."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import label_sets, output, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedOptions,
    argument,
    option,
)
from siglipcli.errors import UsageError
from siglipcli.results import Failure, Match
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import cosine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.results import Result
    from siglipcli.search import Query, Ranking

__all__ = ["search"]

DEFAULT_TOP = 10


@dataclass(frozen=True)
class SearchInputs(InputOptions):
    """What to search: as elsewhere, after the text."""

    paths: Annotated[
        list[str] | None, argument("search.paths", "[TEXT] PATHS", show_default=False)
    ] = None


@dataclass(frozen=True)
class QueryOptions:
    """What to look for."""

    heading = "Query"

    text: Annotated[list[str] | None, option("search.text", "--text", "-T", metavar="TEXT")] = None
    image: Annotated[list[str] | None, option("search.image", "--image", "-i", metavar="FILE")] = (
        None
    )
    without: Annotated[list[str] | None, option("search.without", "--not", metavar="TEXT")] = None


@dataclass(frozen=True)
class MatchOptions:
    """Which matches are wanted."""

    heading = "Query"

    top: Annotated[int | None, option("search.top", "--top", "-k", min=1, metavar="N")] = None
    every: Annotated[bool, option("search.every", "--all")] = False
    threshold: Annotated[
        float | None,
        option("search.threshold", "--threshold", "-t", metavar="P", callback=cosine),
    ] = None
    bare: Annotated[bool, option("search.bare", "--paths")] = False
    bare0: Annotated[bool, option("search.bare0", "--print0")] = False

    @property
    def bare_format(self) -> str | None:
        """The format of bare paths, where they are wanted."""
        return "paths0" if self.bare0 else "paths" if self.bare else None


@grouped
def search(
    inputs: SearchInputs,
    saved: SavedOptions,
    wanted: QueryOptions,
    match_options: MatchOptions,
    output_options: OutputOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Rank images against words, an image, or a sum of them; the most similar first.

    Words are taken as typed. For words alone each match has a score, the sigmoid; with --image or
    --not it has the similarity only, a cosine: the model gives no score for these.

    Exit status: 0 all inputs read; 1 some failed, their rows say why; 2 usage; 3 could not go on.
    """
    from siglipcli.search import rank

    bare = match_options.bare_format
    form = bare or setup.output_format(output_options)
    if output_options.output_format and bare:
        raise UsageError("--paths and --print0 are formats of their own: leave out --format")
    query, inputs = _query(inputs, saved, wanted)
    terminal = Terminal(verbosity, rows_on_screen=False)
    read = [*(inputs.paths or ()), *(wanted.image or ()), inputs.files_from, saved.saved]
    output.check(output_options, form, read)
    sources = Inputs(inputs, saved, output_options.output)
    tally = Tally(origin=sources.origin)
    with setup.classifier(engine, inputs, terminal) as classifier:
        encoder, chosen = classifier.encoder, _ranking(match_options)
        label_sets.warn_of_texts([*query.texts, *query.without], encoder, terminal)
        with (
            classifier.querying(query) as vector,
            terminal.progress(sources.total) as counted,
        ):
            batches = counted(tally.adding_batches(classifier.batches(sources.stream())))
            # Whole before the first is written: the bar is gone by then.
            results = list(rank(batches, vector, encoder.head, chosen, is_text=query.is_text))
        for failure in results if bare else ():
            if isinstance(failure, Failure):
                terminal.failed(failure)
        least = {} if chosen.threshold is None else {("", ""): chosen.threshold}
        header = output.header(output_options, form, encoder, kind=Match, thresholds=least)
        output.write(results, form, output_options, header, tally, sources, terminal)
        _report(tally, results, terminal)
    tally.leave()


def _query(
    inputs: SearchInputs, saved: SavedOptions, wanted: QueryOptions
) -> tuple[Query, SearchInputs]:
    """Tell what to look for from where. Raises UsageError where either is missing."""
    from siglipcli.search import Query

    texts, paths = list(wanted.text or ()), list(inputs.paths or ())
    if not texts and not wanted.image:
        if not paths:
            raise UsageError("nothing to look for: give a text, or --image FILE")
        texts.append(paths.pop(0))
    elif paths and not _could_name(paths[0]):
        raise UsageError(
            f"there is no file {paths[0]!r}; beside --image or --text, say words with --text"
        )
    if any(not text.strip() for text in (*texts, *(wanted.without or ()))):
        raise UsageError("a text to look for is empty")
    if not paths and inputs.files_from is None and saved.saved is None:
        raise UsageError(
            f"nothing to search for {texts[0]!r} in: give images or folders"
            if texts
            else "nothing to search: give images or folders"
        )
    if "-" in (wanted.image or ()) and ("-" in paths or inputs.files_from == "-"):
        raise UsageError("stdin cannot be both the query's image and what is searched")
    query = Query(texts, list(wanted.image or ()), list(wanted.without or ()))
    return query, replace(inputs, paths=paths or None)


def _could_name(path: str) -> bool:
    return path == "-" or os.path.lexists(path) or glob.has_magic(path)


def _ranking(match_options: MatchOptions) -> Ranking:
    from siglipcli.search import Ranking

    top = match_options.top or (None if match_options.threshold is not None else DEFAULT_TOP)
    return Ranking(None if match_options.every else top, match_options.threshold)


def _report(tally: Tally, results: Sequence[Result], terminal: Terminal) -> None:
    tally.report(terminal)
    searched = tally.encoded + tally.stored
    if searched and not any(isinstance(result, Match) for result in results):
        terminal.note(f"no image reaches the threshold, of {searched:,}")
