from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nasion.realtime.sources.timestamps import Clock

STAMPS = st.lists(st.none() | st.integers(-(10**9), 10**9), max_size=60)


def clock() -> Clock:
    return Clock(Fraction(1, 25), Fraction(1, 1000))


def times(stamps: list[int | None]) -> list[float]:
    here = clock()
    return [here.stamp(stamp, None) for stamp in stamps]


def test_sound_timestamps_become_seconds_from_the_first() -> None:
    assert times([5000, 5040, 5080, 5500]) == [0.0, 0.04, 0.08, 0.5]


def test_a_repeated_timestamp_comes_a_millisecond_later_and_the_next_stays_true() -> None:
    assert times([0, 40, 40, 80]) == [0.0, 0.04, 0.041, 0.08]


def test_a_small_step_back_is_nudged_and_a_long_one_starts_another_clock() -> None:
    assert times([0, 200, 160, 240]) == [0.0, 0.2, 0.201, 0.24]
    assert times([9000, 9400, 0, 40]) == [0.0, 0.4, 0.44, 0.48]


def test_missing_timestamps_follow_at_the_average_rate() -> None:
    assert times([None, None, None]) == [0.0, 0.04, 0.08]
    assert times([None, 700, None, 800]) == [0.0, 0.04, 0.08, 0.14]


def test_decoding_times_are_taken_where_presentation_times_go_back_more_often() -> None:
    here = clock()
    pairs = [(40, 0), (160, 40), (80, 80), (120, 120), (200, 160), (160, 200), (280, 240)]
    stamped = [here.stamp(*pair) for pair in pairs]
    assert stamped[-2:] == [0.16, 0.2]  # 200 and 240 ms, from the first frame at 40
    assert all(a < b for a, b in pairwise(stamped))


def test_after_a_seek_times_count_from_the_same_origin() -> None:
    here = clock()
    assert [here.stamp(5000, 5000), here.stamp(9000, 9000)] == [0.0, 4.0]
    here.rewind()
    assert here.stamp(6000, 6000) == 1.0
    assert here.origin == 5


@given(STAMPS, STAMPS)
def test_whatever_the_timestamps_times_strictly_increase_from_zero(
    pts: list[int | None], dts: list[int | None]
) -> None:
    here = clock()
    stamped = [here.stamp(*pair) for pair in zip(pts, dts, strict=False)]
    assert stamped[:1] in ([], [0.0])
    assert all(a < b for a, b in pairwise(stamped))
