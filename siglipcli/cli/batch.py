"""`siglip batch`: very many images in tars, Parquet or an object store, here or on a Ray cluster."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import setup
from siglipcli.cli.inputs import walking
from siglipcli.cli.options import (
    DECODING,
    CalibratedLabelOptions,
    EngineOptions,
    TopOptions,
    WalkOptions,
    argument,
    option,
)
from siglipcli.errors import UsageError
from siglipcli.terminal import signals
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.status import ExitStatus
from siglipcli.terminal.values import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.batch.drive import Engine, Run
    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.shards import Job, Outcome
    from siglipcli.labels import LabelSet
    from siglipcli.scoring import ScoringOptions

__all__ = ["batch"]


@dataclass(frozen=True)
class BatchInputOptions(WalkOptions):
    """What to read."""

    heading = "Inputs"

    inputs: Annotated[list[str] | None, argument("batch.inputs", "INPUTS", show_default=False)] = (
        None
    )
    saved: Annotated[str | None, option("batch.saved", "--from", metavar="PARQUET")] = None
    image_column: Annotated[str | None, option("batch.image_column", metavar="NAME")] = None
    keep: Annotated[list[str] | None, option("batch.keep", "--keep", metavar="NAMES")] = None
    shard_size: Annotated[int, option("batch.shard_size", min=1, metavar="N")] = 4096


@dataclass(frozen=True)
class BatchOutputOptions:
    """Where parts go, and what is in them."""

    heading = "Output"

    output: Annotated[
        str, option("batch.output", "--output", "-o", metavar="FOLDER", show_default=False)
    ] = ""
    embeddings: Annotated[bool, option("batch.embeddings", "--embeddings")] = False
    embedding_type: Annotated[
        str, option("batch.embedding_type", **words("float32", "float16"))
    ] = "float32"


@dataclass(frozen=True)
class RunOptions:
    """How the run goes."""

    heading = "Run"

    plan: Annotated[bool, option("batch.plan", "--plan")] = False
    rate: Annotated[float | None, option("batch.rate", min=0, metavar="N")] = None
    price: Annotated[float | None, option("batch.price", min=0, metavar="X")] = None
    max_shards: Annotated[int | None, option("batch.max_shards", min=1, metavar="N")] = None
    retries: Annotated[int, option("batch.retries", min=0, metavar="N")] = 3
    retry_failed: Annotated[bool, option("batch.retry_failed", "--retry-failed")] = False


@dataclass(frozen=True)
class RayOptions:
    """Which cluster works, and what each worker takes of it."""

    heading = "Cluster"

    ray: Annotated[str | None, option("batch.ray", "--ray", metavar="auto|local|ADDRESS")] = None
    workers: Annotated[str | None, option("batch.workers", "--workers", metavar="MIN:MAX")] = None
    gpus_per_worker: Annotated[float, option("batch.gpus_per_worker", min=0, metavar="N")] = 0.0
    cpus_per_worker: Annotated[
        float | None, option("batch.cpus_per_worker", min=0, metavar="N")
    ] = None


@dataclass(frozen=True)
class BatchEngineOptions(EngineOptions):
    """The model, what runs it, and what decodes for it."""

    decode_threads: Annotated[
        int | None, option("batch.decode_threads", min=1, metavar="N", heading=DECODING)
    ] = None


@grouped
def batch(
    inputs: BatchInputOptions,
    labels: CalibratedLabelOptions,
    choice: TopOptions,
    output: BatchOutputOptions,
    run: RunOptions,
    cluster: RayOptions,
    engine: BatchEngineOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Label very many images: WebDataset tars, Parquet, or loose files, in folders or object stores.

    Each shard of the input becomes one Parquet file in FOLDER. Run the same command again to continue: what is
    there is not done again.

    Exit status: 0 all images scored; 1 some images or shards failed, the output says which;
    2 usage or labels; 3 could not go on.
    """
    from siglipcli.batch.drive import Run
    from siglipcli.labels import check_calibration

    terminal = Terminal(verbosity, rows_on_screen=False)
    sources = _sources(inputs, output, cluster)
    sets = setup.label_sets(labels, terminal)
    job, sources = _job(
        sources, (inputs, output, run, engine, cluster), setup.scoring_options(choice), sets
    )
    if run.plan:
        _print_plan(job, sources, run, cluster)
        return
    with _opened(job, cluster, terminal) as engine_here:
        with terminal.waiting("opening the model"):
            model = engine_here.opened(job, sources)
        check_calibration(sets, model, terminal.note, strict=labels.strict)
        for line in model.warnings:
            terminal.note(line)
        is_good = _run(Run(job, sources, engine_here), run, terminal)
    if not is_good:
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def _sources(inputs: BatchInputOptions, output: BatchOutputOptions, cluster: RayOptions) -> Inputs:
    """Return what is to be read. Raises UsageError where that or the output is not named, or cannot be."""
    from siglipcli.batch import prepare
    from siglipcli.batch.plan import Inputs

    if inputs.saved and inputs.inputs:
        raise UsageError("--from takes the place of inputs: give one or the other")
    uris = (inputs.saved,) if inputs.saved else tuple(inputs.inputs or ())
    if not uris:
        raise UsageError(
            "nothing to read: give tars, Parquet files, folders or prefixes, or --from PARQUET"
        )
    if not output.output:
        raise UsageError("no output: name a folder or prefix for the parts with --output")
    if cluster.ray:
        prepare.check_for_cluster((*uris, output.output))
    elif cluster.workers or cluster.gpus_per_worker or cluster.cpus_per_worker is not None:
        raise UsageError("--workers, --gpus-per-worker and --cpus-per-worker need --ray")
    prepare.check_schemes((*uris, output.output))
    kind = "embeddings" if inputs.saved else ""
    sources = Inputs.of(uris, kind, walking(inputs), inputs.shard_size)
    if sources.kind in {"parquet", "embeddings"}:
        prepare.check_output(output.output, uris)
    return sources


def _job(
    sources: Inputs,
    options: tuple[
        BatchInputOptions, BatchOutputOptions, RunOptions, BatchEngineOptions, RayOptions
    ],
    scoring: ScoringOptions,
    sets: Sequence[LabelSet],
) -> tuple[Job, Inputs]:
    """Return what every worker needs, and the inputs as workers of a cluster find them."""
    from siglipcli.batch import prepare
    from siglipcli.batch.shards import Job

    inputs, output, run, engine, cluster = options
    job = Job(
        sources.kind,
        setup.spec(engine),
        tuple(sets),
        output.output,
        sources.uris,
        setup.load_options(engine, inputs, workers=engine.decode_threads),
        scoring,
        keep=tuple(name for text in inputs.keep or () for name in text.split(",") if name),
        image_column=inputs.image_column,
        embedding_type=output.embedding_type if output.embeddings else None,
        retries=run.retries,
    )
    if cluster.ray:
        job, sources = prepare.for_cluster(job, sources)
    return prepare.completed(job, sources), sources


@contextmanager
def _opened(job: Job, cluster: RayOptions, terminal: Terminal) -> Iterator[Engine]:
    """Open the model here, or connect to the cluster."""
    from siglipcli.api import Classifier
    from siglipcli.batch.drive import LocalEngine
    from siglipcli.batch.worker import Worker

    if cluster.ray:
        from siglipcli.batch.ray_run import connected

        processors = 1.0 if cluster.cpus_per_worker is None else cluster.cpus_per_worker
        resources = processors, cluster.gpus_per_worker
        with connected(cluster.ray, _bounds(cluster.workers), resources) as engine:
            signals.install()  # Ray takes SIGTERM over
            yield engine
        return
    with terminal.fetching() as progress:
        classifier = Classifier(job.spec, job.load_options, progress=progress, keep_towers=False)
    terminal.detail(f"model {classifier.encoder.name}: {classifier.encoder.description}")
    with classifier:
        with terminal.waiting("encoding labels"):
            worker = Worker(job, classifier)
        yield LocalEngine(worker)


def _bounds(text: str | None) -> tuple[int, int | None]:
    """Read how many workers a cluster may have: MIN:MAX, or N for both; as many as it takes where none is named."""
    if text is None:
        return 1, None
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise UsageError(f"--workers {text}: give MIN:MAX such as 2:16, or one number from 1 on")
    return low, high


def _run(run: Run, options: RunOptions, terminal: Terminal) -> bool:
    """Do the run, say on stderr how it went, and return whether all is there and good."""
    try:
        return _run_claimed(run, options, terminal)
    finally:
        run.close()


def _run_claimed(run: Run, options: RunOptions, terminal: Terminal) -> bool:
    from siglipcli.batch import progress
    from siglipcli.batch.progress import Progress

    with terminal.waiting("listing inputs and output"):
        work = run.begin(retry_failed=options.retry_failed, most=options.max_shards)
    if not work.total:
        raise UsageError("no images found", code="no_images")
    terminal.note(f"{work.total:,} shards: {len(work.done):,} done, {len(work.todo):,} to do")
    if work.aside:
        terminal.note(
            f"{len(work.aside):,} shards failed earlier and are left out; --retry-failed tries them again"
        )
    done = Progress(len(work.todo), work.images)
    signals.describe(
        lambda: f"interrupted: {done}; finished parts stay, run the same command to continue"
    )
    with (
        signals.put_away(),
        progress.shown(done, terminal.shown_as, terminal.note, terminal.console),
    ):
        for outcome in run.outcomes(work, done):
            _say(outcome, terminal)
        seconds = done.seconds
    with terminal.waiting("counting parts"):
        total = run.finish(work, seconds)
    rate = run.here.rows / seconds if seconds else 0.0
    terminal.note(
        f"{run.here.rows:,} images now, {rate:,.1f} images/s; in all {total.rows:,} rows, "
        f"{total.failed_rows:,} failed, {total.shards['failed']:,} shards failed"
    )
    return total.is_good


def _say(outcome: Outcome, terminal: Terminal) -> None:
    if outcome.status in {"failed", "incomplete"}:
        terminal.note(f"shard {outcome.shard} {outcome.status}: {outcome.where}: {outcome.reason}")


def _print_plan(job: Job, sources: Inputs, options: RunOptions, cluster: RayOptions) -> None:
    """Print what a run would do, and how long that takes where a rate is known."""
    from siglipcli.batch import estimate, prepare
    from siglipcli.batch.storage import Folder
    from siglipcli.batch.work import survey

    prepare.check_plan(job, sources)
    output = Folder(job.output, job.storage)
    work = survey(prepare.planned(job, sources), output, retry_failed=options.retry_failed)
    workers = _bounds(cluster.workers)[1] or 1
    for line in estimate.lines(work, output, options.rate, workers, options.price):
        typer.echo(line)
