"""Landmarks as they happen: server-sent events and WebSockets of one source."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from nasion.realtime.live.web import clients, streams
from nasion.realtime.live.web.clients import Clients
from nasion.realtime.live.web.streams import _results

from ....support.fakes.hub import FakeHub, result
from .conftest import WS


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds, 10 s at most."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_websocket_gets_every_frame_of_its_source(client: TestClient, hub: FakeHub) -> None:
    with client.websocket_connect(f"{WS}/api/sources/door/landmarks") as socket:
        assert eventually(lambda: hub.open_subscriptions == 1)
        for index in range(3):
            hub.put(result("yard", index))
            hub.put(result("door", index, faces=2))
        got = [socket.receive_json() for _ in range(3)]
    assert [(each["source"], each["frame"]) for each in got] == [("door", 0), ("door", 1), ("door", 2)]
    assert got[0]["captured"] == "2023-11-14T22:13:20.000000Z"
    assert got[0]["latency_ms"] == 8.0
    assert [face["id"] for face in got[0]["faces"]] == [1, 2]
    assert len(got[0]["faces"][0]["landmarks"]) == 68
    assert eventually(lambda: hub.open_subscriptions == 0)


def test_a_stream_ends_when_its_source_is_removed(client: TestClient, hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setattr(streams, "_BEAT", 0.05)
    with client.websocket_connect(f"{WS}/api/sources/door/landmarks") as socket:
        hub.remove("door")
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1001


def test_an_unknown_source_has_no_stream(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect(f"{WS}/api/sources/none/landmarks"),
    ):
        pass
    assert caught.value.status_code == 404


def test_events_are_server_sent(client: TestClient, hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setattr(streams, "_BEAT", 0.05)
    original = hub.subscribe

    def subscribe(*names: str, capacity: int):  # the test client returns a response when it has ended
        subscription = original(*names, capacity=capacity)
        if names:
            subscription.put(result("door", 7))
            hub.remove("door")
        return subscription

    monkeypatch.setattr(hub, "subscribe", subscribe)
    answer = client.get("/api/sources/door/landmarks")
    assert answer.headers["content-type"].startswith("text/event-stream")
    kind, data = answer.text.split("\n\n")[0].split("\n")
    assert kind == "event: landmarks"
    assert json.loads(data.removeprefix("data: "))["frame"] == 7


def test_a_slow_stream_loses_its_oldest_results_and_learns_how_many() -> None:
    hub, counted = FakeHub("door"), Clients()
    subscription = hub.subscribe("door", capacity=2)
    for index in range(5):
        hub.put(result("door", index))

    async def first(count: int) -> list[tuple[str, dict[str, object]]]:
        events = _results(hub, "door", subscription, counted)
        return [(kind, json.loads(text)) for kind, text in [await anext(events) for _ in range(count)]]

    (kind, dropped), *landmarks = asyncio.run(first(3))
    assert (kind, dropped) == ("dropped", {"dropped": 3})
    assert [each["frame"] for _, each in landmarks] == [3, 4]
    assert counted.dropped == 3


def test_a_stream_without_news_shows_that_it_still_works(monkeypatch) -> None:
    monkeypatch.setattr(streams, "_BEAT", 0.01)
    hub = FakeHub("door")

    async def first() -> tuple[str, str]:
        return await anext(_results(hub, "door", hub.subscribe("door"), Clients()))

    assert asyncio.run(first()) == ("", "")


def test_too_many_clients_are_refused_and_a_place_is_free_again(client: TestClient, monkeypatch) -> None:
    monkeypatch.setattr(clients, "MOST_CLIENTS", 1)
    path = f"{WS}/api/sources/door/landmarks"
    with client.websocket_connect(path) as socket:
        for refused in (path, f"{WS}/api/tiles"):
            with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(refused):
                pass
            assert caught.value.status_code == 503
        answer = client.get("/api/sources/door/landmarks")
        assert answer.status_code == 503
        assert "too many" in answer.json()["error"]
        socket.close()
    assert eventually(lambda: 'nasion_clients{kind="stream"} 0.0' in client.get("/metrics").text)
    with client.websocket_connect(path):
        pass


@pytest.mark.parametrize("text", ["not json", "[1]", '"view"'])
def test_anything_but_a_message_closes_the_stream(client: TestClient, hub: FakeHub, text: str) -> None:
    with client.websocket_connect(f"{WS}/api/sources/door/landmarks") as socket:
        socket.send_text(text)
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1008
    assert eventually(lambda: hub.open_subscriptions == 0)
