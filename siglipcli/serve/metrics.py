"""What /metrics counts, in Prometheus's form; one registry per server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server. Labels take few values: routes as they are declared, kinds of failure."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "siglip_requests",
            "Requests, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "siglip_request_seconds",
            "Seconds from a request's head to the end of its response, by route.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "siglip_queue_length", "Requests that wait for the model.", registry=registry
        )
        self.batches = Histogram(
            "siglip_batch_images", "Images per encoded batch.", buckets=_SIZES, registry=registry
        )
        self.encoded = Counter("siglip_images_encoded", "Images encoded.", registry=registry)
        self.stored = Counter(
            "siglip_store_hits",
            "Images whose embedding was known, by where: memory, the store, or another request's.",
            ["where"],
            registry=registry,
        )
        self.failures = Counter(
            "siglip_image_failures",
            "Images without a result, by kind.",
            ["kind"],
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all of them in the text format."""
        return generate_latest(self.registry)
