"""What Prometheus reads: counters and times in a bounded number of series. No label ever holds an id from outside."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Metrics:
    """One server's counters, in a registry of their own: two servers in one process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        ProcessCollector(registry=own)
        self._requests = Counter("segue_requests", "Requests answered.", ["operation", "status"], registry=own)
        self._seconds = Histogram(
            "segue_request_seconds", "Time to answer.", ["operation"], buckets=_SECONDS, registry=own
        )
        self._events = Counter("segue_events", "Events by what became of them.", ["outcome"], registry=own)
        self._answers = Counter("segue_answers", "Lists by who answered.", ["variant"], registry=own)
        self._failures = Counter(
            "segue_answer_failures", "Answers that a version failed to give.", ["role"], registry=own
        )
        self._swaps = Counter("segue_swaps", "Changes of what is at work.", ["outcome"], registry=own)
        self._model = Gauge("segue_model", "1 for each version at work.", ["role", "version"], registry=own)
        self._shadow = Counter("segue_shadow_requests", "What was asked in the shadow.", ["outcome"], registry=own)
        self._shadow_seconds = Histogram("segue_shadow_seconds", "Time of a shadow.", buckets=_SECONDS, registry=own)
        self._overlap = Histogram(
            "segue_shadow_overlap",
            "Share of a shadow's items that the live list has too.",
            buckets=_SHARES,
            registry=own,
        )
        self._roles: Mapping[str, str] = {}
        self._variants: dict[str, Counter] = {}
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self.registry)

    def add_gauge(self, name: str, said: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read at each scrape."""
        Gauge(f"segue_{name}", said, registry=self.registry).set_function(value)

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Counts a request; ``operation`` is a route as it is declared, never a path as it was sent."""
        found = self._counted.get((operation, status))
        if found is None:  # looking labels up takes longer than counting
            found = self._requests.labels(operation, str(status)), self._seconds.labels(operation)
            self._counted[operation, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def count_events(self, accepted: int, duplicates: int) -> None:
        """Counts events."""
        self._events.labels("accepted").inc(accepted)
        self._events.labels("duplicate").inc(duplicates)

    def count_recommendation(self, variant: str) -> None:
        """Counts a list."""
        found = self._variants.get(variant)
        if found is None:
            found = self._variants[variant] = self._answers.labels(variant)
        found.inc()

    def count_failure(self, version: str) -> None:
        """Counts an answer that a version at work did not give, by its role: versions come and go, roles are four."""
        role = next((role for role, one in self._roles.items() if one == version), "gone")
        self._failures.labels(role).inc()

    def count_deployment_change(self, outcome: str) -> None:
        """Counts a change: swapped, refused or rolled back."""
        self._swaps.labels(outcome).inc()

    def count_shadow_request(self, outcome: str, seconds: float | None = None, overlap: float | None = None) -> None:
        """Counts a question to a shadow."""
        self._shadow.labels(outcome).inc()
        if seconds is not None and overlap is not None:
            self._shadow_seconds.observe(seconds)
            self._overlap.observe(overlap)

    def set_deployed(self, roles: Mapping[str, str]) -> None:
        """Says which version has which role; what was said before is forgotten."""
        self._roles = dict(roles)
        self._model.clear()
        for role, version in roles.items():
            self._model.labels(role, version).set(1)


def merge_metrics(text: bytes, others: Sequence[tuple[str, bytes]]) -> bytes:
    """The counters of several processes as one text, each with the number of its process as ``worker``, 0 for this one;
    where there are no others, the text as it is."""
    if not others:
        return text
    found: dict[str, Metric] = {}
    for worker, own in (("0", text), *others):
        for family in text_string_to_metric_families(own.decode()):
            metric = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for one in family.samples:
                metric.add_sample(one.name, {**one.labels, "worker": worker}, one.value)
    registry = CollectorRegistry()
    registry.register(_Found(list(found.values())))
    return generate_latest(registry)


class _Found(Collector):
    """Metrics that were counted elsewhere."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
