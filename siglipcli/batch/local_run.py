"""Shards in this process, a few at a time."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

from siglipcli.batch.worker import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.batch.shards import Outcome, Shard
    from siglipcli.batch.worker import Worker

__all__ = ["outcomes"]


def outcomes(worker: Worker, shards: Iterable[Shard]) -> Iterator[Outcome]:
    """Yield what becomes of each shard, as it ends. Raises what `Worker.run` does, after the first of which none begins."""
    rest = iter(shards)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="siglip-shard") as pool:
        try:
            running: set[Future[Outcome]] = set()
            while True:
                running |= {
                    pool.submit(worker.run, shard) for shard in islice(rest, AT_ONCE - len(running))
                }
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            worker.classifier.close()  # ends what is under way
            raise
