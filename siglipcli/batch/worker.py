"""What works on shards, here or on another machine: one open model, shard in, part out."""

from __future__ import annotations

import json
import random
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from siglipcli import scoring
from siglipcli.api import Classifier
from siglipcli.batch import (
    attempts,
    embedding_input,
    file_input,
    manifest,
    parquet_input,
    tar_input,
)
from siglipcli.batch.errors import cleaned
from siglipcli.batch.part_writer import PartWriter
from siglipcli.batch.shards import Outcome, part_name
from siglipcli.batch.storage import Folder
from siglipcli.errors import CheckpointError, DeviceError, SiglipError, StorageError
from siglipcli.outputs.provenance import provenance
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from siglipcli.batch.rows import Row
    from siglipcli.batch.shards import Job, Shard
    from siglipcli.encoders import Encoder
    from siglipcli.pipeline import Batch

__all__ = ["AT_ONCE", "FAILED", "Worker"]

AT_ONCE = 2
"""Shards in work at once: the next is read while the last images of one are encoded and its part is written."""
FAILED = "_failed"
_GROWTH = 4  # each pause is so many times the one before
_NOTHING = Source("")
_READERS: dict[str, Callable[[Job, Shard], Iterator[Row]]] = {
    "tars": tar_input.rows,
    "parquet": parquet_input.rows,
    "files": file_input.rows,
}


class Worker:
    """Turns shards into parts with one open model; `run` may be called from several threads.

    `counted` is called with the number of rows that were written, as they are. Raises what opening a model
    raises, and CheckpointError where it is not the model that the run began with.
    """

    def __init__(
        self,
        job: Job,
        classifier: Classifier | None = None,
        counted: Callable[[int], object] | None = None,
    ) -> None:
        self.job = job
        self.classifier = classifier or Classifier(job.spec, job.load_options, keep_towers=False)
        encoder = self.classifier.encoder
        _check_model(job, encoder)
        self._labels = self.classifier.encode_label_sets(job.sets)
        self.width = self._labels[0].vectors.shape[1]
        self._facts = provenance(encoder, job.sets)
        self.output = Folder(job.output, job.storage)
        self._slots = attempts.Slots(AT_ONCE)
        self.counted = counted or (lambda _: None)
        self.losses = 0  # how often the shard that lost the device has done so

    def run(self, shard: Shard) -> Outcome:
        """Make a shard's part, unless it is there; record in the output why that failed.

        Raises SiglipError where no other shard would fare better (the model, the device, the output).
        """
        start = time.perf_counter()
        if not shard.again and self.output.has(part_name(shard.id)):
            return Outcome(shard.id, "present", where=shard.where)
        run = self.job.run
        begun = attempts.count(self.output, shard.id, run)
        if begun >= attempts.MOST:
            reason = f"It ended its worker {begun} times."
            return self._set_aside(shard, reason, start)
        with self._slots.one(alone=begun > 0):
            attempts.begin(self.output, shard.id, begun, run)
            keep_note = False
            try:
                return self._tried(shard, start)
            except (
                DeviceError
            ):  # on a cluster its process ends; the last time it is said, and ends the run
                self.losses = begun + 1
                keep_note = bool(run) and self.losses < attempts.MOST
                raise
            finally:
                if not keep_note:
                    attempts.end(self.output, shard.id)

    def _tried(self, shard: Shard, start: float) -> Outcome:
        """Make a part, with another try after a pause where its input cannot be read."""
        pause = self.job.pause
        for left in range(self.job.retries, -1, -1):
            try:
                return self._once(shard, start)
            except StorageError as error:
                reason = str(error)
                if error.is_final or not left:
                    break
            except SiglipError:
                raise
            # no shard ends the run: whatever a library raises is one shard's reason
            except Exception as error:  # noqa: BLE001
                reason = f"{type(error).__name__}: {cleaned(str(error))}".rstrip(": ")
                break
            time.sleep(pause * (1 + random.random()))  # noqa: S311  # so that workers do not come back together
            pause *= _GROWTH
        return self._set_aside(shard, reason, start)

    def _set_aside(self, shard: Shard, reason: str, start: float) -> Outcome:
        outcome = Outcome(
            shard.id,
            "failed",
            reason=reason,
            seconds=time.perf_counter() - start,
            where=shard.where,
        )
        self._record(outcome)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        note = json.dumps(outcome.to_dict(), indent=1, ensure_ascii=False)
        self.output.write(f"{FAILED}/{outcome.shard}.json", note.encode("utf-8", "replace"))

    def _once(self, shard: Shard, start: float) -> Outcome:
        facts = self._facts | {"shard": shard.id, "source": shard.where}
        if self.job.kind == "embeddings" and shard.stop >= 0:
            made_with = embedding_input.facts(self.job, shard, self.classifier.encoder)
            own = {k: v for k, v in facts.items() if k not in embedding_input.MADE_WITH}
            facts = own | made_with
        with self.output.put(part_name(shard.id)) as file:
            writer = PartWriter(file, self.job, self.width, facts)
            try:
                incomplete = self._fill(writer, shard)
                writer.close(incomplete=incomplete)
            except BaseException:
                writer.abandon()
                raise
        outcome = Outcome(
            shard.id,
            "incomplete" if incomplete else "done",
            writer.rows,
            dict(writer.failures),
            "The input ends early." if incomplete else "",
            time.perf_counter() - start,
            shard.where,
        )
        if incomplete:
            self._record(outcome)
        elif shard.again:
            self.output.delete(f"{FAILED}/{shard.id}.json")
        return outcome

    def _fill(self, writer: PartWriter, shard: Shard) -> bool:
        """Write every row of a shard; return whether its input was cut short."""
        if shard.stop < 0:  # planning could not read it
            parquet_input.groups(self.job.storage, shard.where)
            raise StorageError(
                f"{shard.where} could not be read at first. Run the command again.", is_final=True
            )
        if self.job.kind == "embeddings":
            for batch, kept in embedding_input.batches(self.job, shard):
                self._write(writer, shard, batch, kept)
            return False
        waiting: deque[Row] = deque()
        rows = _READERS[self.job.kind](self.job, shard)
        is_cut = False
        for batch in self.classifier.batches(_noted(rows, waiting)):
            done = [waiting.popleft() for _ in batch.items]
            is_cut = is_cut or any(row.is_cut for row in done)
            self._write(writer, shard, batch, [row.kept for row in done])
        return is_cut

    def _write(
        self, writer: PartWriter, shard: Shard, batch: Batch, kept: Iterable[tuple[Any, ...]]
    ) -> None:
        head, options = self.classifier.encoder.head, self.job.scoring
        ranked = [
            scoring.rank(batch.vectors, labels, head, options)
            for labels in (self._labels if batch.stored else ())
        ]
        scored = zip(*ranked, batch.vectors, strict=True) if batch.stored else iter(())
        for item, values in zip(batch.items, kept, strict=True):
            if isinstance(item, Failure):
                writer.write(item, shard.where, values, (), None)
                continue
            *sets, vector = next(scored)
            writer.write(
                item, shard.where, values, [score for part in sets for score in part], vector
            )
        self.counted(len(batch.items))


def _noted(rows: Iterator[Row], waiting: deque[Row]) -> Iterator[Source | Failure]:
    """Pass inputs on, and keep what belongs to each until its result comes back: results come in this order."""
    for row in rows:
        waiting.append(replace(row, item=_NOTHING))  # not the image, which may be large
        yield row.item


def _check_model(job: Job, encoder: Encoder) -> None:
    """Raise CheckpointError where a run on a cluster began with other weights, or with another int8 engine."""
    if not job.fingerprint:
        return
    checkpoint, tuning = manifest.engine(encoder.fingerprint)
    if checkpoint != job.fingerprint:
        raise CheckpointError(
            f"this worker has other weights of {encoder.name} than the run began with; give every machine the"
            " same files"
        )
    if tuning != job.tuning:
        raise CheckpointError(
            f"this worker has another int8 engine of {encoder.name} than the run began with; give every machine the"
            " same one"
        )
