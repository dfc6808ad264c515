"""One run from start to end: begin, work on what is not there, count; the same here and on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli.batch import local_run, manifest, prepare, summary
from siglipcli.batch.lease import Lease
from siglipcli.batch.storage import TEMPORARY, Folder
from siglipcli.batch.summary import Counts
from siglipcli.batch.work import forget_attempts, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.progress import Progress
    from siglipcli.batch.shards import Job, Outcome, Shard
    from siglipcli.batch.work import Work
    from siglipcli.batch.worker import Worker

__all__ = ["Engine", "LocalEngine", "Run"]


class Engine(Protocol):
    """What works on shards: this process, or a cluster."""

    workers: int

    def described(self, job: Job, inputs: Inputs) -> dict[str, Any]:
        """Return what the run's rows depend on, from where the model is open."""

    def opened(self, job: Job, inputs: Inputs) -> prepare.Opened:
        """Return which model the workers have."""

    def outcomes(self, job: Job, shards: Sequence[Shard], progress: Progress) -> Iterator[Outcome]:
        """Yield what becomes of each shard, as it ends and is counted in `progress`."""


@dataclass
class LocalEngine:
    """Shards in this process, with one open model."""

    worker: Worker
    workers: int = 1

    def described(self, job: Job, inputs: Inputs) -> dict[str, Any]:
        """Return what the run's rows depend on."""
        return prepare.described(job, inputs, self.worker)

    def opened(self, job: Job, inputs: Inputs) -> prepare.Opened:
        """Return which model is open."""
        del inputs
        return prepare.opened(job, self.worker)

    def outcomes(self, job: Job, shards: Sequence[Shard], progress: Progress) -> Iterator[Outcome]:
        """Yield what becomes of each shard, as it ends and is counted in `progress`."""
        self.worker.job, self.worker.counted = job, progress.add_images
        return local_run.outcomes(self.worker, shards, progress.add_shard)


class Run:
    """A run; `here` counts what this process has seen of it. `begin`, then `outcomes`, then `finish`."""

    def __init__(self, job: Job, inputs: Inputs, engine: Engine) -> None:
        self.job = job
        self.inputs = inputs
        self.engine = engine
        self.output = Folder(job.output, job.storage)
        self.here = Counts()
        self._present: list[str] = []
        self._lease: Lease | None = None

    def begin(self, *, retry_failed: bool = False, most: int | None = None) -> Work:
        """Claim the output, list inputs and output. `close` gives it free.

        Raises UsageError for another run's output and while another process writes to it, StorageError.
        """
        facts = self.engine.described(self.job, self.inputs)
        manifest.check(
            self.output, facts
        )  # before anything is written to a folder that may be the user's own
        self._lease = Lease(self.output)
        shards = prepare.begin(self.job, self.inputs, facts)
        work = survey(shards, self.output, retry_failed=retry_failed)
        if most is not None:
            del work.todo[most:]
        forget_attempts(work, self.output)
        return work

    def outcomes(self, work: Work, progress: Progress) -> Iterator[Outcome]:
        """Do the work, and yield what becomes of each shard. Raises what ends the whole run."""
        for outcome in self.engine.outcomes(self.job, work.todo, progress):
            if outcome.status == "present":
                self._present.append(outcome.shard)
            else:
                self.here.add(outcome)
            yield outcome

    def finish(self, work: Work, seconds: float) -> Counts:
        """Count the whole output, earlier parts by their footers, and store the summary. Raises StorageError."""
        total = Counts(self.here.shards.copy(), self.here.rows, self.here.failures.copy())
        total.shards["failed"] += len(work.aside)
        total.add_parts(self.output, [*work.done, *self._present])
        summary.write(self.output, total, self.here, seconds, self.engine.workers)
        self.output.clear(TEMPORARY)
        return total

    def close(self) -> None:
        """Let other processes write to the output."""
        if self._lease is not None:
            self._lease.release()
