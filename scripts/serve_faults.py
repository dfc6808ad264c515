"""Attack a running `siglip serve` while a good client goes on: `python scripts/serve_faults.py --requests 2000`.

Starts the real server with the demo model on a free port of this machine, sends hostile requests of every kind
from several threads, kills decoder processes by their number, and asks /health throughout. It ends by itself, with
status 1 if a response was wrong or missing, the server said that it is not healthy, an error showed a traceback or
a path, something secret was fetched, or SIGTERM did not end the server with status 0. The last line is a JSON object
with what was counted. `--seed` makes the same requests again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile_requests import CUT, IMAGES_BY_LABEL, KEY, KINDS, LABELS, b64, classify  # noqa: E402  # found by the path above
from serve_fixture import Server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

ARGUMENTS = (
    *("--api-key-file", "keys", "--max-image-size", "2M", "--max-request-size", "8M"),
    *("--fetch-urls", "--fetch-host", "127.0.0.1", "--fetch-host", "*"),
)
LEAKS = (b"Traceback", b"site-packages", b'File "', str(ROOT).encode(), KEY.encode())


class Elsewhere(ThreadingHTTPServer):
    """A web server of this machine: an image, redirects to what nobody may fetch, and that.

    It listens on the port of this machine's other addresses too, where the system has them: a request that
    gets as far as a connection is seen.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.secrets = 0
        self._others: list[_Other] = []
        for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
            with suppress(OSError):
                self._others.append(_Other(family, address, self))
        for server in (self, *self._others):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def shutdown(self) -> None:
        """Stop on all addresses."""
        for other in self._others:
            other.shutdown()
            other.server_close()
        super().shutdown()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Other(ThreadingHTTPServer):
    """The same port of another address: whatever is fetched from it is a secret."""

    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, address: str, main: Elsewhere) -> None:
        self.address_family = family
        self.main = main
        super().__init__((address, main.server_address[1]), _Secrets)


class _Secrets(BaseHTTPRequestHandler):
    server: _Other

    def do_GET(self) -> None:
        self.server.main.secrets += 1
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Pages(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        name, _, target = self.path[1:].partition("?")
        if name == "redirect":
            self._answer(
                302, b"", Location=f"http://{target}:{self.server.server_address[1]}/secret"
            )
        elif name == "round":
            self._answer(302, b"", Location="/round")
        elif name == "endless":
            self._endless()
        elif name == "image":
            self._answer(200, IMAGES_BY_LABEL["blue heart"])
        else:
            self.server.secrets += 1
            self._answer(200, IMAGES_BY_LABEL["blue heart"])

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(65536))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Attack:
    """One run: its server, its random numbers, and what was counted."""

    def __init__(self, server: Server, elsewhere: Elsewhere) -> None:
        self.server = server
        self.elsewhere, self.port_elsewhere = elsewhere.url, elsewhere.server_address[1]
        self._pages = elsewhere
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.killed = 0
        self.seconds: list[float] = []
        self._lock = threading.Lock()

    def blame(self, what: str) -> None:
        """Remember what went wrong."""
        with self._lock:
            self.broken.append(what)

    # --- how requests are sent --------------------------------------------------------------------

    def send(
        self,
        body: bytes | None,
        path: str = "/v1/classify",
        method: str = "POST",
        seconds: float = 90,
        **headers: str,
    ) -> tuple[int, bytes]:
        """Send one request; status `CUT` where the connection ends without a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=seconds)
        names = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {k: v for k, v in names.items() if v})
            response = connection.getresponse()
            return response.status, response.read()
        except (ConnectionError, http.client.HTTPException):
            return CUT, b""
        finally:
            connection.close()

    def raw(self, data: bytes, *, pause: float = 0.0, reads: bool = True) -> tuple[int, bytes]:
        """Send bytes as they are, then wait for a response, or leave after a pause."""
        with self.connected() as connection, suppress(ConnectionError):
            connection.sendall(data)
            time.sleep(pause)
            answer = connection.recv(65536) if reads else b""
            if answer.startswith(b"HTTP/1.1 "):
                return int(answer[9:12]), answer
        return CUT, b""

    def connected(self) -> socket.socket:
        """Return a connection to the server."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=90)

    def head(self, length: int, path: str = "/v1/classify") -> bytes:
        """Return a request's head, for a body of so many bytes."""
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    # --- hostile requests: kind → statuses that are right -------------------------------------------

    def hostile(self, kind: str, dice: random.Random) -> None:
        """Send one hostile request, and look at what comes back."""
        send, right = KINDS[kind]
        try:
            status, body = send(self, dice)
        except OSError as error:
            self.blame(f"{kind}: {type(error).__name__}: {error}")
            return
        with self._lock:
            self.counts[f"{kind}: {'cut' if status == CUT else status}"] += 1
        if status not in right:
            self.blame(f"{kind}: status {status}: {body[:200]!r}")
        if any(leak in body for leak in LEAKS):
            self.blame(f"{kind}: a leak: {body[:400]!r}")
        if status == 200 and b'"error"' not in body:
            self.blame(f"{kind}: taken: {body[:200]!r}")

    # --- the others -------------------------------------------------------------------------------

    def good(self, dice: random.Random) -> float:
        """Classify an image that nobody sent before; return the seconds it took."""
        label = dice.choice(LABELS)
        image = IMAGES_BY_LABEL[label] + dice.randbytes(
            16
        )  # behind the image's end: the same pixels
        start = time.perf_counter()
        status, body = self.send(classify(b64(image)))
        if status != 200:
            self.blame(f"the good client: status {status}: {body[:200]!r}")
            return 0.0
        element = json.loads(body)["data"][0]
        if element.get("error", {}).get("kind", element.get("error", {}).get("code")) == "crashed":
            with self._lock:
                self.counts["good: crashed"] += 1
        elif element.get("prediction") != label:
            self.blame(f"the good client: {label}: {element}")
        return time.perf_counter() - start

    def healthy(self) -> None:
        """Ask for health."""
        status, body = self.send(None, "/health", "GET")
        if status != 200:
            self.blame(f"health: {status} {body[:100]!r}")

    def attack(self, requests: int, dice: random.Random) -> None:
        """Send so many hostile requests, of every kind as often as of another."""
        kinds = dice.sample(sorted(KINDS), len(KINDS))
        for kind in islice(cycle(kinds), requests):
            self.hostile(kind, dice)

    def go_on(self, over: threading.Event, dice: random.Random) -> None:
        """Be the good client, whatever happens; one image in ten has a decoder killed."""
        while not over.is_set():
            try:
                self.seconds.append(self.good(dice))
                self.healthy()
            except OSError as error:  # a timeout too
                self.blame(f"the good client: {type(error).__name__}: {error}")
            if dice.random() < 0.1:
                self.kill_decoder(dice)

    def kill_decoder(self, dice: random.Random) -> None:
        """End one of the server's decoder processes, as an image might."""
        if decoders := list(decoders_of(self.server.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(dice.choice(decoders), signal.SIGKILL)
                self.killed += 1

    def look_back(self) -> None:
        """Look at what the whole run may not have done."""
        fetched, body = self.send(classify(f"{self.elsewhere}/image"))
        if fetched != 200 or json.loads(body)["data"][0].get("prediction") != "blue heart":
            self.blame(f"a URL that may be fetched: {fetched} {body[:200]!r}")
        if self._pages.secrets:
            self.blame(f"a secret was fetched {self._pages.secrets} times")
        if self.counts["good: crashed"] > self.killed:
            self.blame("more good images failed than decoders were killed")
        if any("bug in siglip" in line or KEY in line for line in self.server.lines):
            self.blame("the log has a bug, or a key")


def decoders_of(parent: int) -> Iterator[int]:
    """Yield the numbers of a server's own processes that decode, by /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == parent and b"worker_main" in (folder / "cmdline").read_bytes():
                yield int(folder.name)


def memory_of(process: int) -> float:
    """Return a process's resident memory, in MB; 0 where /proc does not tell."""
    with suppress(OSError):
        return (
            int(Path(f"/proc/{process}/statm").read_text().split()[1])
            * os.sysconf("SC_PAGE_SIZE")
            / 1e6
        )
    return 0.0


def attack(
    server: Server, elsewhere: Elsewhere, requests: int, threads: int, seed: int
) -> dict[str, Any]:
    """Run it all, and return what was counted."""
    run = Attack(server, elsewhere)
    over = threading.Event()
    run.good(random.Random(seed))  # the first response reads what is read once
    before = memory_of(server.process.pid)
    attackers = [
        threading.Thread(
            target=run.attack, args=(requests // threads, random.Random(seed * 1_000 + i))
        )
        for i in range(threads)
    ]
    others = threading.Thread(target=run.go_on, args=(over, random.Random(seed + 1)))
    for thread in (others, *attackers):
        thread.start()
    for thread in attackers:
        thread.join()
    over.set()
    others.join()
    run.look_back()
    seconds = sorted(run.seconds)
    return {
        "hostile": sum(n for kind, n in run.counts.items() if not kind.startswith("good")),
        "good": len(seconds),
        "good_p50_ms": round(1e3 * seconds[len(seconds) // 2]),
        "good_slowest_ms": round(1e3 * seconds[-1]),
        "decoders_killed": run.killed,
        "memory_mb": [round(before), round(memory_of(server.process.pid))],
        "outcomes": dict(sorted(run.counts.items())),
        "broken": run.broken[:20],
    }


def main(arguments: list[str] | None = None) -> int:
    """Start the server, attack it, stop it, and print what was counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    elsewhere = Elsewhere()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys").write_text(KEY + "\n")
        start = time.perf_counter()
        with Server(Path(folder), ARGUMENTS) as server:
            counted = attack(server, elsewhere, options.requests, options.threads, options.seed)
        counted["exit_status"] = server.process.returncode
    if server.process.returncode:
        counted["broken"].append("SIGTERM did not end the server with status 0")
    counted["seconds"] = round(time.perf_counter() - start)
    elsewhere.shutdown()
    print(json.dumps(counted))
    return 1 if counted["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
