"""The unit of a run: one shard is read, written, retried and resumed as a whole."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from siglipcli.batch.storage import Storage
from siglipcli.batch.uris import identity, redacted
from siglipcli.pipeline import LoadOptions
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from siglipcli.encoders.spec import ModelSpec
    from siglipcli.labels import LabelSet

__all__ = ["KINDS", "Job", "Outcome", "Shard", "part_name", "shard_of"]

KINDS = ("tars", "parquet", "files", "embeddings")
"""What a run reads; one run reads one kind."""
_STEM = 48  # characters of an input's name in a shard's id


@dataclass(frozen=True, slots=True)
class Shard:
    """One piece of the input: a whole file (`stop` 0), or its rows from `start` up to `stop`; -1: it cannot be cut.

    `where` is a URI without credentials, or the name of a stored listing; `images`: how many there are,
    where that is known before reading (else 0). `again`: its part is made anew, though there may be one.
    """

    id: str
    where: str
    start: int = 0
    stop: int = 0
    again: bool = False

    @property
    def images(self) -> int:
        """How many images it has, 0 where only reading it tells."""
        return max(self.stop - self.start, 0)


def shard_of(uri: str, start: int = 0, stop: int = 0, endpoint: str = "") -> Shard:
    """Return the shard of an input file; its id is a function of where the file is and of its rows alone.

    `endpoint` is the server of a store; a local path may be typed in any way.
    """
    where = redacted(uri)
    place = f"{identity(where)}\n{endpoint}" if endpoint else identity(where)
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    name = where.rpartition("/")[2].partition(".")[0]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_STEM].strip("-_") or "shard"
    rows = f"-{start:09d}" if stop > 0 else ""
    return Shard(f"{stem}-{digest}{rows}", where, start, stop)


def part_name(shard_id: str) -> str:
    """Return the name of a shard's part in the output."""
    return f"part-{shard_id}.parquet"


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs, here or on another machine; it pickles.

    `roots` are the inputs as typed, `output` is where parts go; both may hold credentials, which neither
    `repr` nor `facts` show. `keep`: names of members or columns to keep. `embedding_type`: float16 or float32, or
    None for no column of embeddings. `retries`: how often a shard is read again, after pauses of `pause` ·
    1, 4, 16 … seconds. `fingerprint`, `tuning`: the checkpoint, and the int8 engine's digest, that every worker
    must have opened. `run` names a run on a cluster: only attempts of the same one count ("": of every local one).
    """

    kind: str
    spec: ModelSpec
    sets: tuple[LabelSet, ...]
    output: str = field(repr=False)
    roots: tuple[str, ...] = field(default=(), repr=False)
    load_options: LoadOptions = field(default_factory=LoadOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    keep: tuple[str, ...] = ()
    keep_types: tuple[tuple[str, Any], ...] = ()
    image_column: str | None = None
    embedding_type: str | None = None
    retries: int = 3
    pause: float = 1.0
    fingerprint: str = ""
    tuning: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        assert self.kind in KINDS

    @property
    def storage(self) -> Storage:
        """Opens what the job names."""
        return Storage((*self.roots, self.output))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a shard.

    `status`: `done`, `incomplete` (a part with the rows before a cut), `failed` (no part; `reason` says why) or
    `present` (its part was there already). `failures` counts rows without a result by kind.
    """

    shard: str
    status: str
    rows: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    where: str = ""

    @property
    def is_good(self) -> bool:
        """Whether every row of it has a result."""
        return self.status in {"done", "present"} and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)
