"""Blinks: falls of the eye opening that are short and deep enough, with their start and end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.faces.measured import EyeOpening
from nasion.realtime.measures.blinks import Blink, BlinkDetector, blinks

from .test_openings import IBUG_68, drawn

RATE = 30.0
SHUT = (0.2, 0.12, 0.1, 0.12, 0.2)  # openings of a blink, frame by frame; eyes are usually open by 0.3


def a_face(opening: float, number: int = 1) -> Face:
    points = drawn(IBUG_68, left_eye=0.3, right_eye=0.3, mouth=0.1)
    return Face(number, np.zeros(4, np.float32), 1.0, points, np.ones(68), eye_opening=EyeOpening(opening, opening))


def found_in(openings: Sequence[float | None], rate: float = RATE) -> list[Blink]:
    """Return the blinks of a face; None: it is not there."""
    detector, found = BlinkDetector(), []
    for index, opening in enumerate(openings):
        found += detector.update(index / rate, [] if opening is None else [a_face(opening)])
    return found


@pytest.mark.parametrize("usual", [0.2, 0.3, 0.45])
def test_a_blink_has_start_and_end(usual: float) -> None:
    openings = [usual] * 30 + [usual / 0.3 * value for value in SHUT] + [usual] * 10
    (blink,) = found_in(openings)
    assert blink.id == 1
    assert blink.start == pytest.approx(29 / RATE)  # the last frame with open eyes
    assert blink.end == pytest.approx(35 / RATE)
    assert blink.duration == pytest.approx(6 / RATE)
    assert blink.depth == pytest.approx(1 / 3)


def test_each_blink_is_found_once() -> None:
    assert len(found_in(([0.3] * 40 + list(SHUT)) * 5 + [0.3] * 5)) == 5


@pytest.mark.parametrize(
    "openings",
    [
        [0.3] * 30 + [0.1] * 40 + [0.3] * 40,  # eyes that stay closed
        [*np.linspace(0.3, 0.12, 90), *[0.12] * 60],  # the face looks down, slowly
        [0.3, 0.27] * 60,  # noise
        [0.3] * 30 + [0.24] * 5 + [0.3] * 30,  # not deep enough
        [0.3] * 30 + [0.1, 0.1] + [None] * 30 + [0.3] * 30,  # the face is lost in between
        [0.1, 0.1] + [0.3] * 30,  # what is usual is not yet known
    ],
)
def test_what_is_not_a_blink(openings: list[float | None]) -> None:
    assert found_in(openings) == []


def test_blinks_are_found_at_any_frame_rate() -> None:
    for rate in (15.0, 25.0, 60.0, 120.0):
        times = np.arange(0, 4, 1 / rate)
        dip = np.clip(1 - np.abs(times - 2) / 0.12, 0, 1)
        assert len(found_in((0.3 - 0.2 * dip).tolist(), rate)) == 1


def test_faces_blink_independently() -> None:
    def openings(number: int) -> list[float]:
        before = 30 + 10 * number
        return [0.3] * before + list(SHUT) + [0.3] * (60 - before)

    tracked = [
        (Frame(np.zeros((2, 2, 3), np.uint8), index / RATE, index), [a_face(a, 1), a_face(b, 2)])
        for index, (a, b) in enumerate(zip(openings(1), openings(2), strict=True))
    ]
    assert [(blink.id, round(blink.start * RATE)) for blink in blinks(tracked)] == [(1, 39), (2, 49)]


def test_openings_come_from_the_landmarks_if_they_were_not_measured() -> None:
    detector, found = BlinkDetector(), []
    for index, opening in enumerate([0.3] * 30 + list(SHUT) + [0.3] * 5):
        points = drawn(IBUG_68, left_eye=opening, right_eye=opening)
        found += detector.update(index / RATE, [Face(4, np.zeros(4), 1.0, points, np.ones(68))])
    assert [blink.id for blink in found] == [4]


def test_landmarks_of_an_unknown_scheme_are_refused() -> None:
    face = Face(3, np.zeros(4), 1.0, np.zeros((5, 2), np.float32), np.ones(5))
    with pytest.raises(NasionError, match=r"eyes of face 3 were not measured.*measures=\('eyes',\)"):
        BlinkDetector().update(0.0, [face])
