"""`siglip serve`: the same scores over HTTP."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import setup
from siglipcli.cli.options import CalibratedLabelOptions, DecodingOptions, ModelOptions, option
from siglipcli.errors import MissingExtraError, UsageError
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.values import Size, words

if TYPE_CHECKING:
    from siglipcli.api import Classifier
    from siglipcli.labels import LabelSet
    from siglipcli.serve.settings import ServeSettings

__all__ = ["serve"]

logger = logging.getLogger("siglipcli")

KEY_VARIABLE = "SIGLIP_API_KEY"
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s@A-Z]+")
IMAGE_SIZE, REQUEST_SIZE = Size(20_000_000), Size(64_000_000)


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens, and who may use it."""

    heading = "Server"

    host: Annotated[str, option("serve.host", "--host", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int, option("serve.port", "--port", min=0, max=65535, metavar="N")] = 8000
    api_key_file: Annotated[
        Path | None, option("serve.api_key_file", "--api-key-file", metavar="FILE")
    ] = None
    no_auth: Annotated[bool, option("serve.no_auth", "--no-auth")] = False
    allow_host: Annotated[
        list[str] | None, option("serve.allow_host", "--allow-host", metavar="NAME")
    ] = None
    cors: Annotated[list[str] | None, option("serve.cors", "--cors", metavar="ORIGIN")] = None
    fetch_urls: Annotated[bool, option("serve.fetch_urls", "--fetch-urls")] = False
    fetch_host: Annotated[
        list[str] | None, option("serve.fetch_host", "--fetch-host", metavar="PATTERN")
    ] = None
    log_format: Annotated[
        str, option("serve.log_format", "--log-format", **words("text", "json"))
    ] = "text"
    drain_seconds: Annotated[
        float, option("serve.drain_seconds", "--drain-seconds", min=0, max=3600, metavar="SECONDS")
    ] = 30.0


@dataclass(frozen=True)
class LimitOptions:
    """What one request may take."""

    heading = "Limits"

    max_image_size: Annotated[
        Size, option("serve.max_image_size", "--max-image-size", parser=Size.parse, metavar="SIZE")
    ] = IMAGE_SIZE
    max_request_size: Annotated[
        Size,
        option("serve.max_request_size", "--max-request-size", parser=Size.parse, metavar="SIZE"),
    ] = REQUEST_SIZE
    max_images: Annotated[int, option("serve.max_images", "--max-images", min=1, metavar="N")] = 32
    max_labels: Annotated[int, option("serve.max_labels", "--max-labels", min=1, metavar="N")] = (
        1_000
    )
    max_waiting: Annotated[
        int, option("serve.max_waiting", "--max-waiting", min=1, metavar="N")
    ] = 512
    queue_seconds: Annotated[
        float,
        option("serve.queue_seconds", "--queue-seconds", min=0.1, max=3600, metavar="SECONDS"),
    ] = 30.0


@dataclass(frozen=True)
class StrangersDecodingOptions(DecodingOptions):
    """How images are decoded that strangers send: in worker processes, and not for long."""

    image_timeout: Annotated[
        float, option("image_timeout", min=0, max=3600, metavar="SECONDS", env=True)
    ] = 20.0
    isolate: Annotated[bool | None, option("serve.isolate", "--isolate/--no-isolate")] = True


@grouped
def serve(
    server: ServerOptions,
    labels: CalibratedLabelOptions,
    limits: LimitOptions,
    engine: ModelOptions,
    decoding: StrangersDecodingOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Serve scores over HTTP, in the formats of clients that exist already.

    Exit status: 0 ended by SIGTERM or Ctrl-C; 2 usage or labels; 3 could not go on.
    """
    _require_extra()
    settings = _settings(server, limits)
    terminal = _Log(verbosity, rows_on_screen=True)
    if settings.log_format == "json":
        from siglipcli.serve import logs

        logs.to_json()
    _Command(server, labels, settings, terminal).run(engine, decoding)


class _Log(Terminal):
    """Notes go to the log, whose lines may be JSON."""

    def note(self, message: str) -> None:
        """Say something worth knowing, unless --quiet."""
        logger.info("%s", message)


class _Command:
    """One run of the server, and what SIGHUP reads again."""

    def __init__(
        self,
        server: ServerOptions,
        labels: CalibratedLabelOptions,
        settings: ServeSettings,
        terminal: Terminal,
    ) -> None:
        from siglipcli.serve.engine import Engine
        from siglipcli.serve.keys import KeyRing

        self._server = server
        self._labels = labels
        self._settings = settings
        self._terminal = terminal
        self._engine = Engine(settings, self._read_labels())
        self._keys = KeyRing(self._read_keys())

    def run(self, engine: ModelOptions, decoding: DecodingOptions) -> None:
        """Listen, and serve until a signal ends it."""
        from siglipcli.serve import server

        if not (self._settings.is_loopback or len(self._keys) or self._server.no_auth):
            raise UsageError(
                f"{self._settings.host} is not only this machine, and there is no API key: give"
                f" --api-key-file or {KEY_VARIABLE}, or say --no-auth"
            )
        bound = server.bind(self._settings)
        self._terminal.note(f"listening on {_address(bound.getsockname())}")

        def load() -> Classifier:
            classifier = setup.classifier(engine, decoding, self._terminal, keep_towers=None)
            self._check_labels(self._engine.label_sets, classifier)
            return classifier

        def ready() -> None:
            encoder = self._engine.classifier.encoder
            self._terminal.note(f"ready: {encoder.name}, {encoder.description}")

        server.run(bound, self._settings, self._engine, self._keys, load, ready, self.reload)

    def reload(self) -> None:
        """Read the keys and the label sets again; what is wrong with either is said, and the old ones stay.

        Each on its own: a mistake in a label set must not keep a key valid that was taken back.
        """
        self._reload_keys()
        self._reload_labels()

    def _reload_keys(self) -> None:
        from siglipcli.errors import SiglipError
        from siglipcli.outputs.label_set import counted

        try:
            keys = self._read_keys()
        except SiglipError as error:
            self._terminal.note(f"the keys stay as they were: {error}")
            return
        self._keys.replace(keys)
        self._terminal.note(f"read again: {counted(len(keys), 'key')}")

    def _reload_labels(self) -> None:
        from siglipcli.errors import SiglipError
        from siglipcli.outputs.label_set import counted
        from siglipcli.serve.errors import ApiError

        try:
            if "-" in (self._labels.labels or ()):
                raise UsageError("standard input cannot be read twice")
            sets = self._read_labels()
            self._check_labels(sets, self._engine.classifier)
        except (SiglipError, ApiError) as error:  # the latter while the model is loading
            self._terminal.note(f"the label sets stay as they were: {error}")
            return
        self._engine.label_sets = tuple(sets)
        self._terminal.note(f"read again: {counted(len(sets), 'label set')}")

    def _read_labels(self) -> list[LabelSet]:
        return setup.label_sets(self._labels, self._terminal)

    def _read_keys(self) -> list[str]:
        from siglipcli.serve.keys import read_keys

        return read_keys(self._server.api_key_file, os.environ.get(KEY_VARIABLE))

    def _check_labels(
        self, sets: list[LabelSet] | tuple[LabelSet, ...], classifier: Classifier
    ) -> None:
        from siglipcli.labels import check_calibration

        check_calibration(sets, classifier.encoder, self._terminal.note, strict=self._labels.strict)


def _require_extra() -> None:
    for library in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        if find_spec(library) is None:
            raise MissingExtraError("Serving", library=library, extra="serve")


def _settings(server: ServerOptions, limits: LimitOptions) -> ServeSettings:
    from siglipcli.serve.settings import ServeSettings

    if server.fetch_host and not server.fetch_urls:
        raise UsageError("--fetch-host needs --fetch-urls")
    if limits.max_image_size.bytes > limits.max_request_size.bytes:
        raise UsageError("--max-image-size is more than --max-request-size")
    if odd := next((origin for origin in server.cors or () if not _ORIGIN.fullmatch(origin)), None):
        raise UsageError(f"--cors: {odd!r} is no origin such as https://example.org, and not *")
    return ServeSettings(
        host=server.host,
        port=server.port,
        max_image_bytes=limits.max_image_size.bytes,
        max_request_bytes=limits.max_request_size.bytes,
        max_memory_bytes=4 * limits.max_request_size.bytes,
        max_images=limits.max_images,
        max_labels=limits.max_labels,
        max_waiting=limits.max_waiting,
        queue_seconds=limits.queue_seconds,
        drain_seconds=server.drain_seconds,
        fetch_urls=server.fetch_urls,
        fetch_hosts=tuple(server.fetch_host or ()),
        cors=tuple(server.cors or ()),
        allow_hosts=tuple(server.allow_host or ()),
        log_format=server.log_format,
    )


def _address(name: tuple[str, int]) -> str:
    host, port = name[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
