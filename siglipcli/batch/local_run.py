"""Shards in this process, a few at a time."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from siglipcli.batch import attempts
from siglipcli.batch.worker import AT_ONCE
from siglipcli.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from siglipcli.batch.shards import Outcome, Shard
    from siglipcli.batch.worker import Worker

__all__ = ["outcomes"]

_PATIENCE = 3.0  # seconds for what is under way to end


def outcomes(
    worker: Worker, shards: Iterable[Shard], counted: Callable[[Outcome], object] = lambda _: None
) -> Iterator[Outcome]:
    """Yield what becomes of each shard, as it ends. Raises what `Worker.run` does; no shard begins after that.

    `counted` gets each outcome in its shard's thread, so that an interrupt leaves no finished part uncounted.
    """

    def run(shard: Shard) -> Outcome:
        outcome = worker.run(shard)
        counted(outcome)
        return outcome

    rest = iter(shards)
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="siglip-shard")
    running: dict[Future[Outcome], Shard] = {}
    try:
        while True:
            for shard in islice(rest, AT_ONCE - len(running)):
                running[pool.submit(run, shard)] = shard
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                del running[future]
    except BaseException:
        _end(worker, running)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _end(worker: Worker, running: dict[Future[Outcome], Shard]) -> None:
    """End what is under way, and let none of it count as what ended its process. A store may keep a thread waiting."""
    worker.classifier.close()
    wait(running, timeout=_PATIENCE)
    for shard in (shard for future, shard in running.items() if not future.done()):
        with suppress(StorageError):
            attempts.end(worker.output, shard.id)
