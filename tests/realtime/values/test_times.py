"""Frames of a user's own loop: values that are allowed, and the tracker on unusable times."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.pipeline import Pipeline
from nasion.realtime.sources import SourceInfo

from ...support.fakes.disc_stories import make
from ...support.fakes.networks import RED, Disc, draw, frame

IMAGE = np.zeros((4, 6, 3), np.uint8)
EPOCH = 1_760_000_000.25
COUNT = 30
STEADY = [i / 30 for i in range(COUNT)]

# --- values


@pytest.mark.parametrize(
    "kind", [float, np.float64, np.float32, np.float16, int, np.int64, np.uint8, np.int8, Fraction, np.array]
)
def test_a_time_of_any_kind_of_number_is_kept_as_a_float(kind):
    made = Frame(IMAGE, kind(2), 0)
    assert type(made.time) is float
    assert made.time == 2


@pytest.mark.parametrize("time", [0.0, -1e6, 1e10, 1e-9])
def test_a_time_may_be_of_any_clock(time):
    assert Frame(IMAGE, time, 0).time == time


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (None, r"time of a frame is None \(NoneType\); give seconds as a float, such as .* where that is None"),
        ("0.1", r"time of a frame is '0\.1' \(str\); give seconds as a float"),
        (True, r"time of a frame is True \(bool\); give seconds as a float"),
        (np.bool_(False), "time of a frame is .*False"),
        (float("nan"), r"time of a frame is nan \(float\); give seconds"),
        (float("inf"), r"time of a frame is inf \(float\); give seconds"),
        (np.float32("-inf"), "time of a frame is .*-inf"),
        (1j, "time of a frame is 1j"),
        ([0.1], r"time of a frame is \[0\.1\] \(list\)"),
        (np.array([0.1]), r"time of a frame is array\(\[0\.1\]\) \(ndarray\)"),
        (10**400, "time of a frame is 1000"),
        (1e300, r"time of a frame is 1e\+300, which is over 3,000 years in seconds; .*divide milliseconds by 1e3"),
        (EPOCH * 1e3, r"is 1\.76e\+12, which is over 3,000 years"),
        (int(EPOCH * 1e9), r"is 1\.76e\+18, which is over 3,000 years"),
        (datetime(2026, 1, 1, tzinfo=UTC), r"datetime\); give seconds as a float: for a datetime, its timestamp\(\)"),
        (timedelta(seconds=1), r"timedelta\); .*for a timedelta, its total_seconds\(\)"),
        (np.datetime64("2026-01-01"), r"datetime64\); .*/ np\.timedelta64\(1, 's'\)"),
        (np.timedelta64(1, "s"), r"timedelta64\); .*/ np\.timedelta64\(1, 's'\)"),
    ],
    ids=str,
)
def test_what_cannot_be_a_time_in_seconds_is_refused_with_what_to_give(time, message):
    with pytest.raises(NasionError, match=message):
        Frame(IMAGE, time, 0)


@pytest.mark.parametrize("index", [3, np.int64(3), np.uint8(3)])
def test_an_index_is_kept_as_an_int(index):
    made = Frame(IMAGE, 0.0, index)
    assert type(made.index) is int
    assert made.index == 3


@pytest.mark.parametrize("index", [None, "1", 1.0, True, -1, np.bool_(True), np.timedelta64(1, "s"), np.array([1])])
def test_what_is_not_an_index_is_refused_with_what_to_give(index):
    with pytest.raises(NasionError, match=r"index of a frame is .*; give the number .* whole number from 0"):
        Frame(IMAGE, 0.0, index)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("x", "image of a frame is a str; give a numpy array"),
        ([[[0, 0, 0]]], "image of a frame is a list; give a numpy array"),
        (None, "image of a frame is a NoneType; .*returns None at the end of a video"),
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\); give BGR uint8 .*COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 1), np.uint8), r"shape \(4, 4, 1\); give BGR"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\); give BGR .*COLOR_BGRA2BGR"),
        (np.zeros((4, 4, 3), np.float32), "float32 of shape .*; give BGR uint8"),
        (np.zeros((4, 4, 3), np.int8), "int8 of shape .*; give BGR uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\); give BGR uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\); give BGR uint8"),
        (np.zeros((), np.uint8), r"shape \(\); give BGR uint8"),
    ],
)
def test_what_is_not_an_image_is_refused_with_what_to_give(image, message):
    with pytest.raises(NasionError, match=message):
        Frame(image, 0.0, 0)


# --- loops


def follow(times, **options):
    """Mean x of the landmarks in each frame of a face that walks three pixels a frame from x = 60."""
    tracker = make(**options)
    found = [tracker.update(Frame(draw(Disc(RED, 60 + 3 * i, 120)), time, i)) for i, time in enumerate(times)]
    return np.array([face.landmarks[:, 0].mean() for (face,) in found])


WRONG_CLOCKS = {
    "constant": [0.0] * COUNT,
    "going back": [-time for time in STEADY],
    "float32 since 1970": [np.float32(EPOCH + time) for time in STEADY],
    "float32 since 1970, as float": [float(np.float32(EPOCH + time)) for time in STEADY],
    "whole seconds": [int(time) for time in STEADY],
    "hours": [time / 3600 for time in STEADY],
    "milliseconds": [time * 1e3 for time in STEADY],
    "microseconds": [time * 1e6 for time in STEADY],
    "nanoseconds": [int(time * 1e9) for time in STEADY],
}


@pytest.mark.parametrize("name", WRONG_CLOCKS)
@pytest.mark.parametrize("strength", ["light", "strong"])
def test_landmarks_follow_the_face_whatever_the_clock_does(name, strength):
    raw = follow(STEADY, smooth="none")
    np.testing.assert_allclose(follow(WRONG_CLOCKS[name], smooth=strength), raw, atol=3)


@pytest.mark.parametrize("name", WRONG_CLOCKS)
def test_times_that_are_unlikely_to_be_seconds_are_reported_once(name, caplog):
    follow(WRONG_CLOCKS[name])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    if name.endswith("seconds") and name != "whole seconds":
        divisor = {"milliseconds": "1e3", "microseconds": "1e6", "nanoseconds": "1e9"}[name]
        assert f"If these are {name}, divide them by {divisor}" in message
    else:
        assert "does not advance as seconds do" in message
    assert "give seconds as a float, such as time.monotonic()" in message


@pytest.mark.parametrize(
    "times",
    [
        STEADY,
        [EPOCH + time for time in STEADY],
        [np.float32(time) for time in STEADY],
        [i / 1000 for i in range(COUNT)],
        [1.01 * i + 0.02 * (i % 3) for i in range(COUNT)],
        [-1e6 + time for time in STEADY],
        [time if i % 5 else max(time - 1 / 30, 0) for i, time in enumerate(STEADY)],
        [*STEADY[:10], *STEADY[:10], *STEADY[:10]],
    ],
    ids=[
        "30",
        "since 1970",
        "float32",
        "1000 a second",
        "about one a second",
        "negative",
        "a few repeat",
        "begins again",
    ],
)
def test_times_that_may_be_seconds_are_not_warned_of(times, caplog):
    follow(times)
    assert not caplog.records


@pytest.mark.parametrize("step", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("zero", [0.0, EPOCH])
def test_numbers_of_frames_as_times_are_reported_once(step, zero, caplog):
    follow([zero + step * i for i in range(COUNT)])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"advances by {step:g} s each; so landmarks are not smoothed" in record.getMessage()
    assert "If these are the numbers of frames, divide them by the frame rate" in record.getMessage()


def test_numbers_of_every_fifth_frame_as_times_are_reported_once(caplog):
    follow([5.0 * i for i in range(COUNT)])
    (record,) = caplog.records
    assert "if these are the numbers of frames, divide them by the frame rate" in record.getMessage()


def test_a_few_whole_seconds_are_not_warned_of(caplog):
    follow([*STEADY[:10], 2.0, 3.0, 5.0, *[5 + time for time in STEADY[1:17]]])
    assert not caplog.records


class Slides(list):
    """A source of frames that are already there."""

    info = SourceInfo("slides", 320, 240)

    def close(self):
        pass


def test_a_slideshow_in_a_pipeline_is_not_warned_of(caplog):
    slides = [Frame(draw(Disc(RED, 160, 120)), float(i), i) for i in range(COUNT)]
    with Pipeline(Slides(slides), make()) as pipeline:
        assert len(list(pipeline)) == COUNT
    assert not caplog.records


def test_images_that_are_videos_of_their_own_are_not_warned_of(caplog):
    tracker = make()
    for _ in range(COUNT):
        tracker.reset()
        tracker.update(frame(0, Disc(RED, 160, 120)))
    assert not caplog.records


def test_a_clock_that_stops_after_a_while_is_reported(caplog):
    follow([*STEADY, *[STEADY[-1]] * 20])
    assert "does not advance" in caplog.text


def test_times_of_any_zero_give_the_same_landmarks():
    for zero in (-64.0, 4096.0):
        np.testing.assert_allclose(follow([zero + time for time in STEADY]), follow(STEADY), atol=1e-3)


def test_a_face_out_of_sight_is_forgotten_where_the_clock_stands_still():
    tracker = make(keep=0.5)
    there, gone = Frame(draw(Disc(RED, 160, 120)), 0.0, 0), Frame(draw(), 0.0, 0)
    numbers = [[face.id for face in tracker.update(each)] for each in [there] * 3 + [gone] * 30 + [there] * 16]
    assert numbers[0] == [1]
    assert numbers[-1] == [2]
