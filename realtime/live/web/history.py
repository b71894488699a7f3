"""History of the last minutes: samples for the plot of the page, and changes of the states of the sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any

from ..status import HubStatus, SourceStatus

MINUTES = 10
"""Length of the history."""
_MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Event:
    """Change of the state of one source.

    Attributes:
        number: number of the event, from 1.
        at: wall-clock time, in seconds since 1970.
        source: name of the source.
        state: state that began, ``added`` or ``removed``.
        reason: why; empty if there is nothing to say.
    """

    number: int
    at: float
    source: str
    state: str
    reason: str = ""


class History:
    """Samples once a second and events, of the last ``MINUTES``. Used in one thread.

    Attributes:
        newest: status that was watched last, which all pages share; None before the first.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._samples: deque[dict[str, Any]] = deque(maxlen=60 * MINUTES)
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._before: Mapping[str, SourceStatus] = {}
        self._count = 0
        self.newest: HubStatus | None = None

    def watch(self, status: HubStatus) -> None:
        """Note what has changed since the status before."""
        self.newest = status
        after = {source.name: source for source in status.sources}
        for at, *change in sorted(self._changes(status.at, after), key=itemgetter(0)):
            self._note(at, *change)
        self._before = after

    def _changes(self, at: float, after: dict[str, SourceStatus]) -> Iterator[tuple[float, str, str, str]]:
        """Yield time, source, state and reason of what has changed; an attempt that goes on keeps its state."""
        for name in self._before.keys() - after.keys():
            yield at, name, "removed", ""
        for name, source in after.items():
            before = self._before.get(name)
            if before is None:
                yield source.since, name, "added", ""
                before = replace(source, state="connecting", reason="")
            elif before.state == "reconnecting" and source.state == "connecting":  # one more attempt is nothing new
                after[name] = source = replace(source, state=before.state, reason=before.reason)
            is_back = source.reconnects > before.reconnects
            if is_back and before.state == source.state:  # lost and restored between two looks
                yield source.since, name, "reconnecting", ""
            if is_back or (source.state, source.reason) != (before.state, before.reason):
                yield source.since, name, source.state, source.reason

    def sample(self, status: HubStatus) -> dict[str, Any]:
        """Keep the figures of the sources, and return them as the page gets them."""
        figures = {
            source.name: [round(source.fps, 2), None if source.latency is None else round(source.latency.p95, 2)]
            for source in status.sources
        }
        sample = {"at": round(status.at, 3), "sources": figures}
        self._samples.append(sample)
        return sample

    @property
    def samples(self) -> list[dict[str, Any]]:
        """All samples, oldest first: ``at``, and for each source its FPS and the 95th percentile of its latency."""
        return list(self._samples)

    @property
    def last(self) -> int:
        """Number of the newest event; 0 before the first."""
        return self._count

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the events after number ``after``, oldest first."""
        return [asdict(event) for event in self._events if event.number > after]

    def _note(self, at: float, source: str, state: str, reason: str) -> None:
        self._count += 1
        self._events.append(Event(self._count, at, source, state, reason))
