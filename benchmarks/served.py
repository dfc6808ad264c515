"""Servers as child processes, and clients that measure them: threads with one connection each.

Standard library only, and no web client: what a client costs is taken from the server's own machine.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_READY_SECONDS = 600  # a first start converts the model
_REPLY_SECONDS = 120
_PAGE_KB = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Request:
    """One request: a path, and a JSON body as it is sent."""

    path: str
    body: bytes


@dataclass
class Replies:
    """What clients measured: seconds of each good reply, in the order in which they came; how many failed."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wall: float = 0.0

    @property
    def rate(self) -> float:
        """Good replies a second."""
        return len(self.seconds) / self.wall

    @property
    def p50(self) -> float:
        """Median of the seconds."""
        return median(self.seconds or [0.0])

    @property
    def p95(self) -> float:
        """The second that 95 % of the replies do not reach."""
        return (
            quantiles(self.seconds, n=20, method="inclusive")[-1]
            if len(self.seconds) > 1
            else self.p50
        )


@contextlib.contextmanager
def server(
    command: Sequence[str], port: int, log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends. Raises SystemExit with its last lines where it does not start."""
    with log.open("wb") as stderr:
        child = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=environment)
        try:
            _wait(child, port, log)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = monotonic() + _READY_SECONDS
    while monotonic() < end and child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            address = http.client.HTTPConnection("127.0.0.1", port, timeout=_REPLY_SECONDS)
            with contextlib.closing(address) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == http.client.OK:
                    return
        sleep(0.2)
    raise SystemExit("\n".join(["the server did not start:", *log.read_text().splitlines()[-8:]]))


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def send(requests: Iterable[Request], clients: int, port: int, seconds: float = 600) -> Replies:
    """Send requests from so many clients, each the next as soon as it has a reply, for `seconds` at most."""
    replies, lock, waiting = Replies(), threading.Lock(), iter(requests)
    failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    end = monotonic() + seconds

    def take() -> Request | None:
        with lock:
            return next(waiting, None) if monotonic() < end else None

    def run() -> None:
        address = http.client.HTTPConnection("127.0.0.1", port, timeout=_REPLY_SECONDS)
        with contextlib.closing(address) as connection:
            while request := take():
                try:
                    status, spent = _one(connection, request)
                except (OSError, http.client.HTTPException) as error:
                    failures.put(error)
                    return
                with lock:
                    replies.statuses[status] = replies.statuses.get(status, 0) + 1
                    if status == http.client.OK:
                        replies.seconds.append(spent)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(clients)]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replies.wall = perf_counter() - started
    if not failures.empty():
        raise SystemExit(f"a client lost its server: {failures.get()!r}")
    return replies


def _one(connection: http.client.HTTPConnection, request: Request) -> tuple[int, float]:
    started = perf_counter()
    connection.request("POST", request.path, request.body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status, perf_counter() - started


def fresh(photos: Sequence[Path], number: int) -> bytes:
    """Return a photo with a comment of its own: new content for every cache, the same work."""
    data = photos[number % len(photos)].read_bytes()
    comment = f"{number} {os.urandom(8).hex()}".encode()
    cut = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2  # after JFIF
    return data[:cut] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[cut:]


def zero_shot(image: bytes, labels: Sequence[str]) -> Request:
    """Return a request in Hugging Face's form, which both servers speak."""
    parameters = {"candidate_labels": list(labels)}
    body = {"inputs": base64.b64encode(image).decode("ascii"), "parameters": parameters}
    return Request("/", json.dumps(body).encode())


def memory_mb(pid: int) -> float:
    """Return the resident megabytes of a process and all below it."""
    return sum(_resident(each) for each in [pid, *_below(pid)]) / 1e3


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield int(child)
                yield from _below(int(child))


def _resident(pid: int) -> float:
    try:
        found = _PAGE_KB.search(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:  # it has just ended
        return 0
    return float(found[1]) if found else 0


def as_row(replies: Replies) -> dict[str, Any]:
    """Return the figures of one run."""
    return {
        "replies": len(replies.seconds),
        "rate": replies.rate,
        "p50": replies.p50,
        "p95": replies.p95,
        "statuses": replies.statuses,
    }
