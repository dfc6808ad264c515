"""From option groups to the library's objects, for every command that needs them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from siglipcli import outputs
from siglipcli.cli import label_sets as label_input
from siglipcli.errors import UsageError
from siglipcli.terminal import signals

if TYPE_CHECKING:
    from siglipcli.api import Classifier
    from siglipcli.cli.options import (
        DecodingOptions,
        EngineOptions,
        LabelOptions,
        ModelOptions,
        OutputOptions,
        TopOptions,
    )
    from siglipcli.encoders import ModelSpec
    from siglipcli.labels import LabelSet
    from siglipcli.pipeline import LoadOptions
    from siglipcli.scoring import ScoringOptions
    from siglipcli.store import Store
    from siglipcli.terminal.screen import Terminal

__all__ = ["classifier", "label_sets", "load_options", "output_format"]
__all__ += ["scoring_options", "spec", "store"]

DEFAULT_SET = "everyday"
_open: list[Classifier] = []  # until the process ends: taking a model down takes 50 ms


def label_sets(labels: LabelOptions, terminal: Terminal) -> list[LabelSet]:
    """Load every set of the options; the default set, said on stderr, where there is none."""
    from siglipcli.labels import check_names

    references = labels.labels or ()
    label_input.read_stdin_once(references)
    sets = [label_input.load(reference, labels.template) for reference in references]
    if labels.label:
        sets.append(label_input.spot_labels(labels))
        if len(sets[-1].labels) == 1 and ", " in (name := sets[-1].labels[0].path):
            terminal.note(
                f"{name!r} is one label; for several, leave out the blank after the comma"
                " or repeat --label"
            )
    if not sets:
        terminal.note(
            f"no labels given: using the built-in set {DEFAULT_SET!r} (--labels, --label)"
        )
        sets.append(label_input.load(DEFAULT_SET, labels.template))
    check_names([label_set.name for label_set in sets])
    return sets


def classifier(
    engine: ModelOptions,
    decoding: DecodingOptions,
    terminal: Terminal,
    *,
    keep_towers: bool | None = False,
) -> Classifier:
    """Find the model; its towers are read when first used.

    Unless `keep_towers`, one is loaded at a time: texts, then images, as one run never goes back.
    """
    from siglipcli.api import Classifier

    options = load_options(engine, decoding, workers=engine.workers, verify=engine.verify)
    signals.describe(lambda: terminal.interrupted(stored=not engine.no_cache))
    with terminal.fetching() as progress:
        opened = Classifier.load(
            spec(engine),
            load_options=options,
            progress=progress,
            store=None if engine.no_cache else store(engine),
            keep_towers=keep_towers,
        )
    _open[:] = [opened]
    terminal.detail(f"model {opened.encoder.name}: {opened.encoder.description}")
    return opened


def spec(engine: EngineOptions) -> ModelSpec:
    """Return what describes the model of the options."""
    from siglipcli.encoders import ModelSpec

    return ModelSpec(
        engine.model,
        engine.device,
        engine.runtime,
        engine.precision,
        engine.cache_dir,
        engine.offline,
        engine.text_cleaning,
    )


def load_options(
    engine: EngineOptions,
    decoding: DecodingOptions,
    *,
    workers: int | None = None,
    verify: bool = False,
) -> LoadOptions:
    """Return how images are read."""
    from siglipcli.images import Limits
    from siglipcli.pipeline import LoadOptions

    return LoadOptions(
        workers=workers,
        batch_size=None if engine.batch_size == "auto" else int(engine.batch_size),
        limits=Limits(max_megapixels=decoding.max_megapixels),
        exact=decoding.exact_decode,
        color_management=decoding.color_management,
        allow_truncated=decoding.allow_truncated,
        verify=verify,
        timeout=decoding.image_timeout,
        isolate=decoding.isolate,
    )


def scoring_options(choice: TopOptions) -> ScoringOptions:
    """Return which labels a result has. Raises UsageError for options that contradict each other."""
    if choice.every and choice.tags_only:
        raise UsageError("--all and --tags-only contradict each other")
    from siglipcli.scoring import ScoringOptions

    return ScoringOptions(
        top=None if choice.every else choice.top,
        tags_only=choice.tags_only,
        threshold=choice.threshold,
        negatives=choice.every,
        bias_shift=choice.bias_shift,
    )


def store(engine: ModelOptions) -> Store:
    """Open the store of embeddings."""
    from siglipcli.machine import cache_folder
    from siglipcli.store import Store

    return Store(cache_folder(engine.cache_dir), engine.cache_limit.bytes)


def output_format(output_options: OutputOptions) -> str:
    """Choose the format: as asked, else by the file's ending, else by where stdout goes."""
    if output_options.output_format:
        return output_options.output_format
    if output_options.output:
        return outputs.for_path(output_options.output)
    return "table" if sys.stdout.isatty() else "jsonl"
