"""Figures of a server, for Prometheus."""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from recurlm.serving.models import ServedModel
from recurlm.serving.sessions.store import SessionStore

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
TOKEN_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    """Counts requests and times; asks the engines for their own counts whenever somebody reads the figures."""

    def __init__(self, models: Mapping[str, ServedModel], sessions: SessionStore) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(models))
        count = Gauge("recurlm_sessions", "Sessions in the database.", registry=self._registry)
        count.set_function(lambda: sessions.count)
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "recurlm_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._request_seconds = Histogram(
            "recurlm_request_seconds",
            "From the request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.first_token_seconds = Histogram(
            "recurlm_first_token_seconds",
            "From the request to the first token of a stream.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.token_seconds = Histogram(
            "recurlm_token_seconds",
            "Time between tokens of a stream: time between two events, by the tokens of the second.",
            buckets=TOKEN_SECONDS,
            registry=self._registry,
        )
        self.scored_tokens = Counter("recurlm_scored_tokens", "Tokens scored.", ("model",), registry=self._registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request that was answered, or whose client went away."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The figures in Prometheus' text form."""
        return generate_latest(self._registry)


class TokenTimes:
    """Measures the streams of one request: time to the first token of each, and time between its tokens."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._began = metrics, time.monotonic()
        self._last: dict[int, float] = {}

    def drew(self, stream: int, tokens: int) -> None:
        """So many tokens of a stream arrived together."""
        if not tokens:
            return
        now = time.monotonic()
        if stream in self._last:
            self._metrics.token_seconds.observe((now - self._last[stream]) / tokens)
        else:
            self._metrics.first_token_seconds.observe(now - self._began)
        self._last[stream] = now


class _Engines(Collector):
    """What engines know about themselves."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily("recurlm_running_jobs", "Texts that advance now.", labels=("model",))
        waiting = GaugeMetricFamily("recurlm_waiting_jobs", "Texts that wait for a slot.", labels=("model",))
        scores = GaugeMetricFamily("recurlm_waiting_scores", "Requests for scores not yet done.", labels=("model",))
        read = CounterMetricFamily("recurlm_read_tokens", "Prompt tokens read.", labels=("model",))
        drawn = CounterMetricFamily("recurlm_drawn_tokens", "Tokens drawn.", labels=("model",))
        ended = CounterMetricFamily("recurlm_jobs", "Texts by how they ended.", labels=("model", "end"))
        for name, served in self._models.items():
            counts = served.engine.counts
            for gauge, value in zip((running, waiting), served.engine.load, strict=True):
                gauge.add_metric((name,), value)
            scores.add_metric((name,), served.waiting_scores)
            read.add_metric((name,), counts.read)
            drawn.add_metric((name,), counts.drawn)
            for end in ("ended", "failed", "cancelled"):
                ended.add_metric((name, end), getattr(counts, end))
        return running, waiting, scores, read, drawn, ended
