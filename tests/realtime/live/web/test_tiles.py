"""The WebSocket of the page: tiles, status, history and events; the newest frames for slow pages."""

from __future__ import annotations

import json
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from nasion.engines.errors import NasionError
from nasion.realtime.live.web import sockets
from nasion.realtime.live.web.tiles import View

from ....support.fakes.hub import FakeHub, result
from .conftest import WS

VIEW = {"sources": None, "width": 320, "rate": 60, "images": True}


def tile_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def next_tile(socket) -> tuple[dict[str, Any], bytes]:
    """Return the next tile; other messages before it are left out."""
    while (message := socket.receive()).get("bytes") is None:
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
    return tile_of(message["bytes"])


def next_status(socket, wanted=lambda message: True) -> dict[str, Any]:
    """Return the next message with the status for which ``wanted`` is true."""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if message.get("text") is not None:
            read = json.loads(message["text"])
            if read["type"] == "status" and wanted(read):
                return read


@pytest.fixture
def page(client: TestClient):
    with client.websocket_connect(f"{WS}/api/tiles") as socket:
        yield socket


def test_the_first_messages_are_the_greeting_and_the_status(page) -> None:
    hello = page.receive_json()
    assert hello["type"] == "hello"
    assert hello["schemes"]["ibug-68"][0] == list(range(17))
    assert hello["signed_in"] is False
    status = page.receive_json()
    assert [each["name"] for each in status["status"]["sources"]] == ["door", "yard"]


def test_nothing_is_sent_before_the_page_says_what_it_shows(page, hub: FakeHub) -> None:
    hub.put(result("door", 1))
    status = next_status(page, lambda message: message["status"]["sources"][0]["frames"] == 1)
    assert status["status"]["sources"][0]["latency"] == {"p50": 5.0, "p95": 8.0, "p99": 9.0}
    page.send_json({"view": VIEW})
    assert next_tile(page)[0]["frame"] == 1


def test_a_tile_has_the_landmarks_and_the_image_of_one_frame(page, hub: FakeHub) -> None:
    hub.put(result("yard", 3, faces=2))
    page.send_json({"view": VIEW})
    header, image = next_tile(page)
    assert (header["source"], header["frame"], header["tile"], header["scheme"]) == ("yard", 3, 1, "ibug-68")
    assert (header["width"], header["height"], len(header["faces"])) == (64, 36, 2)
    assert cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape == (36, 64, 3)


def test_without_images_only_landmarks_are_sent(page, hub: FakeHub) -> None:
    hub.put(result("door", 3))
    page.send_json({"view": {**VIEW, "images": False}})
    header, image = next_tile(page)
    assert header["faces"]
    assert image == b""


def test_only_the_sources_on_the_screen_are_sent(page, hub: FakeHub) -> None:
    hub.put(result("door", 0))
    hub.put(result("yard", 0))
    page.send_json({"view": {**VIEW, "sources": ["yard", "none"]}})
    assert next_tile(page)[0]["source"] == "yard"
    page.send_json({"view": {**VIEW, "sources": ["door"]}})
    assert next_tile(page)[0]["source"] == "door"


def test_a_slow_page_gets_the_newest_frame_of_each_source_and_holds_no_other(client: TestClient, hub: FakeHub) -> None:
    def show(socket, *, frames: range) -> list[int]:
        got = []
        for index in frames:
            hub.put(result("door", index))
            header, _ = next_tile(socket)
            got.append(header["frame"])
            socket.send_json({"seen": header["tile"]})
        return got

    with client.websocket_connect(f"{WS}/api/tiles") as slow, client.websocket_connect(f"{WS}/api/tiles") as quick:
        for socket in (slow, quick):
            socket.send_json({"view": VIEW})
        assert show(quick, frames=range(20)) == list(range(20))  # while the other draws nothing
        tiles = [next_tile(slow)[0] for _ in range(4)]  # two for each of the two sources are under way
        hub.put(result("door", 99))
        slow.send_json({"seen": tiles[-1]["tile"]})
        newest = next_tile(slow)[0]
        assert newest["frame"] == 99
        assert newest["tile"] == 5


def test_a_source_that_connects_again_counts_from_zero_and_is_shown(page, hub: FakeHub) -> None:
    page.send_json({"view": VIEW})
    hub.put(result("door", 5))
    assert next_tile(page)[0]["connection"] == 1
    hub.put(result("door", 5, connection=2))
    assert next_tile(page)[0]["connection"] == 2


def test_changes_are_sent_at_once_and_kept_for_the_next_page(client: TestClient, page, hub: FakeHub) -> None:
    hub.change("door", state="reconnecting", reason="no video received", since=1.8e9, next_attempt=1.8e9 + 2)
    told = next_status(page, lambda message: any(each["state"] == "reconnecting" for each in message.get("events", ())))
    event = told["events"][-1]
    assert (event["source"], event["reason"], event["at"]) == ("door", "no video received", 1.8e9)
    assert told["status"]["sources"][0]["next_attempt"] == 1.8e9 + 2
    with client.websocket_connect(f"{WS}/api/tiles") as later:
        hello = later.receive_json()
    assert event in hello["events"]
    assert hello["samples"][0]["sources"]["door"] == [0.0, None]


def test_a_removed_source_disappears_from_the_status(page, hub: FakeHub) -> None:
    page.send_json({"view": VIEW})
    hub.remove("door")
    told = next_status(page, lambda message: message.get("events"))
    assert [each["name"] for each in told["status"]["sources"]] == ["yard"]
    assert (told["events"][-1]["source"], told["events"][-1]["state"]) == ("door", "removed")


@pytest.mark.parametrize(
    "message",
    [
        {"seen": 5}, {"seen": -1}, {"seen": True}, {"seen": "1"}, {}, {"view": None}, {"view": {}}, {"view": [1, 2]},
        {"view": {**VIEW, "width": "320"}}, {"view": {**VIEW, "rate": None}}, {"view": {**VIEW, "images": 1}},
        {"view": {**VIEW, "sources": "door"}}, {"view": {**VIEW, "sources": [1]}}, {"view": {**VIEW, "rate": 1e400}},
    ],
)  # fmt: skip
def test_a_message_that_is_not_allowed_closes_the_page(page, message: object) -> None:
    page.send_text(json.dumps(message))
    with pytest.raises(WebSocketDisconnect) as caught:
        next_tile(page)
    assert caught.value.code == 1008


def test_a_page_that_sends_too_much_is_closed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_RATE", 1e-6)  # per second, so that the speed of the machine does not count
    with client.websocket_connect(f"{WS}/api/tiles") as page:
        for _ in range(301):
            page.send_json({"seen": 0})
        with pytest.raises(WebSocketDisconnect) as caught:
            next_tile(page)
    assert caught.value.code == 1008


def test_views_are_limited() -> None:
    assert View.of({"sources": ["a"], "width": 1, "rate": 0.1, "images": True}) == View(frozenset("a"), 160, 1.0, True)
    assert View.of({"sources": None, "width": 321, "rate": 999, "images": False}) == View(None, 480, 60.0, False)
    assert View.of({"sources": None, "width": 10**9, "rate": 5, "images": True}).width == 1920
    with pytest.raises(NasionError, match="sources, width, rate and images"):
        View.of("door")
