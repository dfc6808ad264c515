"""Shards on a Ray cluster: Ray Data's pool of actors, each with one open model.

Ray starts, restarts and scales the actors, gives the shards of one that died to another, and holds back what
nobody has room for. What makes that exact is not here: a part appears whole, and a shard whose part is there is not
done again.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from siglipcli import __version__
from siglipcli.batch import attempts, prepare
from siglipcli.batch.errors import cleaned
from siglipcli.batch.local_run import outcomes as local_outcomes
from siglipcli.batch.worker import Worker
from siglipcli.errors import DeviceError, MissingExtraError, SiglipError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.progress import Progress
    from siglipcli.batch.shards import Job, Outcome, Shard

__all__ = ["RayEngine", "connected"]

_TOGETHER = (
    8  # shards of one task at most: an actor overlaps the end of one with the start of the next
)
_MOST_TASKS = 10_000  # of a run: Ray keeps a record of each
_TASKS = 8  # of one actor at least, so that none waits long for the last


@dataclass
class RayEngine:
    """A connected cluster: `bounds` are the fewest and the most actors (None: as many as it takes).

    `resources` are the processors and the GPUs of an actor.
    """

    bounds: tuple[int, int | None]
    resources: tuple[float, float]
    workers: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    _model: prepare.Opened | None = None

    def described(self, job: Job, inputs: Inputs) -> dict[str, Any]:
        """Open the model on one worker, once, and return what the run's rows depend on. Raises what that raises."""
        if self.facts:
            return self.facts
        ray = _library()
        processors, gpus = self.resources
        task = ray.remote(num_cpus=processors, num_gpus=gpus)(_described)
        with _translated():
            facts, result, version = ray.get(task.remote(_for_workers(job, self.resources), inputs))
        if version != __version__:
            raise UsageError(
                f"the cluster has siglipcli {version}, and this machine {__version__}. Install the same on both."
            )
        if isinstance(result, SiglipError):
            raise result
        self.facts, self._model = dict(facts), result
        return self.facts

    def opened(self, job: Job, inputs: Inputs) -> prepare.Opened:
        """Return which model the workers have. Raises what opening it on one raises."""
        self.described(job, inputs)
        assert self._model is not None
        return self._model

    def outcomes(self, job: Job, shards: Sequence[Shard], progress: Progress) -> Iterator[Outcome]:
        """Yield what becomes of each shard, as it ends and is counted in `progress`, its images with it."""
        if not shards:
            return
        low, _ = self.bounds
        self.workers = self._most(len(shards))
        rows = _pool(self._pinned(job), shards, (low, self.workers), self.resources)
        while True:
            with _translated():
                row = next(rows, None)
            if row is None:
                return
            outcome = row["outcome"]
            if isinstance(outcome, SiglipError):
                raise outcome
            progress.add_shard(outcome, with_images=True)
            yield outcome

    def _pinned(self, job: Job) -> Job:
        """Return the job with the weights, engine and precision that the first worker had, so that all have them."""
        pinned = replace(
            job,
            spec=replace(job.spec, precision=str(self.facts["precision"])),
            fingerprint=str(self.facts["fingerprint"]),
            tuning=str(self.facts["tuning"]),
            run=uuid.uuid4().hex,
        )
        return _for_workers(pinned, self.resources)

    def _most(self, shards: int) -> int:
        """Return how many actors there may be: no more than shards."""
        low, high = self.bounds
        if high is None:
            available = _library().cluster_resources()
            processors, gpus = self.resources
            fits = [available.get("CPU", 1) / processors] if processors else []
            fits += [available.get("GPU", 0) / gpus] if gpus else []
            high = max(int(min(fits, default=1)), 1)
        return max(min(high, shards), low)


@contextmanager
def connected(
    address: str, bounds: tuple[int, int | None], resources: tuple[float, float]
) -> Iterator[RayEngine]:
    """Connect to a cluster: `auto` is the one that this machine belongs to, `local` is started here.

    Raises MissingExtraError, and UsageError where there is no cluster.
    """
    ray = _library()
    where = {"local": "local", "auto": "auto"}.get(address, address)
    try:
        ray.init(
            address=where,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if where == "local" else None,
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise UsageError(
            f"no Ray cluster at {address}: {cleaned(str(error)) or type(error).__name__}",
            code="no_cluster",
        ) from error
    try:
        yield RayEngine(bounds, resources)
    finally:
        ray.shutdown()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what Ray raises, such as for a worker that cannot start, into a DeviceError."""
    try:
        yield
    except _library().exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = cleaned(lines[-1]) if lines else type(error).__name__
        raise DeviceError(f"the cluster could not go on: {reason}.") from error


def _library() -> Any:
    """Return Ray. Raises MissingExtraError."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own log files have the rest
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--ray", library="ray", extra="ray") from error
    return ray


def _pool(
    job: Job, shards: Sequence[Shard], bounds: tuple[int, int], resources: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    """Hand the shards to a pool of actors, and yield their rows."""
    ray = _library()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    low, high = bounds
    together = min(max(len(shards) // (high * _TASKS), 1), _TOGETHER)
    together = max(together, len(shards) // _MOST_TASKS)
    processors, gpus = resources
    items = [{"shard": shard} for shard in shards]
    tasks = ray.data.from_items(items, override_num_blocks=-(-len(items) // together))
    rows = tasks.map_batches(
        _Actor,
        fn_constructor_args=(job,),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=low, max_size=high),
        num_cpus=processors,
        num_gpus=gpus or None,
    )
    yield from rows.iter_rows()


def _for_workers(job: Job, resources: tuple[float, float]) -> Job:
    """Return the job with as many threads that decode as a worker has processors."""
    if job.load_options.workers:
        return job
    threads = max(int(resources[0]), 1)
    return replace(job, load_options=replace(job.load_options, workers=threads))


def _described(
    job: Job, inputs: Inputs
) -> tuple[dict[str, Any], prepare.Opened | SiglipError, str]:
    """On a worker: open the model. An error comes back as a value, as Ray would wrap it."""
    try:
        worker = Worker(job)
        with worker.classifier:
            opened = prepare.opened(job, worker)
            return prepare.described(job, inputs, worker), opened, __version__
    except SiglipError as error:
        return {}, error, __version__


class _Actor:
    """On a worker: one open model, for as long as the run lasts."""

    def __init__(self, job: Job, end: Callable[[int], object] = os._exit) -> None:
        self.worker = Worker(job)
        self._end = end
        self._is_checked = False

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        """Return the outcomes of some shards; what ends the whole run comes back as a value."""
        outcomes: list[Outcome | SiglipError] = []
        try:
            if not self._is_checked:
                prepare.check_sight(self.worker.job)
                self._is_checked = True
            outcomes += local_outcomes(self.worker, list(rows["shard"]))
        except (
            DeviceError
        ) as error:  # this process's device is lost to it: a new process takes over
            if self.worker.losses < attempts.MOST:
                sys.stderr.flush()
                self._end(1)
            outcomes.append(error)
        except SiglipError as error:
            outcomes.append(error)
        return {"outcome": outcomes}
