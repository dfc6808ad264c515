"""What there is to do: all shards, without those whose part is there. Resuming a run is this listing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from siglipcli.batch import attempts
from siglipcli.batch.worker import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.batch.shards import Shard
    from siglipcli.batch.storage import Folder

__all__ = ["Work", "survey"]


@dataclass
class Work:
    """The shards of a run: `todo`, the ids of those `done` and of those set `aside` earlier.

    `images` counts those of `todo`, None where only reading them tells.
    """

    todo: list[Shard] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All shards."""
        return len(self.todo) + len(self.done) + len(self.aside)

    @property
    def images(self) -> int | None:
        """The images that are to be done."""
        if any(not shard.stop for shard in self.todo):
            return None
        return sum(shard.images for shard in self.todo)


def survey(shards: Iterable[Shard], output: Folder, *, retry_failed: bool = False) -> Work:
    """List the output, and take what is there from `shards`. Raises StorageError.

    With `retry_failed`, shards that were set aside or whose input was cut short are to be done again.
    """
    parts = {
        name[len("part-") : -len(".parquet")]
        for name in output.names()
        if name.startswith("part-") and name.endswith(".parquet")
    }
    failed = {name.removesuffix(".json") for name in output.names(FAILED)}
    work, seen = Work(), set[str]()
    for shard in shards:
        if shard.id in seen:  # an input that was named twice
            continue
        seen.add(shard.id)
        if shard.id in failed and retry_failed:
            work.todo.append(replace(shard, again=True))
        elif shard.id in parts:
            work.done.append(shard.id)
        elif shard.id in failed:
            work.aside.append(shard.id)
        else:
            work.todo.append(shard)
    return work


def forget_attempts(work: Work, output: Folder) -> None:
    """Let shards that are done again begin with no attempt behind them. Raises StorageError."""
    for shard in work.todo:
        if shard.again:
            attempts.end(output, shard.id)
