"""Sources and trackers of pipelines without media and networks."""

import threading
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import SourceInfo
from nasion.realtime.threads.timing import Timings

IMAGE = np.zeros((4, 6, 3), np.uint8)
IMAGE.flags.writeable = False


def info(*, live=False):
    return SourceInfo(name="fake", width=6, height=4, rate=Fraction(25), frames=None, duration=None, live=live)


@dataclass
class FakeSource:
    """Frames out of nothing; reading past ``blocks_at`` waits until it is closed, like a dead camera."""

    count: int = 20
    live: bool = False
    fails_at: int | None = None
    blocks_at: int | None = None
    closed: int = 0
    blocked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def info(self):
        return info(live=self.live)

    def __iter__(self):
        for i in range(self.count):
            if i == self.fails_at:
                raise SourceError("frame 7 is damaged")
            if i == self.blocks_at:
                self.blocked.set()
                self.released.wait(30)
                return
            yield Frame(IMAGE, i / 25, i)

    def close(self):
        self.closed += 1
        self.released.set()


@dataclass
class FakeTracker:
    """Remembers all frames so far, so that a frame lost or out of order shows in the results."""

    fails: bool = False
    closed: int = 0
    past: int = 0
    updates: int = 0
    timings: Timings | None = None

    def update(self, frame):
        if self.fails and frame.index == 5:
            raise ZeroDivisionError("tracking failed")
        self.past = (self.past * 31 + frame.index + 1) % 65521
        self.updates += 1
        points = np.array([[self.past, frame.index]], np.float32)
        return [Face(1, np.zeros(4, np.float32), 0.5, points, np.ones(1, np.float32))]

    def close(self):
        self.closed += 1


def stages():
    """Threads of a pipeline that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.is_alive() and "nasion-" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.enumerate()
    yield
    assert [thread for thread in threading.enumerate() if thread not in before] == []
