"""Sources to read in tests: media in a folder and on a web server, a fake camera; and waiting for their threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import Source, cameras

from .media_samples import numbered_image, write_video
from .serving import serving

COUNT = 20


class FakeCapture:
    """Stands in for ``cv2.VideoCapture``: camera 0 gives images, the others do not open."""

    opened = 0

    def __init__(self, number: int, backend: int = 0) -> None:
        self.number, self.asked, self.read_so_far = number, dict[int, float](), 0
        FakeCapture.opened += number == 0
        self._open = number == 0

    def isOpened(self) -> bool:
        return self._open

    def set(self, what: int, value: float) -> bool:
        self.asked[what] = value
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}[what]

    def read(self) -> tuple[bool, np.ndarray[Any, Any] | None]:
        time.sleep(0.002)
        self.read_so_far += 1
        return (True, numbered_image(self.read_so_far - 1)) if self.read_so_far <= COUNT else (False, None)

    def release(self) -> None:
        FakeCapture.opened -= self._open
        self._open = False


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "clip.mp4", frames=COUNT, sound=0.8, options={"movflags": "faststart"})
    (folder / "images").mkdir()
    for i in range(COUNT):
        cv2.imwrite(str(folder / "images" / f"frame{i}.png"), numbered_image(i))
    return folder


@pytest.fixture(scope="module")
def web(media: Path) -> Iterator[str]:
    with serving(media) as address:
        yield address


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCapture.opened = 0
    monkeypatch.setattr(cameras.cv2, "VideoCapture", FakeCapture)


def reading_threads() -> int:
    return sum(thread.name == "nasion-source" for thread in threading.enumerate())


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def ends_when_closed_elsewhere(source: Source) -> list[Frame]:
    """Read to the end in a thread, close here once it is blocked, and return what it read."""
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(source))
    reader.start()
    last = -1
    while len(frames) != last:  # nothing for a while: it waits
        last = len(frames)
        reader.join(0.3)
    assert reader.is_alive()
    source.close()
    reader.join(2)
    assert not reader.is_alive()
    return frames
