"""Where each image is decoded: in this process, or in a worker process that a decoder may end."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from siglipcli import images
from siglipcli.images.budget import DecodingMemory, decoding_bytes
from siglipcli.images.worker import CannotStartError, Processes, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.images.budget import Budget, Claim
    from siglipcli.results import Source

    Pixels: TypeAlias = NDArray[np.uint8]

__all__ = ["Decoder", "DecoderPool", "Policy"]

_MOST_FAILURES = 3
"""Starts of a worker that may fail, if none ever did not, before no more are tried."""

logger = logging.getLogger("siglipcli")


class Policy:
    """Which images go to a worker: all (True), none (False), or those of delicate formats (None).

    Only a demand is kept to whatever happens; by itself it follows what this machine can do.
    """

    def __init__(self, isolate: bool | None) -> None:
        self.is_demanded = isolate is not None
        self._isolate = isolate
        self._has_started = False
        self._failures = 0
        self._lock = Lock()

    def wants_worker(self, data: bytes) -> bool:
        """Return whether a file is to be decoded in a worker."""
        return images.is_delicate(data) if self._isolate is None else self._isolate

    def started(self) -> None:
        """Know that workers can be started here."""
        self._has_started = True

    def failed(self, error: CannotStartError) -> None:
        """Give isolation up if no worker can be started. Raises the error where it is demanded."""
        if self.is_demanded:
            raise error
        logger.debug("an image is decoded in this process: %s", error)
        with self._lock:
            self._failures += 1
            may_pass = self._has_started or (error.may_pass and self._failures < _MOST_FAILURES)
            if may_pass or self._isolate is False:
                return
            self._isolate = False
        logger.warning("%s; all images are decoded in this one", error)

    def hangs(self) -> None:
        """Decode all in workers from now on. Once is enough: what hangs in here cannot be killed."""
        with self._lock:
            if self.is_demanded or self._isolate is not None:
                return
            self._isolate = True
        logger.warning("a decoder hangs; the rest is decoded in other processes")


class DecoderPool:
    """Worker processes that runs share, at most `most` of them waiting for work, and memory to decode in.

    It also knows whether this machine can start processes. `memory`: bytes for all that is decoded at
    once, see `DecodingMemory`.
    """

    def __init__(self, most: int, memory: int | None = None) -> None:
        self.processes = Processes(most)
        self.memory = DecodingMemory(memory)
        self._policies: dict[bool | None, Policy] = {}

    def policy(self, isolate: bool | None) -> Policy:
        """Return the policy of all runs with this choice."""
        return self._policies.setdefault(isolate, Policy(isolate))

    def close(self) -> None:
        """End the processes that wait; those at work end with their run."""
        self.processes.close()


class Decoder:
    """One thread's way from bytes to pixels: here, or in a worker process that it keeps.

    `watch` is called with False when a worker is about to be started, and with True when decoding begins.
    """

    def __init__(
        self,
        policy: Policy,
        seconds: float,
        watch: Callable[[bool], None],
        pool: DecoderPool | None = None,
    ) -> None:
        self.is_inside = False  # a decoder of this process
        self.worker = Worker(self._heard, pool.processes if pool else None)
        self._memory = pool.memory if pool else None
        self._claims: list[Claim] = []
        self._policy = policy
        self._seconds = seconds
        self._watch = watch

    def load(self, source: Source, limits: images.Limits) -> bytes:
        """Do what `images.load_bytes` does, once there is memory for the file. Raises ImageError."""
        if self._memory and not isinstance(source.content, bytes):
            with suppress(OSError, ValueError):  # which reading the file will explain
                self._claim(self._memory.files, Path(source.content).stat().st_size)
        return images.load_bytes(source, limits)

    def decode(
        self,
        data: bytes,
        size: int,
        limits: images.Limits,
        *,
        exact: bool,
        color_management: bool = True,
        allow_truncated: bool = False,
    ) -> Pixels:
        """Do what `images.decode` does, once there is memory. Raises ImageError, also of kind `crashed`."""
        if self._memory:
            count = decoding_bytes(data, size, limits, exact=exact)
            self._claim(self._memory.pixels, count)
        options = {"color_management": color_management, "allow_truncated": allow_truncated}
        if self._policy.wants_worker(data):
            try:
                seconds = self._seconds
                return self.worker.decode(
                    data, size, limits, exact=exact, seconds=seconds, **options
                )
            except CannotStartError as error:
                self._policy.failed(error)
                self._watch(True)
        self.is_inside = True
        try:
            return images.decode(data, size, limits, exact=exact, **options)
        finally:
            self.is_inside = False

    def release(self) -> None:
        """Give back the memory that was claimed, when an image is done or given up."""
        claims, self._claims = self._claims, []
        for claim in claims:
            claim.release()

    def _claim(self, budget: Budget, count: int) -> None:
        self._watch(False)  # waiting for others is not this image's time
        self._claims.append(budget.claim(count))
        self._watch(True)

    def _heard(self, is_ready: bool) -> None:
        if is_ready:
            self._policy.started()
        self._watch(is_ready)
