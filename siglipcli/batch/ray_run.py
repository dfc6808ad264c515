"""Shards on a Ray cluster: Ray Data's pool of actors, each with one open model.

Ray starts, restarts and scales the actors, gives the shards of one that died to another, and holds back what
nobody has room for. What makes that exact is not here: a part appears whole, and a shard whose part is there is not
done again.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from siglipcli import __version__
from siglipcli.batch import prepare
from siglipcli.batch.local_run import outcomes as local_outcomes
from siglipcli.batch.worker import Worker
from siglipcli.errors import DeviceError, MissingExtraError, SiglipError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    `share` is what each takes: processors and GPUs.
    """

    bounds: tuple[int, int | None]
    share: tuple[float, float]
    workers: int = 1
    counts_images: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def described(self, job: Job, inputs: Inputs) -> dict[str, Any]:
        """Open the model on one worker, and return what the run's rows depend on. Raises what that raises."""
        ray = _library()
        processors, gpus = self.share
        task = ray.remote(num_cpus=processors, num_gpus=gpus)(_described)
        facts, error, version = ray.get(task.remote(_for_workers(job, self.share), inputs))
        if version != __version__:
            raise UsageError(
                f"the cluster has siglipcli {version}, and this machine {__version__}. Install the same on both."
            )
        if error is not None:
            raise error
        self.facts = dict(facts)
        return self.facts

    def outcomes(self, job: Job, shards: Sequence[Shard], progress: Progress) -> Iterator[Outcome]:
        """Yield what becomes of each shard, as it ends."""
        del progress  # counted by outcomes
        if not shards:
            return
        low, _ = self.bounds
        self.workers = self._most(len(shards))
        rows = _pool(self._pinned(job), shards, (low, self.workers), self.share)
        for row in rows:
            outcome = row["outcome"]
            if isinstance(outcome, SiglipError):
                raise outcome
            yield outcome

    def _pinned(self, job: Job) -> Job:
        """Return the job with the weights and the precision that the first worker had, so that all have them."""
        spec = replace(job.spec, precision=str(self.facts["precision"]))
        pinned = replace(job, spec=spec, fingerprint=str(self.facts["fingerprint"]))
        return _for_workers(pinned, self.share)

    def _most(self, shards: int) -> int:
        """Return how many actors there may be: no more than shards."""
        low, high = self.bounds
        if high is None:
            resources = _library().cluster_resources()
            processors, gpus = self.share
            fits = [resources.get("CPU", 1) / processors] if processors else []
            fits += [resources.get("GPU", 0) / gpus] if gpus else []
            high = max(int(min(fits, default=1)), 1)
        return max(min(high, shards), low)


@contextmanager
def connected(
    address: str, bounds: tuple[int, int | None], share: tuple[float, float]
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
            f"no Ray cluster at {address}: {str(error).splitlines()[0][:200]}", code="no_cluster"
        ) from error
    try:
        yield RayEngine(bounds, share)
    finally:
        ray.shutdown()


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
    job: Job, shards: Sequence[Shard], bounds: tuple[int, int], share: tuple[float, float]
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
    processors, gpus = share
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


def _for_workers(job: Job, share: tuple[float, float]) -> Job:
    """Return the job with as many threads that decode as a worker has processors."""
    if job.load_options.workers:
        return job
    threads = max(int(share[0]), 1)
    return replace(job, load_options=replace(job.load_options, workers=threads))


def _described(job: Job, inputs: Inputs) -> tuple[dict[str, Any], SiglipError | None, str]:
    """On a worker: open the model. An error comes back as a value, as Ray would wrap it."""
    try:
        worker = Worker(job)
        with worker.classifier:
            return prepare.described(job, inputs, worker), None, __version__
    except SiglipError as error:
        return {}, error, __version__


class _Actor:
    """On a worker: one open model, for as long as the run lasts."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        """Return the outcomes of some shards; what ends the whole run comes back as a value."""
        outcomes: list[Outcome | SiglipError] = []
        try:
            outcomes += local_outcomes(self._worker, list(rows["shard"]))
        except DeviceError:  # this process's device is lost to it: a new process takes over
            sys.stderr.flush()
            os._exit(1)
        except SiglipError as error:
            outcomes.append(error)
        return {"outcome": outcomes}
