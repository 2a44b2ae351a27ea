"""Prometheus metrics: counters and histograms with a bounded number of series. No label holds an id from a request.

Each process counts in a registry of its own. With several workers the primary process requests the metrics text of each
worker and merges the texts under a label ``worker``. The multi-process mode of prometheus_client (files in
``PROMETHEUS_MULTIPROC_DIR``) is not used: ``docs/decisions/0021-own-framing-and-metrics-merge.md`` gives the reasons.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Metrics:
    """Metrics of one server, in a registry of its own: two servers in one process do not share them."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("segue_requests", "Requests.", ["operation", "status"], registry=registry)
        self._seconds = Histogram(
            "segue_request_seconds", "Duration of requests.", ["operation"], buckets=_SECONDS, registry=registry
        )
        self._events = Counter("segue_events", "Events, accepted or duplicate.", ["outcome"], registry=registry)
        self._recommendations = Counter(
            "segue_recommendations", "Recommended lists by variant.", ["variant"], registry=registry
        )
        self._failures = Counter(
            "segue_recommendation_failures", "Errors of deployed versions by role.", ["role"], registry=registry
        )
        self._fallbacks = Counter(
            "segue_fallback_lists", "Lists that needed no scoring, by source.", ["source"], registry=registry
        )
        self._changes = Counter(
            "segue_deployment_changes", "Changes of the deployment.", ["outcome"], registry=registry
        )
        self._deployed = Gauge(
            "segue_deployed_version", "1 for each deployed version.", ["role", "version"], registry=registry
        )
        self._shadow = Counter("segue_shadow_requests", "Shadow requests.", ["outcome"], registry=registry)
        self._shadow_seconds = Histogram(
            "segue_shadow_seconds", "Duration of shadow requests.", buckets=_SECONDS, registry=registry
        )
        self._overlap = Histogram(
            "segue_shadow_overlap",
            "Share of the items of a shadow list that are in the live list.",
            buckets=_SHARES,
            registry=registry,
        )
        self._roles: Mapping[str, str] = {}
        self._variants: dict[str, Counter] = {}
        self._by_operation: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def text(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def add_gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read at each scrape.

        Args:
            name: name without the prefix ``segue_``.
            documentation: its help text.
            value: function that returns the value.
        """
        Gauge(f"segue_{name}", documentation, registry=self.registry).set_function(value)

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            operation: route as it is declared, never the path of the request.
            status: HTTP status of the response.
            seconds: duration.
        """
        series = self._by_operation.get((operation, status))
        if series is None:  # the lookup of labels takes longer than the count
            series = self._requests.labels(operation, str(status)), self._seconds.labels(operation)
            self._by_operation[operation, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def count_events(self, accepted: int, duplicates: int, erased: int = 0) -> None:
        """Count stored events.

        Args:
            accepted: newly stored events.
            duplicates: events that were stored before.
            erased: events of erased users, which were not stored.
        """
        self._events.labels("accepted").inc(accepted)
        self._events.labels("duplicate").inc(duplicates)
        if erased:
            self._events.labels("erased").inc(erased)

    def count_recommendation(self, variant: str, fallback: str | None = None) -> None:
        """Count a recommended list.

        Args:
            variant: variant of the list.
            fallback: source of a list that needed no scoring, "cached" or "popular"; None: the list was scored.
        """
        if fallback is not None:
            self._fallbacks.labels(fallback).inc()
        series = self._variants.get(variant)
        if series is None:
            series = self._variants[variant] = self._recommendations.labels(variant)
        series.inc()

    def count_failure(self, version: str) -> None:
        """Count an error of a deployed version by its role: the number of roles is bounded, that of versions is not."""
        role = next((role for role, deployed in self._roles.items() if deployed == version), "retired")
        self._failures.labels(role).inc()

    def count_deployment_change(self, outcome: str) -> None:
        """Count a change of the deployment: "swapped", "refused" or "rolled back"."""
        self._changes.labels(outcome).inc()

    def count_shadow_request(self, outcome: str, seconds: float | None = None, overlap: float | None = None) -> None:
        """Count a shadow request.

        Args:
            outcome: "scored", "skipped" or "failed".
            seconds: duration; None unless scored.
            overlap: share of the shadow list's items that are in the live list; None unless scored.
        """
        self._shadow.labels(outcome).inc()
        if seconds is not None and overlap is not None:
            self._shadow_seconds.observe(seconds)
            self._overlap.observe(overlap)

    def set_deployed(self, roles: Mapping[str, str]) -> None:
        """Set the deployed version of each role."""
        self._roles = dict(roles)
        self._deployed.clear()
        for role, version in roles.items():
            self._deployed.labels(role, version).set(1)


def merge_metrics(text: bytes, workers: Sequence[tuple[str, bytes]]) -> bytes:
    """Merge the metrics of several processes into one text, with the process number as the label ``worker``.

    Args:
        text: metrics of the primary process, ``worker="0"``.
        workers: (number, metrics text) of each worker process.

    Returns:
        ``text`` unchanged without workers.
    """
    if not workers:
        return text
    metrics: dict[str, Metric] = {}
    for worker, worker_text in (("0", text), *workers):
        for family in text_string_to_metric_families(worker_text.decode()):
            metric = metrics.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                metric.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
    registry = CollectorRegistry()
    registry.register(_ParsedMetrics(list(metrics.values())))
    return generate_latest(registry)


class _ParsedMetrics(Collector):
    """Collector of metrics that other processes counted."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
