"""Subscriptions: bounded queues of clients, in which the newest results win."""

import asyncio
import threading

import numpy as np
import pytest

from nasion.realtime.faces.frame import Frame
from nasion.realtime.live.results import LiveResult
from nasion.realtime.live.subscriptions import Subscription


def result(index: int, source: str = "door") -> LiveResult:
    return LiveResult(source, Frame(np.zeros((36, 64, 3), np.uint8), index / 30, index), [], 1.7e9, 0.01)


def test_a_full_queue_keeps_the_newest_and_counts_the_others():
    client = Subscription(capacity=2)
    for index in range(5):
        client.put(result(index))
    client.end()
    assert [each.frame.index for each in client] == [3, 4]
    assert client.dropped == 3


def test_only_the_named_sources_arrive():
    client = Subscription(["yard"])
    client.put(result(0))
    client.put(result(1, "yard"))
    assert client.get(1).source == "yard"
    with pytest.raises(TimeoutError):
        client.get(0.01)


def test_closing_from_another_thread_ends_the_iteration():
    client = Subscription()
    threading.Timer(0.05, client.close).start()
    assert list(client) == []


def test_async_iteration():
    async def received() -> list[int]:
        async with Subscription(capacity=10) as client:
            threading.Timer(0.05, lambda: [client.put(result(i)) for i in range(3)] and client.end()).start()
            return [each.frame.index async for each in client]

    assert asyncio.run(received()) == [0, 1, 2]


def test_waits_that_were_cancelled_leave_nothing_behind():
    async def wait_often(client: Subscription) -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(client), 0.001)

    client = Subscription()
    asyncio.run(wait_often(client))
    assert not client._results._on_ready


def test_on_close_is_called_once():
    closed = []
    client = Subscription(on_close=closed.append)
    client.close()
    client.close()
    assert closed == [client]


def test_a_result_as_json_and_as_jpeg():
    import cv2

    sent = result(3)
    assert sent.to_dict() == {
        "source": "door", "frame": 3, "time": 0.1, "captured": "2023-11-14T22:13:20.000000Z", "latency_ms": 10.0,
        "connection": 1, "width": 64, "height": 36, "faces": [],
    }  # fmt: skip
    image = cv2.imdecode(np.frombuffer(sent.jpeg(32), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (18, 32, 3)
    assert sent.jpeg(32) is sent.jpeg(32)
    assert cv2.imdecode(np.frombuffer(sent.jpeg(1000), np.uint8), cv2.IMREAD_COLOR).shape == (36, 64, 3)
    with pytest.raises(ValueError, match="quality"):
        sent.jpeg(quality=0)
