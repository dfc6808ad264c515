"""`siglip prompts`: which prompts and templates of a label set help, and which hurt."""

from __future__ import annotations

from siglipcli.cli import examples, setup
from siglipcli.cli.examples import Examples, Resampling  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.options import DocumentOptions, ModelOptions, OneLabelSet
from siglipcli.errors import UsageError
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally

__all__ = ["prompts"]

_USAGE = "prompts takes one label set: give --labels SET"


@grouped
def prompts(
    options: Examples,
    labels: OneLabelSet,
    resampling: Resampling,
    document: DocumentOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Try each prompt and template of a label set alone, and the set without it: say which help.

    The effect of a prompt is the label's average precision with all its prompts, less that without this
    one; a template's is the mean over the labels that use it. The interval holds the true effect about 95 times
    in 100; where there are too few images for that, none is shown. Where it holds 0, no effect is clear. Each
    prompt is judged on its own, so of 100 prompts without an effect up to 5 will seem to have one. Images
    count as independent: near copies make it too sure.

    Exit status: 0 all images read; 1 some failed; 2 usage, labels or names that no label matches;
    3 could not go on.
    """
    from siglipcli.evaluation import comparison
    from siglipcli.evaluation.prompts import trial
    from siglipcli.outputs import bootstrap_report, prompts_report

    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    sets = examples.label_sets(labels, 1, _USAGE, document.output)
    as_json = document.is_json
    if all(len(label.prompts) == 1 for label in sets[0].labels.labels):
        raise UsageError(
            f"each label of {sets[0]} has one prompt, so none can be left out; give the set"
            " more templates, or its labels more prompts"
        )
    known = examples.read(options, [sets[0].labels], document.output, force=document.force)
    with setup.classifier(engine, options, terminal) as classifier:
        run = examples.run(classifier, known, tally, terminal)
    with terminal.waiting("trying prompts"):
        counts = comparison.draw(len(run.collection.sources), resampling.resamples, resampling.seed)
        result = trial(run.scored[0], run.collection.vectors, run.encode, run.head, counts)
    setting = bootstrap_report.Setting(run, sets, resampling.resamples, resampling.seed)
    bootstrap_report.write(document.output, prompts_report, setting, result, as_json=as_json)
    tally.leave()
