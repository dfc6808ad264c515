"""The server's benchmark: its clients count right, and its page says what was reached."""

from __future__ import annotations

import io
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import serve_bench
import served
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEEN: list[dict[str, Any]] = []


class Stub(BaseHTTPRequestHandler):
    """Says 200 to a request with labels, else 400."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        SEEN.append(body)
        self.send_response(200 if body["parameters"]["candidate_labels"] else 400)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a stub of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def test_clients_send_each_request_once_and_count_good_replies(port: int) -> None:
    """Three clients share ten requests; a bad reply is counted by its status and is no latency."""
    SEEN.clear()
    requests = [served.zero_shot(bytes([at]), ["a"] if at else []) for at in range(10)]
    replies = served.send(requests, 3, port)
    assert len(SEEN) == len({each["inputs"] for each in SEEN}) == 10
    assert replies.statuses == {200: 9, 400: 1}
    assert len(replies.seconds) == 9
    assert 0 < replies.p50 <= replies.p95 <= replies.wall
    assert replies.rate == pytest.approx(9 / replies.wall)


def test_a_server_that_is_gone_ends_the_run() -> None:
    """The benchmark stops with a word, rather than count nothing as fast."""
    with pytest.raises(SystemExit, match="lost its server"):
        served.send([served.zero_shot(b"", [])], 1, served.free_port())


def test_fresh_photos_are_new_content_of_the_same_image(tmp_path: Path) -> None:
    """Each copy has other bytes and the same pixels, so that no cache has it and the work is equal."""
    photo = tmp_path / "a.jpg"
    Image.effect_noise((40, 30), 50).save(photo)
    one, other = served.fresh([photo], 1), served.fresh([photo], 1)
    assert one != other
    assert Image.open(io.BytesIO(one)).tobytes() == Image.open(photo).tobytes()


def test_memory_is_of_all_processes() -> None:
    """A server's memory counts its workers'."""
    assert served.memory_mb(os.getpid()) > 10


def rows(**rates: float) -> dict[str, Any]:
    return {
        clients: {"replies": 8, "rate": rate, "p50": 0.5, "p95": 0.6, "statuses": {200: 8}}
        for clients, rate in rates.items()
    }


def measured(requests: int) -> dict[str, Any]:
    machine = {"cpu": "x", "cores": 2, "memory_gb": 8, "load_before": 0.1, "date": "2026-01-01"}
    return {
        "model": "demo", "machine": machine,
        "siglip": rows(**{"1": 1.9, "8": 1.9}),
        "tower": {"rate": 2.0, "rates": [1.9, 2.1], "seconds": 0.5, "decode": 0.01, "encoder": "e"},
        "relabel": {"rate": 149.0},
        "memory": {"samples": [(1, 50.0), (2, 100.0), (requests, 104.0)], "requests": requests, "wanted": 20},
    }  # fmt: skip


def test_the_page_says_what_was_reached() -> None:
    """Each bar is compared with its figure; memory from the second sample on, when caches are warm."""
    text = serve_bench.markdown(measured(20))
    assert "| 8 clients, of the tower's own rate | ≥ 90 % | 95% | reached |" in text
    assert "p50, of the tower's and decoding | ≤ 1.15 × | 0.98 × | reached |" in text
    assert "p95, of the tower's and decoding | ≤ 1.15 × | 1.18 × | missed |" in text
    assert "| 149 a second | missed |" in text
    assert "| siglip serve | 8 | 8 | 1.90 | 95% | 500 ms | 600 ms |" in text
    assert "| memory over 20 requests | within 5 % over 20 | +4.0% of 100 MB | reached |" in text


def test_memory_of_fewer_requests_reaches_nothing() -> None:
    """A run that was too slow for all its requests does not pass for one that did them."""
    row = "| memory over 19 requests | within 5 % over 20 | +4.0% of 100 MB | missed |"
    assert row in serve_bench.markdown(measured(19))
