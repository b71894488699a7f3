"""Progress on a terminal and on a pipe."""

import io

from nasion.realtime.sources import SourceInfo
from nasion.tools import report


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_shows_rate_and_time_left():
    stream = Terminal()
    with report.progress(SourceInfo("clip.mp4", 64, 48, frames=10), stream) as bar:
        for _ in range(10):
            bar.advance()
    assert "clip.mp4" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "FPS" in stream.getvalue()


def test_progress_on_a_pipe_is_a_line_now_and_then(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(report, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with report.progress(SourceInfo("clip.mp4", 64, 48, frames=50), stream) as lines:
        for _ in range(25):
            lines.advance()
    assert stream.getvalue() == (
        "clip.mp4: 10 of 50 frames, 1.0 FPS, 40 s left\nclip.mp4: 20 of 50 frames, 1.0 FPS, 30 s left\n"
    )


def test_progress_without_a_known_length_leaves_the_time_out(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(report, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with report.progress(SourceInfo("camera 0", 64, 48, live=True), stream) as lines:
        for _ in range(10):
            lines.advance()
    assert stream.getvalue() == "camera 0: 10 frames, 1.0 FPS\n"
