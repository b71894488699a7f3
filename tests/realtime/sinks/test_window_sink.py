from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.engines.errors import SinkError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import open_sinks
from nasion.realtime.sinks import window as window_sink
from nasion.realtime.sinks.window import WindowSink
from nasion.realtime.sources import SourceInfo

from ...conftest import ROOT

INFO = SourceInfo("clip", 64, 48)
FRAME = Frame(np.full((48, 64, 3), 90, np.uint8), 0.0, 0)


class FakeScreen:
    """Stands in for cv2's windows: shows what was asked of it, and presses keys."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.key = -1
        self.visible = 1.0
        self.forgotten = False
        self.destroyed = 0

    def property(self, title: str, which: int) -> float:
        if self.forgotten:
            raise cv2.error("NULL window")
        return self.visible

    def destroy(self, title: str) -> None:
        self.destroyed += 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> FakeScreen:
    fake = FakeScreen()
    monkeypatch.setattr(window_sink, "_require_display", lambda: None)
    monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: None)
    monkeypatch.setattr(cv2, "resizeWindow", lambda title, width, height: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: fake.shown.append(title))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: fake.key)
    monkeypatch.setattr(cv2, "getWindowProperty", fake.property)
    monkeypatch.setattr(cv2, "destroyWindow", fake.destroy)
    return fake


def test_every_frame_is_shown_in_one_window(screen: FakeScreen) -> None:
    with open_sinks(show=True, info=INFO) as sinks:
        sinks.write(FRAME, [])
        sinks.write(FRAME, [])
        assert not sinks.stopped
    assert screen.shown == ["nasion: clip"] * 2
    assert screen.destroyed == 1


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_q_and_escape_end_the_run(screen: FakeScreen, key: int) -> None:
    with open_sinks(show=True, info=INFO) as sinks:
        screen.key = key
        sinks.write(FRAME, [])
        assert sinks.stopped


def test_another_key_does_not(screen: FakeScreen) -> None:
    with WindowSink() as sink:
        screen.key = ord("x")
        sink.write(FRAME, [])
        assert not sink.stopped


@pytest.mark.parametrize(("visible", "forgotten"), [(0.0, False), (-1.0, False), (1.0, True)])
def test_closing_the_window_ends_the_run_and_it_does_not_come_back(
    screen: FakeScreen, visible: float, forgotten: bool
) -> None:
    with WindowSink() as sink:
        screen.visible, screen.forgotten = visible, forgotten
        sink.write(FRAME, [])
        assert sink.stopped
        sink.write(FRAME, [])
    assert len(screen.shown) == 1
    assert screen.destroyed == 0


def test_writing_after_closing_is_refused(screen: FakeScreen) -> None:
    sink = WindowSink()
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="is closed; open it again"):
        sink.write(FRAME, [])


def test_an_opencv_without_windows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(SinkError, match=r"this OpenCV has no windows; .* install .* opencv-python"):
        WindowSink()


def needs_x11() -> None:
    if sys.platform != "linux":
        pytest.skip("only on Linux can the display be missing")


def test_no_display_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_x11()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r"--show needs a display, .* or write a video with --out"):
        open_sinks(out=tmp_path / "out.mp4", show=True, info=INFO)
    assert list(tmp_path.iterdir()) == []


def test_a_display_that_does_not_answer_is_said_and_does_not_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_x11()
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":9999")
    with pytest.raises(SinkError, match=r"--show cannot open a window \(.+\); check DISPLAY"):
        WindowSink()


@pytest.fixture
def display() -> Iterator[str]:
    """A display without a screen."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    read, write = os.pipe()
    own = f":{10_000 + os.getpid() % 40_000}"  # a free number that Xvfb chooses can be taken by another in between
    command = ["Xvfb", own, "-displayfd", str(write), "-screen", "0", "320x240x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    process.terminate()
    process.wait()


_SHOW = """
import cv2
import numpy as np
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import open_sinks
from nasion.realtime.sources import SourceInfo

with open_sinks(show=True, info=SourceInfo("clip", 64, 48)) as sinks:
    for i in range(3):
        sinks.write(Frame(np.full((48, 64, 3), 90, np.uint8), i / 25, i), [])
        print(sinks.stopped)
    cv2.destroyAllWindows()
    sinks.write(Frame(np.full((48, 64, 3), 90, np.uint8), 1.0, 3), [])
print("end")
"""


def test_a_real_window_opens_and_closes(display: str) -> None:
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT / "src")}
    shown = subprocess.run([sys.executable, "-c", _SHOW], env=environment, capture_output=True, text=True, timeout=120)
    assert shown.stdout.split() == ["False", "False", "False", "end"], shown.stderr
