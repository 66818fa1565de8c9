"""Counters of a server, in Prometheus' format."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Each server has its own registry: several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("thorax_requests", "Requests answered, by status", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "thorax_request_seconds", "From the first byte to the answer", buckets=_SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "thorax_batch_size", "Images of a forward pass", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.in_flight = Gauge(
            "thorax_requests_in_flight", "Requests that are worked on or wait", registry=self.registry
        )
        self.load_seconds = Gauge("thorax_load_seconds", "Seconds that loading the bundle took", registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def log(self, error: Exception) -> None:
        """What went wrong inside, for the server's log and never for the caller."""
        logging.getLogger("thorax").error("a request failed", exc_info=error)
