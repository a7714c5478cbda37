"""Counters in Prometheus's format, one set for each server."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATH = "/monitoring/prometheus/metrics"  # TF Serving's
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cnn_app_requests", "Requests answered.", ["model", "api", "code"], registry=self.registry
        )
        self.seconds = Histogram("cnn_app_request_seconds", "From the first byte of a request's body to its answer.",
                                 ["model", "api"], buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.rows = Histogram("cnn_app_batch_rows", "Records that a model answered at once.", ["model", "version"],
                              buckets=ROWS, registry=self.registry)  # fmt: skip
        self.runs = Histogram("cnn_app_batch_seconds", "What such a run of the model took.", ["model", "version"],
                              buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.waiting = Gauge("cnn_app_running_requests", "Requests without an answer yet.", registry=self.registry)

    def batches(self, model: str, version: int) -> Callable[[int, float], None]:
        """To be told of each run of a version."""
        rows, seconds = (metric.labels(model, version) for metric in (self.rows, self.runs))

        def ran(count: int, took_s: float) -> None:
            rows.observe(count)
            seconds.observe(took_s)

        return ran

    def answered(self, model: str, api: str, code: str, took_s: float) -> None:
        self.requests.labels(model, api, code).inc()
        self.seconds.labels(model, api).observe(took_s)

    def page(self) -> bytes:
        return generate_latest(self.registry)
