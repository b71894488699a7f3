from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.realtime.sources.packets.timestamps import MediaClock, Timeline

STAMPS = st.lists(st.none() | st.integers(-(10**9), 10**9), max_size=60)


def clock() -> MediaClock:
    return MediaClock(Fraction(1, 25), Fraction(1, 1000))


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


@pytest.mark.parametrize("per_tick", [2, 3, 5])
def test_more_than_1000_frames_a_second_do_not_drift_in_a_clock_of_milliseconds(per_tick: int) -> None:
    stamps = [index // per_tick for index in range(3000)]
    stamped = times(list(stamps))
    assert all(a < b for a, b in pairwise(stamped))
    assert stamped == pytest.approx([stamp / 1000 for stamp in stamps], abs=0.006)  # while it adapts
    assert stamped[-1] == pytest.approx(stamps[-1] / 1000, abs=0.001)


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


# --- one clock for all packets


@dataclass
class Packet:
    pts: int | None
    dts: int | None
    duration: int = 40
    time_base: Fraction = Fraction(1, 1000)
    is_sound: bool = False


def video(pts: int | None, dts: int | None = None) -> Packet:
    return Packet(pts, pts if dts is None else dts)


def sound(pts: int) -> Packet:
    return Packet(pts, pts, 20, is_sound=True)


def repaired(packets: list[Packet], *, leaps: bool = True) -> tuple[list[int | None], list[int | None]]:
    """Return the presentation times of the video and of the sound, in milliseconds."""
    timeline = Timeline(Fraction(1, 25), Fraction(1, 1000), leap=10 if leaps else None)
    done: list[Packet] = []
    for packet in packets:
        done += timeline.sound(packet) if packet.is_sound else timeline.video(packet)
    done += timeline.rest()
    return [each.pts for each in done if not each.is_sound], [each.pts for each in done if each.is_sound]


def test_a_clock_that_goes_on_is_left_alone() -> None:
    stamps = [5000, 5040, 5040, 5000, 5200, 9000]
    assert repaired([video(stamp) for stamp in stamps])[0] == stamps


@pytest.mark.parametrize("second", [0, 100_000, 30_000_000])
def test_another_clock_begins_one_step_after_the_last_image(second: int) -> None:
    packets = [video(9000), video(9040), video(second), video(second + 40)]
    assert repaired(packets)[0] == [9000, 9040, 9080, 9120]


def test_images_that_are_reordered_begin_with_the_one_that_is_shown_first() -> None:
    first = [video(9080, 9000), video(9200, 9040), video(9120, 9080), video(9160, 9120)]
    second = [video(120, 0), video(80, 40), video(160, 80), video(200, 120)]  # the second one is shown first
    assert repaired(first + second)[0] == [9080, 9200, 9120, 9160, 9280, 9240, 9320, 9360]


def test_a_leap_ahead_is_a_long_image_where_clocks_do_not_restart() -> None:
    assert repaired([video(0), video(100_000)], leaps=False)[0] == [0, 100_000]


@pytest.mark.parametrize("early", [0, 1, 2, 3, 6])
def test_sound_follows_the_clock_of_the_video_wherever_its_packets_are(early: int) -> None:
    """The sound of the second clock begins ``early`` packets before its video, or three after it."""
    first = [packet for stamp in range(9000, 10_000, 40) for packet in (video(stamp), sound(stamp), sound(stamp + 20))]
    frames = [video(stamp) for stamp in range(0, 2000, 40)]
    sounds = [sound(stamp) for stamp in range(0, 2000, 20)]
    second: list[Packet] = [*frames[:3], *sounds[:1]] if not early else sounds[:early]
    rest = frames[3 if not early else 0 :], sounds[early or 1 :]
    for index, frame in enumerate(rest[0]):
        second += [frame, *rest[1][2 * index : 2 * index + 2]]
    second += rest[1][2 * len(rest[0]) :]
    seen, heard = repaired(first + second)
    assert seen == list(range(9000, 12_000, 40))
    assert heard == list(range(9000, 12_000, 20))


def test_a_gap_in_the_sound_alone_is_kept() -> None:
    packets = []
    for stamp in range(0, 10_000, 40):
        packets.append(video(stamp))
        if not 3000 <= stamp < 6000:
            packets += [sound(stamp), sound(stamp + 20)]
    seen, heard = repaired(packets)
    assert seen == list(range(0, 10_000, 40))
    assert heard == [*range(0, 3000, 20), *range(6000, 10_000, 20)]


@given(st.lists(st.tuples(st.booleans(), STAMPS.map(lambda stamps: stamps[0] if stamps else None)), max_size=80))
def test_no_packet_is_lost(stamps: list[tuple[bool, int | None]]) -> None:
    packets = [Packet(stamp, stamp, is_sound=is_sound) for is_sound, stamp in stamps]
    seen, heard = repaired(packets)
    assert len(heard) == sum(is_sound for is_sound, _ in stamps)
    assert len(seen) == len(stamps) - len(heard)
