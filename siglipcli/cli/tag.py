"""`siglip tag`: write tags as keywords, beside images or into them."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from siglipcli.actions.keywords import check_labels
from siglipcli.actions.tagging import PROGRAMS, SIDECAR_NAMES, Tagger, TagOptions
from siglipcli.cli import label_sets, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    CalibratedLabelOptions,
    InputOptions,
    ModelOptions,
    ThresholdOptions,
    option,
)
from siglipcli.errors import UsageError
from siglipcli.inputs.pairs import with_raws
from siglipcli.outputs.documents import line
from siglipcli.outputs.output import open_output
from siglipcli.results import Failure
from siglipcli.terminal import signals
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import probability, words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.actions.tagging import Tagged
    from siglipcli.results import Prediction, Result, Source

__all__ = ["KeywordOptions", "tag"]

T = TypeVar("T", bound="Source | Failure | Prediction")


@dataclass(frozen=True)
class KeywordOptions:
    """Which keywords are written, and where."""

    heading = "Keywords"

    dry_run: Annotated[bool, option("tag.dry_run", "--dry-run", "-n")] = False
    remove: Annotated[bool, option("tag.remove", "--remove")] = False
    embed: Annotated[bool, option("tag.embed", "--embed")] = False
    programs: Annotated[
        list[str] | None, option("tag.programs", "--for", metavar="|".join(PROGRAMS))
    ] = None
    prefix: Annotated[str, option("tag.prefix", "--prefix", metavar="TEXT")] = ""
    min_score: Annotated[
        float, option("tag.min_score", "--min-score", metavar="P", callback=probability)
    ] = 0.0
    max_tags: Annotated[int | None, option("tag.max_tags", "--max-tags", min=1, metavar="N")] = None
    skip_tagged: Annotated[bool, option("tag.skip_tagged", "--skip-tagged")] = False
    sidecar_name: Annotated[
        str, option("tag.sidecar_name", "--sidecar-name", **words(*SIDECAR_NAMES))
    ] = "auto"
    keep_times: Annotated[bool, option("tag.keep_times", "--keep-times")] = False
    output_format: Annotated[
        str | None, option("tag.output_format", "--format", "-f", **words("table", "jsonl"))
    ] = None


@grouped
def tag(
    inputs: InputOptions,
    labels: CalibratedLabelOptions,
    choice: ThresholdOptions,
    keywords: KeywordOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Write the labels that are tags as keywords, for Lightroom, digiKam, darktable, immich and Windows.

    They go into XMP sidecars beside the images, or with --embed into the files. What a person wrote there stays;
    another run, and --remove, change only what siglip wrote. The output names each image that changes.

    Exit status: 0 all inputs done; 1 some failed, their rows say why; 2 usage or labels; 3 could not go on.
    """
    if keywords.remove and keywords.skip_tagged:
        raise UsageError("--remove and --skip-tagged contradict each other")
    options = _options(keywords)
    label_sets.read_stdin_once(labels.labels or (), inputs.files_from, *(inputs.paths or ()))
    terminal = Terminal(verbosity, rows_on_screen=sys.stdout.isatty())
    sources = Inputs(inputs)
    with signals.put_away(), Tagger(options) as tagger:
        run = _Run(sources, keywords, tagger, terminal)
        if keywords.remove:
            _remove(run, engine)
        else:
            _classify(run, labels, choice, inputs, engine)
    run.report()


class _Run:
    """A stream of images, each written before the next: what is printed of it, and how many there were."""

    def __init__(
        self, sources: Inputs, keywords: KeywordOptions, tagger: Tagger, terminal: Terminal
    ) -> None:
        self.sources, self.keywords, self.tagger, self.terminal = (
            sources,
            keywords,
            tagger,
            terminal,
        )
        self.tally, self.counts, self.skipped = Tally(), Counter[str](), 0

    def inputs(self) -> Iterator[Source | Failure]:
        """Yield the inputs; with --skip-tagged, those without tags of ours."""
        for source in cast("Iterator[Source | Failure]", self.sources.stream()):
            if self.keywords.skip_tagged and self.tagger.is_tagged(source):
                self.skipped += 1
            else:
                yield source

    def with_raws(self, items: Iterable[T]) -> Iterable[T]:
        """With --pairs one, follow each JPEG with the RAW files of its name, which --exclude may leave out."""
        if self.sources.options.pairs != "one":
            return items
        return with_raws(items, self.sources.files.excludes())

    def write(self, results: Iterable[Tagged | Failure]) -> None:
        """Print each result when its image is done."""
        form = self.keywords.output_format or ("table" if sys.stdout.isatty() else "jsonl")
        with (
            self.terminal.progress(self.sources.total) as counted,
            open_output(None, None if form == "table" else "utf-8") as stream,
        ):
            for result in counted(results):
                text = line(result.to_dict()) if form == "jsonl" else _text(result)
                if text:
                    stream.write(text + "\n")
                    stream.flush()
                self.tally.add(cast("Result", result))
                self.counts[_outcome(result)] += 1
                self.counts["outdated"] += not isinstance(result, Failure) and result.outdated
            if not self.skipped:
                self.tally.require_inputs(
                    self.sources.report, None, self.terminal, allow_empty=False
                )

    def report(self) -> None:
        """Say on stderr what was done, and end with status 1 where images failed."""
        self.sources.overlooked.endings.pop(".xmp", None)  # they were read, or are ours
        self.sources.report(self.terminal)
        if not self.keywords.remove and self.tally.count:
            self.tally.report(self.terminal)
        would = "would change" if self.keywords.dry_run else "changed"
        parts = [f"{self.counts['changed']:,} {would}", f"{self.counts['same']:,} unchanged"]
        parts += [f"{self.skipped:,} skipped"] if self.skipped else []
        parts += [f"{self.counts['failed']:,} failed"] if self.counts["failed"] else []
        self.terminal.note(f"keywords of images: {', '.join(parts)}")
        if outdated := self.counts["outdated"]:
            self.terminal.note(
                f"{outdated:,} of the image files still hold keywords that --embed wrote before; "
                "renew them with --embed, or take them away with --remove"
            )
        self.tally.leave()


def _remove(run: _Run, engine: ModelOptions) -> None:
    """Take our keywords away; the store, where there is one, knows an image again in which they were embedded."""
    from siglipcli.machine import cache_folder
    from siglipcli.store.store import FILE

    there = (cache_folder(engine.cache_dir) / FILE).is_file()
    store = setup.store(engine) if there and not engine.no_cache else None
    run.tagger.store = store
    try:
        run.write(map(run.tagger.remove, run.with_raws(run.inputs())))
        run.tagger.tell_store()
    finally:
        if store:
            store.close()


def _classify(
    run: _Run,
    labels: CalibratedLabelOptions,
    choice: ThresholdOptions,
    inputs: InputOptions,
    engine: ModelOptions,
) -> None:
    """Score the images and write their tags."""
    from siglipcli.scoring import ScoringOptions

    terminal = run.terminal
    sets = setup.label_sets(labels, terminal)
    check_labels(
        label.path for label_set in sets for label in label_set.labels if not label.negative
    )
    scoring = ScoringOptions(
        top=1, tags_only=True, threshold=choice.threshold, bias_shift=choice.bias_shift
    )
    with setup.classifier(engine, inputs, terminal) as classifier:
        run.tagger.store = classifier.session.store
        embedded = label_sets.embedded(sets, classifier, terminal, strict=labels.strict)
        results = classifier.classify(run.tagger.watched(run.inputs()), embedded, scoring)
        run.write(map(run.tagger.tag, run.with_raws(results)))
        run.tagger.tell_store()


def _options(keywords: KeywordOptions) -> TagOptions:
    check_labels([keywords.prefix.replace("|", "")])
    return TagOptions(
        prefix=keywords.prefix,
        min_score=keywords.min_score,
        max_tags=keywords.max_tags,
        embed=keywords.embed,
        programs=tuple(keywords.programs or ()),
        sidecar_name=keywords.sidecar_name,
        keep_times=keywords.keep_times,
        dry_run=keywords.dry_run,
    )


def _outcome(result: Tagged | Failure) -> str:
    if isinstance(result, Failure):
        return "failed"
    return "changed" if result.written else "same"


def _text(result: Tagged | Failure) -> str:
    """Return the line that a person reads of an image: what came and what went; "" where nothing did."""
    name = visible(result.file)
    if isinstance(result, Failure):
        return f"✗ {name}  {result.kind}: {visible(result.message)}"
    if not result.written:
        return ""
    changes = [f"+ {word}" for word in result.added] + [f"- {word}" for word in result.removed]
    return f"{name}  {'  '.join(map(visible, changes)) or 'the same keywords; scores or copies of your keywords are brought up to date'}"
