"""`_driver.json`: which process writes to an output. Two at once would list, count and clear each other's work."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from siglipcli import processes
from siglipcli.errors import StorageError, UsageError

if TYPE_CHECKING:
    from siglipcli.batch.storage import Folder

__all__ = ["NAME", "Lease"]

NAME = "_driver.json"
_BEAT = 20.0
"""Seconds between two signs of life."""
_FRESH = 90.0
"""Seconds without one, after which a driver is gone."""


class Lease:
    """The claim of this process to an output, renewed while it lives. Raises UsageError while another's is fresh."""

    def __init__(self, output: Folder) -> None:
        self._output = output
        self._note = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": secrets.token_hex(8),
        }
        self._over = Event()
        self._take()
        Thread(target=self._renew, name="siglip-lease", daemon=True).start()

    def release(self) -> None:
        """Give the output free; what another process has taken since stays."""
        self._over.set()
        with suppress(StorageError):
            if self._is_own():
                self._output.delete(NAME)

    def _take(self) -> None:
        if not self._output.create(NAME, self._content()):
            other = self._read()
            if _is_fresh(other):
                raise UsageError(
                    f"another run writes to {self._output} (process {other.get('pid')} on {other.get('host')})."
                    f" Wait for its end; one that was killed is forgotten after {_FRESH:.0f} seconds.",
                )
            self._output.write(NAME, self._content())
        if not self._is_own():
            raise UsageError(f"another run began to write to {self._output} at the same time.")

    def _content(self) -> bytes:
        return json.dumps(self._note | {"time": time.time()}).encode()

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._output.read(NAME) or b"{}"))
        except (ValueError, TypeError):
            return {}

    def _is_own(self) -> bool:
        return self._read().get("token") == self._note["token"]

    def _renew(self) -> None:
        while not self._over.wait(_BEAT):
            with suppress(StorageError):
                if not self._is_own():
                    return
                self._output.write(NAME, self._content(), durable=False)


def _is_fresh(note: dict[str, Any]) -> bool:
    """Whether the process that wrote a note is still there, as far as can be seen from here."""
    age = time.time() - float(note.get("time") or 0)
    if abs(age) > _FRESH:
        return False
    return note.get("host") != socket.gethostname() or _is_alive(int(note.get("pid") or 0))


def _is_alive(pid: int) -> bool:
    if pid in {0, os.getpid()}:  # a container's first process has one number in every life
        return False
    return processes.is_running(pid)
