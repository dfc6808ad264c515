"""The process: a socket, uvicorn, the model loaded beside it, and what signals do.

SIGTERM and SIGINT: new requests are refused, those under way end, exit status 0. SIGHUP: `reload` is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

import uvicorn

from siglipcli.errors import UsageError
from siglipcli.serve import logs
from siglipcli.serve.app import create_app
from siglipcli.serve.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from siglipcli.api import Classifier
    from siglipcli.serve.engine import Engine
    from siglipcli.serve.keys import KeyRing
    from siglipcli.serve.settings import ServeSettings

__all__ = ["bind", "run"]

logger = logging.getLogger("siglipcli")

_KEEP_ALIVE = 15  # seconds that an idle connection is kept
_BACKLOG = 1_024
_FILES = 65_536
_LAST_SECONDS = 2  # for connections to close, when all requests have ended
_TICK = 0.05  # seconds between two looks at what is under way


def bind(settings: ServeSettings) -> socket.socket:
    """Return a bound socket. Raises UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise UsageError(
            f"{settings.host}:{settings.port} cannot be listened on: {reason}"
        ) from error
    return bound


def run(
    bound: socket.socket,
    settings: ServeSettings,
    engine: Engine,
    keys: KeyRing,
    load: Callable[[], Classifier],
    ready: Callable[[], object],
    reload: Callable[[], object],
) -> None:
    """Serve until a signal ends it.

    The model is loaded by `load` meanwhile, whose errors end it too; then `ready` is called.
    """
    logs.take_in("uvicorn", "asyncio")
    _allow_many_connections()
    config = uvicorn.Config(
        create_app(settings, engine, keys),
        http=Protocol.with_limits(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = _Server(config, engine, settings, reload)
    loop = asyncio.new_event_loop()  # asyncio.run would wait for threads that may hang
    try:
        loop.run_until_complete(server.serve_model(bound, load, ready))
    finally:
        closing = Thread(target=engine.close, name="siglip-close", daemon=True)
        closing.start()
        closing.join(_LAST_SECONDS)


def _allow_many_connections() -> None:
    """Raise the limit of open files to what this user may have, up to 65,536: each connection is one."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Server(uvicorn.Server):
    """uvicorn, with our signals."""

    def __init__(
        self,
        config: uvicorn.Config,
        engine: Engine,
        settings: ServeSettings,
        reload: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._engine = engine
        self._settings = settings
        self._reload = reload
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve_model(
        self, bound: socket.socket, load: Callable[[], Classifier], ready: Callable[[], object]
    ) -> None:
        """Serve, and load the model beside it. Raises what loading it raises."""
        loading = asyncio.create_task(self._load(load, ready))
        try:
            await self.serve(sockets=[bound])
        finally:
            if loading.done():
                loading.result()
            loading.cancel()

    async def _load(self, load: Callable[[], Classifier], ready: Callable[[], object]) -> None:
        try:
            await self._engine.start(await _on_daemon(load))
            ready()
        except BaseException:
            self.should_exit = True
            raise

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals over, and give them back."""
        actions = {"SIGINT": self._stop, "SIGTERM": self._stop, "SIGHUP": self._hang_up}
        loop = asyncio.get_running_loop()
        before = {}
        for name, action in actions.items():
            if (number := getattr(signal, name, None)) is not None:
                before[number] = signal.getsignal(number)
                signal.signal(number, lambda *_, act=action: loop.call_soon_threadsafe(act))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        if self._engine.is_draining:  # the second signal
            self.should_exit = self.force_exit = True
            return
        self._begin(self._drain())

    def _hang_up(self) -> None:
        self._begin(asyncio.to_thread(self._reload))

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        """Refuse what comes, wait for what is under way, then end."""
        self._engine.is_draining = True
        active = self._engine.active
        logger.info("stopping: %d request%s under way", active, "" if active == 1 else "s")
        end = asyncio.get_running_loop().time() + self._settings.drain_seconds
        while self._engine.active and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  # for seconds, once
            await asyncio.sleep(_TICK)
        if self._engine.active:
            logger.warning("requests that were cut off: %d", self._engine.active)
        self.should_exit = True


def _on_daemon(load: Callable[[], Classifier]) -> asyncio.Future[Classifier]:
    """Load on a thread that no exit waits for: a download may be long."""
    done: Future[Classifier] = Future()

    def work() -> None:
        try:
            done.set_result(load())
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            done.set_exception(error)

    Thread(target=work, name="siglip-load", daemon=True).start()
    return asyncio.wrap_future(done)
