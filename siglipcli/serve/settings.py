"""What a server is started with: its address, its limits, what it may do. Standard library only."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

__all__ = ["ServeSettings"]


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Every setting of a server; what is not here is the model's or the label sets'.

    `max_image_bytes`: of one encoded image; `max_request_bytes`: of a request's body as sent;
    `max_memory_bytes`: of all bodies, and all images in them, that are in memory at once.
    `max_labels` and `max_prompts` count those that a request brings, not those of sets that it names;
    `max_texts` and `max_text_characters` are an embeddings request's. `max_waiting`: requests that wait for the model; the
    next one is refused. `queue_seconds`: how long an image may wait. `body_seconds`: for the head of a
    request to arrive, and for its body until it must come at 250 kB a second; `stall_seconds`: between two
    parts of a body. `request_seconds`: for a
    result, whatever happens. `drain_seconds`: for requests under way after SIGTERM.

    `fetch_urls`: whether images are fetched from URLs; `fetch_hosts`: patterns (`*.example.org`) of hosts
    they may be on (none: any public one). A host named in full, without a wildcard, may also have a private
    address. `cors`: origins that pages may call from. `allow_hosts`: names in the Host header that are
    right on a loopback address, beside its own.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_image_bytes: int = 20_000_000
    max_request_bytes: int = 64_000_000
    max_memory_bytes: int = 256_000_000
    max_images: int = 32
    max_labels: int = 1_000
    max_prompts: int = 5_000
    max_texts: int = 2_048
    max_text_characters: int = 20_000
    max_waiting: int = 512
    queue_seconds: float = 30.0
    body_seconds: float = 30.0
    stall_seconds: float = 10.0
    request_seconds: float = 120.0
    drain_seconds: float = 30.0
    fetch_urls: bool = False
    fetch_hosts: tuple[str, ...] = ()
    fetch_seconds: float = 10.0
    cors: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    log_format: str = "text"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return False
