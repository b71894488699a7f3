"""``/metrics``: the status of the hub in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...values.versions import __version__
from ..hub import Hub
from ..status import SourceStatus, State
from .clients import Clients

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "frames": "Frames tracked",
    "received": "Frames read",
    "dropped": "Frames that a newer one replaced before they were tracked",
    "skipped": "Frames left out because of the highest rate that was asked for",
    "damaged": "Packets that could not be decoded",
    "losses": "Connections lost",
    "reconnects": "Lost connections that were restored",
    "identities": "Different identities",
}
_NAMES = {
    "frames": "frames",
    "received": "frames_received",
    "dropped": "frames_dropped",
    "skipped": "frames_skipped",
    "damaged": "packets_damaged",
}


class Metrics(Collector):
    """Metrics of a hub and of the clients of its page."""

    def __init__(self, hub: Hub, clients: Clients) -> None:
        """Read the status of ``hub`` at each call of ``text``."""
        self._hub, self._clients = hub, clients
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, each with its samples."""
        status = self._hub.status()
        yield _gauge("nasion_build_info", "Version of nasion", {(("version", __version__),): 1})
        yield _gauge("nasion_start_time_seconds", "Start of the hub in seconds since 1970", {(): status.started})
        for name, text in _COUNTERS.items():
            yield _counter(
                f"nasion_{_NAMES.get(name, name)}", text, {_of(each): getattr(each, name) for each in status.sources}
            )
        yield _gauge(
            "nasion_source_state",
            "1 for the state of the source, 0 for the others",
            {
                (*_of(source), ("state", state)): int(source.state == state)
                for source in status.sources
                for state in get_args(State)
            },
        )
        yield _gauge("nasion_faces", "Faces in the newest frame", {_of(each): each.faces for each in status.sources})
        yield _gauge(
            "nasion_fps", "Frames tracked per second, over 5 seconds", {_of(each): each.fps for each in status.sources}
        )
        yield _gauge(
            "nasion_latency_seconds",
            "Time from capture to landmarks over the last minute",
            {
                (*_of(each), ("quantile", quantile)): getattr(each.latency, name) / 1000
                for each in status.sources
                if each.latency is not None
                for quantile, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
            },
        )
        recorded = [(each, each.recording) for each in status.sources if each.recording is not None]
        yield _gauge("nasion_recording_bytes", "Size of the recordings", {_of(each): of.bytes for each, of in recorded})
        yield _gauge(
            "nasion_recording_suspended",
            "1 while nothing can be recorded",
            {_of(each): int(bool(of.error)) for each, of in recorded},
        )
        for name, text in (
            ("ticks", "Rounds of tracking"),
            ("aligner_calls", "Calls of the landmark network"),
            ("detector_calls", "Calls of the detector"),
            ("aligned", "Crops in all calls of the landmark network"),
            ("detected", "Images in all calls of the detector"),
        ):
            yield _counter(f"nasion_{name}", text, {(): getattr(status, name)})
        counts = self._clients.counts()
        yield _gauge("nasion_clients", "Open pages and streams", {(("kind", kind),): n for kind, n in counts.items()})
        yield _counter("nasion_tiles", "Images sent to pages", {(): self._clients.tiles})
        yield _counter(
            "nasion_stream_dropped", "Results that newer ones replaced in slow streams", {(): self._clients.dropped}
        )


_Labels = tuple[tuple[str, str], ...]


def _of(source: SourceStatus) -> _Labels:
    return (("source", source.name),)


def _gauge(name: str, text: str, samples: dict[_Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, text)
    for labels, value in samples.items():
        family.add_sample(name, dict(labels), value)
    return family


def _counter(name: str, text: str, samples: dict[_Labels, float]) -> Metric:
    family = CounterMetricFamily(name, text)
    for labels, value in samples.items():
        family.add_sample(f"{name}_total", dict(labels), value)
    return family
