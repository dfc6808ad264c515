"""A real server for tests: `siglip serve` as a process on a free port of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["Reply", "Server"]

READY = 120  # seconds, on a machine that does much else


@dataclass
class Reply:
    """One response."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """`siglip serve` with the demo model; leaving it ends the process by SIGTERM.

    `environment` is the process's, as `settings.with_engine` makes one; without it, it runs on torch in fp32.
    """

    folder: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "siglipcli", "serve", "--model", "demo", "--port", "0", *self.arguments],
            env=self.environment or on_torch(self.folder / "cache"),
            cwd=self.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.url = self.wait_for(r"listening on (http://\S+?)[\"\s]").group(1)
            self.wait_for("ready: ")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(10)
            self.process.stderr.close()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_for(self, pattern: str, seconds: float = READY) -> re.Match[str]:
        """Wait until a line on stderr matches."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no line like {pattern!r}: {self.lines}")

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
        """Post JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": "application/json"} | (headers or {}))

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Reply:
        """Send one request on a connection of its own."""
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())


def on_torch(cache: Path) -> dict[str, str]:
    """Return the environment of a process that runs on torch in fp32, with this cache folder."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SIGLIP_")}
    settings = {"CACHE_DIR": str(cache), "OFFLINE": "1", "RUNTIME": "torch", "DEVICE": "cpu"}
    settings |= {"PRECISION": "fp32"}
    return plain | {f"SIGLIP_{key}": value for key, value in settings.items()}
