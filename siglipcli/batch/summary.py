"""`_summary.json`: what a whole output holds, from its parts' footers and from this run."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from siglipcli.batch.errors import libraries
from siglipcli.batch.shards import part_name
from siglipcli.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.batch.shards import Outcome
    from siglipcli.batch.storage import Folder

__all__ = ["NAME", "Counts", "last_rate", "write"]

NAME = "_summary.json"
_FOOTERS = 32  # read at once
_CHUNK = 1024


@dataclass
class Counts:
    """Shards and rows, and why rows failed."""

    shards: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.shards[outcome.status] += 1
        self.rows += outcome.rows
        self.failures.update(outcome.failures)

    def add_parts(self, output: Folder, shards: Iterable[str]) -> None:
        """Count parts that were there before, by their footers."""
        ids = iter(shards)
        with ThreadPoolExecutor(_FOOTERS, thread_name_prefix="siglip-footers") as pool:
            while chunk := list(islice(ids, _CHUNK)):
                for counts in pool.map(lambda shard: _footer(output, shard), chunk):
                    self.shards["incomplete" if counts["incomplete"] else "done"] += 1
                    self.rows += counts["rows"]
                    self.failures.update(counts["failures"])

    @property
    def failed_rows(self) -> int:
        """Rows without a result."""
        return sum(self.failures.values())

    @property
    def is_good(self) -> bool:
        """Whether every shard is there and every row has a result."""
        return not self.failures and not self.shards["failed"] and not self.shards["incomplete"]

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        statuses = ("done", "incomplete", "failed")
        return {
            "shards": {status: self.shards[status] for status in statuses},
            "rows": self.rows,
            "failed_rows": self.failed_rows,
            "failures": dict(self.failures.most_common()),
        }


def _footer(output: Folder, shard: str) -> dict[str, Any]:
    _, _, parquet = libraries()
    name = part_name(shard)
    with output.open(name) as file:
        try:
            about = parquet.ParquetFile(file).metadata.metadata or {}
            return dict(json.loads(about[b"siglip_counts"]))
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{output}/{name} is no part of a run. Delete it, and run again."
            ) from error


def write(output: Folder, total: Counts, here: Counts, seconds: float, workers: int) -> None:
    """Store the counts of the output, and those of this run, or of the last one that did something. Raises StorageError."""
    rate = here.rows / seconds if seconds else 0.0
    this_run = here.to_dict() | {
        "seconds": round(seconds, 1),
        "images_per_second": round(rate, 2),
        "workers": workers,
    }
    content = total.to_dict() | {
        "this_run": this_run if here.shards else _last_run(output) or this_run,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    output.write(NAME, (json.dumps(content, indent=1) + "\n").encode())


def last_rate(output: Folder) -> tuple[float, float] | None:
    """Return images a second of one worker and images of a shard, as the last run that did something measured them."""
    last = _last_run(output)
    try:
        shards = last["shards"]["done"] + last["shards"]["incomplete"]
        return last["images_per_second"] / last["workers"], last["rows"] / shards
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _last_run(output: Folder) -> Any:
    try:
        return json.loads(output.read(NAME) or b"")["this_run"]
    except (ValueError, KeyError, TypeError):
        return None
