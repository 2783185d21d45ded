"""Metrics for operators: Prometheus on a loopback port, CloudWatch's embedded metric format in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inpaint_server.cache import CacheStats
from inpaint_server.errors import SettingsError
from inpaint_server.server.record import RequestRecord

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("inpaint_requests", "Requests answered.", ["task", "code"], registry=self.registry)
        self._stages = Histogram(
            "inpaint_stage_seconds",
            "Seconds a request spent in each stage; total: from arrival to answer.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._pictures = Counter("inpaint_pictures", "Pictures answered.", registry=self.registry)

    def count(self, record: RequestRecord) -> None:
        """Count a finished request."""
        if not record.counts:
            return
        self._requests.labels(task=record.task, code=record.code).inc()
        if record.error is None:
            self._pictures.inc(record.pictures)
        for stage, seconds in {**record.stages, "total": record.seconds}.items():
            self._stages.labels(stage=stage).observe(seconds)

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read at each scrape."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def caches(self, read: Callable[[], Mapping[str, CacheStats]]) -> None:
        """Register each cache's bytes, hits and misses."""
        self.registry.register(_Caches(read))

    def restarts(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Register how often the supervisor restarted each part."""
        self.registry.register(_Restarts(read))

    def serve(self, port: int) -> None:
        """Answer `GET /metrics` on this port of the loopback interface for as long as the process lives.

        Raises:
            SettingsError: the port is taken.
        """
        try:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise SettingsError(
                f"Port {port} cannot be used ({error.strerror}): set INPAINT_METRICS_PORT to another port, or to 0.",
                field="INPAINT_METRICS_PORT",
            ) from None


class _Caches(Collector):
    def __init__(self, read: Callable[[], Mapping[str, CacheStats]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        kept = GaugeMetricFamily("inpaint_cache_bytes", "Bytes kept now.", labels=["cache"])
        hits = CounterMetricFamily("inpaint_cache_hits", "Look-ups that found a value.", labels=["cache"])
        misses = CounterMetricFamily("inpaint_cache_misses", "Look-ups that found none.", labels=["cache"])
        for name, cache in self._read().items():
            kept.add_metric([name], cache.bytes)
            hits.add_metric([name], cache.hits)
            misses.add_metric([name], cache.misses)
        return kept, hits, misses


class _Restarts(Collector):
    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        restarts = CounterMetricFamily(
            "inpaint_restarts", "How often the supervisor started a part again.", labels=["part"]
        )
        for part, number in self._read().items():
            restarts.add_metric([part], number)
        return (restarts,)


def embedded_metrics(record: RequestRecord, namespace: str) -> dict[str, object]:
    """A request's metrics in CloudWatch's embedded metric format, as members of its line in the log.

    Published by task and code, and without dimensions; each value is a member of the line's root object, as specified
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
    """
    if not namespace or not record.counts:
        return {}
    metrics: dict[str, tuple[str, float]] = {
        "Requests": ("Count", 1),
        "Pictures": ("Count", record.pictures if record.error is None else 0),
        "Latency": ("Milliseconds", round(record.seconds * 1000, 1)),
        "QueueTime": ("Milliseconds", round(record.stages.get("queue", 0.0) * 1000, 1)),
    }
    directive = {
        "Namespace": namespace,
        "Dimensions": [["Task", "Code"], []],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()],
    }
    return {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        "Task": record.task,
        "Code": record.code,
        **{name: value for name, (_, value) in metrics.items()},
    }
