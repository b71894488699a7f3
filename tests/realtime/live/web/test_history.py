"""The history: samples for the plot, and changes of state, each told once."""

from __future__ import annotations

import pytest

from nasion.realtime.live.web.history import History

from ....support.fakes.hub import FakeHub


def told(history: History, after: int = 0) -> list[tuple[str, str, str]]:
    return [(each["source"], each["state"], each["reason"]) for each in history.events(after)]


def test_sources_that_come_and_go() -> None:
    hub, history = FakeHub("door"), History()
    history.watch(hub.status())
    assert told(history) == [("door", "added", ""), ("door", "live", "")]
    hub.remove("door")
    history.watch(hub.status())
    assert told(history, 2) == [("door", "removed", "")]
    assert [each["number"] for each in history.events()] == [1, 2, 3]


def test_a_lost_source_is_one_event_however_often_it_is_tried() -> None:
    hub, history = FakeHub("door"), History()
    history.watch(hub.status())
    for attempt in range(5):
        hub.change("door", state="reconnecting", reason="refused", since=1.8e9 + attempt, next_attempt=1.8e9 + attempt)
        history.watch(hub.status())
        hub.change("door", state="connecting")  # the reason stays
        history.watch(hub.status())
    hub.change("door", state="live", reason="", reconnects=1)
    history.watch(hub.status())
    assert told(history, 2) == [("door", "reconnecting", "refused"), ("door", "live", "")]


def test_events_of_one_look_are_in_the_order_of_their_times() -> None:
    hub, history = FakeHub("door", "yard"), History()
    hub.change("door", since=1.8e9 + 2)
    hub.change("yard", since=1.8e9 + 1)
    history.watch(hub.status())
    assert [source for source, *_ in told(history)] == ["yard", "yard", "door", "door"]


def test_a_loss_between_two_looks_is_an_event_too() -> None:
    hub, history = FakeHub("door"), History()
    history.watch(hub.status())
    hub.change("door", reconnects=1, since=1.8e9)
    history.watch(hub.status())
    assert told(history, 2) == [("door", "reconnecting", ""), ("door", "live", "")]


def test_samples_of_the_last_minutes_are_kept() -> None:
    hub, history = FakeHub("door"), History()
    hub.change("door", fps=14.123)
    for _ in range(700):
        sample = history.sample(hub.status())
    assert sample["sources"] == {"door": [14.12, None]}
    assert sample["at"] == pytest.approx(hub.status().at, abs=60)
    assert len(history.samples) == 600


def test_events_do_not_grow_without_bound() -> None:
    hub, history = FakeHub("door"), History()
    for number in range(1000):
        hub.change("door", state=("live", "stalled")[number % 2])
        history.watch(hub.status())
    assert len(history.events()) == 200
    assert history.last == 1001
