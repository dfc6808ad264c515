"""A stand-in for the Hugging Face hub on this machine, and models too small to run to put on it."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HubStandIn", "content_name", "safetensors", "serving"]
__all__ += ["tiny_config", "tiny_model", "tiny_tokenizer", "tiny_weights"]

_LARGE = 10_000  # bytes from which a file is stored by its SHA-256, as the hub does


@dataclass
class HubStandIn:
    """What the hub holds, how it misbehaves, and what it was asked.

    `repos` maps ORG/NAME to its files; `commits` to its revision. `cut` drops the connection of the next
    downloads of a file after so many bytes; `etags` gives a file another ETag; `endless` files
    never end; `drip` files come a byte at a time, with so many seconds between them; `status` answers
    everything with an error. `tokens` are the tokens that were sent along.
    """

    repos: dict[str, dict[str, bytes]]
    url: str = ""
    commits: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    listing: bytes | None = None
    drip: dict[str, float] = field(default_factory=dict)
    ignores_ranges: bool = False
    status: int | None = None
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def commit(self, repo: str) -> str:
        """Return the revision of a repository, 40 hex digits."""
        return self.commits.get(repo, hashlib.sha1(repo.encode()).hexdigest())


def content_name(data: bytes) -> str:
    """Return the name by content that the hub has for a file: SHA-256, or git's SHA-1 for small ones."""
    if len(data) >= _LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.hub.status is not None:
            self._fail(self.hub.status, "")
        elif listing := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            self._list(listing[1])
        elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(file[1], file[2], body=body)
        else:
            self._fail(404, "")

    def _list(self, repo: str) -> None:
        if not self._known(repo):
            return
        files = self.hub.repos[repo]
        siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        if self.hub.listing is not None:
            self._send(200, {"Content-Type": "application/json"}, self.hub.listing)
            return
        answer = {"id": repo, "sha": self.hub.commit(repo), "siblings": siblings}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _known(self, repo: str) -> bool:
        if repo in self.hub.gated:
            self._fail(403, "GatedRepo")
            return False
        if repo not in self.hub.repos:
            self._fail(404, "RepoNotFound")
            return False
        return True

    def _file(self, repo: str, name: str, *, body: bool) -> None:
        if not self._known(repo):
            return
        data = self.hub.repos[repo].get(name)
        if data is None:
            self._fail(404, "EntryNotFound")
            return
        headers = {
            "ETag": f'"{self.hub.etags.get(name) or content_name(data)}"',
            "X-Repo-Commit": self.hub.commit(repo),
            "Accept-Ranges": "bytes",
        }
        if not body:
            self._send(200, headers, data, body=False)
            return
        if name in self.hub.endless:
            self._run_on(data)
            return
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not self.hub.ignores_ranges:
            start = int(wanted[1])
            self.hub.ranges.append(f"{name} from {start}")
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cuts = self.hub.cut.get(name)
        cut = cuts.pop(0) if cuts else None
        pause = self.hub.drip.get(name, 0.0)
        self._send(206 if start else 200, headers, data[start:], cut=cut, pause=pause)

    def _run_on(self, data: bytes) -> None:
        """Send a body of no announced length for as long as somebody listens."""
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(data)

    def _fail(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": code}, b"")

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        data: bytes,
        *,
        body: bool = True,
        cut: int | None = None,
        pause: float = 0.0,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body and pause:
            with suppress(OSError):
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    Event().wait(pause)  # not `sleep`, which tests replace
        elif body:
            self.wfile.write(data if cut is None else data[:cut])
        self.close_connection = cut is not None


@contextmanager
def serving(repos: dict[str, dict[str, bytes]]) -> Iterator[HubStandIn]:
    """Serve `repos` on a free port of this machine; `url` is where."""
    hub = HubStandIn(repos)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """Return a safetensors file of `{name: (dtype, shape, bytes)}`."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    header = json.dumps(table).encode()
    body = b"".join(data for _, _, data in tensors.values())
    return struct.pack("<Q", len(header)) + header + body


def tiny_weights(scale: float = 4.5, bias: float = -12.5, *, seed: int = 0) -> bytes:
    """Return weights that are whole and have a head, for a model that nobody runs."""
    filler = random.Random(seed).randbytes(40_000)
    return safetensors(
        {
            "logit_bias": ("F32", [], struct.pack("<f", bias)),
            "logit_scale": ("F32", [], struct.pack("<f", scale)),
            "visual.filler": ("F32", [10_000], filler),
        }
    )


def tiny_config(tokenizer: str = "tokenizer.json") -> dict[str, dict[str, object]]:
    """Return a config of open_clip's form, new at each call."""
    return {
        "model_cfg": {
            "embed_dim": 8,
            "init_logit_bias": -10,
            "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit"},
            "text_cfg": {
                "context_length": 16,
                "vocab_size": 99,
                "hf_tokenizer_name": tokenizer,
                "tokenizer_kwargs": {"clean": "canonicalize"},
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def tiny_tokenizer() -> dict[str, bytes]:
    """Return the two files of a tokenizer."""
    return {
        "tokenizer.json": b'{"version": "1.0", "model": {}}',
        "tokenizer_config.json": b'{"pad_token": "</s>"}',
    }


def tiny_model(tokenizer: str = "tokenizer.json") -> dict[str, bytes]:
    """Return config and weights of a model whose tokenizer is at `tokenizer`."""
    return {
        "open_clip_config.json": json.dumps(tiny_config(tokenizer)).encode(),
        "open_clip_model.safetensors": tiny_weights(),
    }
