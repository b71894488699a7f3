"""Progress on a terminal and on a pipe."""

import io
import itertools

import pytest

from nasion.tools.terminal import progress
from nasion.tools.terminal.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second each time that it is read."""
    seconds = itertools.count()
    monkeypatch.setattr(progress, "monotonic", lambda: float(next(seconds)))


def on_screen(stream):
    """The lines that a terminal shows: what follows a carriage return covers what stood there."""
    lines = []
    for line in stream.getvalue().split("\n"):
        shown = ""
        for text in line.split("\r"):
            shown = text + shown[len(text) :]
        lines.append(shown.rstrip())
    return lines


def test_on_a_terminal_one_line_is_updated_with_rate_and_time_left(clock):
    stream = Terminal()
    with Progress("clip.mp4", 10, "frames", stream=stream) as bar:
        for done in range(1, 11):
            bar.advance()
            if done == 4:
                assert on_screen(stream) == ["clip.mp4: 4 of 10 frames, 1.0 per second, 6 s left"]
    assert on_screen(stream) == ["clip.mp4: 10 of 10 frames, 1.0 per second, 0 s left", ""]


def test_the_last_state_is_shown_even_if_it_came_right_after_the_one_before(monkeypatch):
    monkeypatch.setattr(progress, "monotonic", lambda: 5.0)
    stream = Terminal()
    with Progress("clip.mp4", 3, stream=stream) as bar:
        for _ in range(3):
            bar.advance()
    assert stream.getvalue().count("\r") == 2, "the first and the last"
    assert on_screen(stream) == ["clip.mp4: 3 of 3", ""]


def test_on_a_pipe_there_is_a_line_now_and_then(clock):
    stream = io.StringIO()
    with Progress("clip.mp4", 50, "frames", stream=stream) as lines:
        for _ in range(25):
            lines.advance()
    assert stream.getvalue() == (
        "clip.mp4: 10 of 50 frames, 1.0 per second, 40 s left\nclip.mp4: 20 of 50 frames, 1.0 per second, 30 s left\n"
    )


def test_without_a_known_length_the_time_is_left_out(clock):
    stream = io.StringIO()
    with Progress("camera 0", None, "frames", stream=stream) as lines:
        for _ in range(10):
            lines.advance()
    assert stream.getvalue() == "camera 0: 10 frames, 1.0 per second\n"


def test_rate_and_time_left_are_those_of_the_phase_from_its_first_report(clock):
    stream = io.StringIO()
    with Progress(stream=stream) as lines:
        for done in range(1000, 1010):  # as of a run that is resumed
            lines("train", done, 1029)
        for done in range(1, 11):
            lines("export", done, 50, "last layers")
    assert stream.getvalue() == (
        "train: 1,009 of 1,029, 1.0 per second, 20 s left\nexport: 10 of 50, 1.0 per second, 40 s left, last layers\n"
    )


def test_a_message_stands_above_the_line_on_a_terminal_and_on_its_own_elsewhere(clock):
    for stream, expected in (
        (Terminal(), ["saved", "run: 2 of 9, 1.0 per second, 7 s left", ""]),
        (io.StringIO(), ["saved", ""]),
    ):
        with Progress(stream=stream) as shown:
            shown("run", 1, 9)
            shown("run", 2, 9)
            shown.print("saved")
        assert on_screen(stream) == expected


def test_a_long_line_is_cut_to_the_width_of_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    with Progress("a very long name of a clip that goes on.mp4", 10, stream=stream) as bar:
        bar.advance()
    assert on_screen(stream) == ["a very long name of a clip th", ""]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (720, "12 min"), (12_000, "3 h 20 min")])
def test_durations_are_short(seconds, text):
    assert progress._duration(seconds) == text
