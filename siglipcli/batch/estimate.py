"""What a run would do, in lines for people; time and cost from a measured rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.batch import summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.storage import Folder
    from siglipcli.batch.work import Work

__all__ = ["lines"]

_HOUR = 3600


def lines(
    work: Work, output: Folder, rate: float | None, workers: int, price: float | None
) -> Iterator[str]:
    """Yield the plan's lines: `rate` is images a second of one worker (None: as the last run measured).

    `price` is what an hour of one worker costs.
    """
    yield f"shards    {work.total:,}"
    yield f"done      {len(work.done):,}"
    yield f"failed    {len(work.aside):,}"
    yield f"to do     {len(work.todo):,}"
    measured = summary.last_rate(output)
    images, note = work.images, ""
    if images is None and measured:
        images, note = (
            round(len(work.todo) * measured[1]),
            f" (at {measured[1]:,.0f} a shard, as in the last run)",
        )
    yield f"images    {'not known before reading' if images is None else f'{images:,}'}{note}"
    rate = rate or (measured[0] if measured else None)
    if not rate:
        yield "no rate is known: run a few shards first (--max-shards 2), or give --rate"
    elif images is not None:
        yield from _estimate(images, rate, workers, price)


def _estimate(images: int, rate: float, workers: int, price: float | None) -> Iterator[str]:
    hours = images / rate / _HOUR
    yield f"rate      {rate:,.1f} images a second and worker"
    yield f"time      {hours / workers:,.2f} hours on {workers:,} worker{'s' * (workers != 1)}"
    if price is not None:
        yield f"cost      {hours * price:,.2f} at {price:,.2f} for an hour of one worker"
