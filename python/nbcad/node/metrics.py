"""What Prometheus may know of the node: counts and seconds, nothing that tells of a patient or a study."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nbcad.node.jobs import Jobs

_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


OBJECTS_RECEIVED = Counter("nbcad_objects_received", "DICOM objects taken into the queue", registry=None)
ASSOCIATIONS_REFUSED = Counter("nbcad_associations_refused", "DICOM associations refused", registry=None)
ANALYSIS_SECONDS = Histogram(
    "nbcad_analysis_seconds", "Seconds that a study's analysis took", buckets=_SECONDS, registry=None
)


def registry(jobs: Jobs) -> CollectorRegistry:
    """Return a registry of this process's counters, its use of the machine, and a queue's contents."""
    made = CollectorRegistry()
    for collector in (
        OBJECTS_RECEIVED,
        ASSOCIATIONS_REFUSED,
        ANALYSIS_SECONDS,
        ProcessCollector(registry=None),
        _Queue(jobs),
    ):
        made.register(collector)
    return made


class _Queue(Collector):
    """A collector that reads the queue when Prometheus asks."""

    def __init__(self, jobs: Jobs):
        self._jobs = jobs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        studies = GaugeMetricFamily("nbcad_studies", "Studies in the queue", labels=["state"])
        for state, count in self._jobs.counts().items():
            studies.add_metric([state], count)
        yield studies
        since = self._jobs.waiting_since()
        age = 0.0 if since is None else max(0.0, time.time() - since)
        yield GaugeMetricFamily("nbcad_queue_age_seconds", "For how long the longest waiting study waits", age)
