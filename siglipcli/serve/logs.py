"""The access log, one line per request on stderr; never a body, a query or a key."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from siglipcli.text import visible

__all__ = ["Access", "access", "take_in", "to_json"]

access = logging.getLogger("siglipcli.access")
_LONGEST = 200  # characters of a path


@dataclass(frozen=True, slots=True)
class Access:
    """What is logged of a request."""

    client: str
    method: str
    path: str
    status: int
    ms: float
    bytes: int
    id: str

    def __str__(self) -> str:
        path = visible(self.path[:_LONGEST])
        size = f"{self.bytes:,} bytes"
        return f"{self.client} {visible(self.method[:16])} {path} {self.status} {self.ms:.1f} ms {size} id={self.id}"


def to_json() -> None:
    """Write all that the program logs as JSON, one object per line."""
    handler = _JsonLines()
    logging.getLogger("siglipcli").handlers = [handler]


def take_in(*names: str) -> None:
    """Have errors of other libraries' loggers in this log; what is less is of no use to who runs a server."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers = logging.getLogger("siglipcli").handlers or [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.ERROR)


class _JsonLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(
            timespec="milliseconds"
        )
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower()}
        if isinstance(record.msg, Access):
            line |= {"event": "request", **asdict(record.msg), "path": record.msg.path[:_LONGEST]}
        else:
            line |= {"event": "message", "message": record.getMessage()}
        try:
            print(json.dumps(line), file=sys.stderr)  # noqa: T201
        except (OSError, ValueError, AttributeError):
            return
