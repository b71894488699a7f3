"""A hub without threads: tests say what its sources do and which frames they have."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.live.hub import UnknownSource
from nasion.realtime.live.results import LiveResult
from nasion.realtime.live.specs import SourceSpec
from nasion.realtime.live.status import HubStatus, Latency, SourceStatus
from nasion.realtime.live.subscriptions import Subscription


def result(source: str, index: int, faces: int = 1, connection: int = 1) -> LiveResult:
    """A grey frame of 64 x 36 pixels with faces whose landmarks all lie at (32, 18)."""
    points = np.full((68, 2), [32.0, 18.0], np.float32)
    box, sure = np.array([30, 16, 34, 20], np.float32), np.ones(68, np.float32)
    found = [Face(id=number + 1, box=box, score=0.9, landmarks=points, confidence=sure) for number in range(faces)]
    frame = Frame(np.full((36, 64, 3), 128, np.uint8), index / 30, index, source)
    return LiveResult(source, frame, found, captured=1.7e9 + index / 30, latency=0.008, connection=connection)


class FakeHub:
    """Stand-in with all methods of a hub that the web server uses."""

    def __init__(self, *names: str) -> None:
        self.statuses = {name: SourceStatus(name, f"rtsp://***@camera/{name}", "live", "", 1.7e9) for name in names}
        self.given: list[SourceSpec] = []
        self._newest: dict[str, LiveResult] = {}
        self._subscriptions: list[Subscription] = []

    def put(self, result: LiveResult) -> None:
        self._newest[result.source] = result
        self.change(result.source, frames=self.source(result.source).frames + 1, latency=Latency(5.0, 8.0, 9.0))
        for subscription in list(self._subscriptions):
            subscription.put(result)

    def change(self, name: str, **values: object) -> None:
        self.statuses[name] = replace(self.source(name), **values)

    def add(self, source, *, name="", max_fps=None, roi=None, loop=False) -> str:
        spec = SourceSpec(source, name, max_fps, roi, loop)
        chosen = spec.named(self.statuses)
        self.given.append(spec)
        self.statuses[chosen] = SourceStatus(chosen, spec.address, "connecting", "", time.time())
        return chosen

    def remove(self, name: str) -> None:
        self.source(name)
        del self.statuses[name]

    def pause(self, name: str) -> None:
        self.change(name, state="paused")

    def resume(self, name: str) -> None:
        self.change(name, state="live")

    def names(self) -> tuple[str, ...]:
        return tuple(self.statuses)

    def source(self, name: str) -> SourceStatus:
        if name not in self.statuses:
            raise UnknownSource(f"there is no source {name!r}")
        return self.statuses[name]

    def newest(self, name: str) -> LiveResult | None:
        self.source(name)
        return self._newest.get(name)

    def status(self) -> HubStatus:
        return HubStatus(time.time(), 1.7e9, tuple(self.statuses.values()), ticks=3, aligner_calls=2, aligned=5)

    def subscribe(self, *names: str, capacity: int = 4) -> Subscription:
        subscription = Subscription(names, capacity=capacity, on_close=self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    @property
    def dropped_by_clients(self) -> list[int]:
        return [subscription.dropped for subscription in self._subscriptions]

    @property
    def open_subscriptions(self) -> int:
        return len(self._subscriptions)
