"""Parts of videos, from a start to an end: the same frames, times and numbers as in the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.packets.timestamps import MediaClock

from ...support.media.frames import numbers, read, times
from ...support.media.media_samples import cut_off, write_video


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("long")
    made: dict[str, Path] = {}

    def make(suffix: str) -> Path:
        if suffix not in made:
            options = {"g": "15", "keyint_min": "15", "sc_threshold": "0"}
            made[suffix] = write_video(folder / f"long.{suffix}", frames=120, codec_options=options)
        return made[suffix]

    return make


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "h264"])
@pytest.mark.parametrize("start", [0.0, 0.04, 0.6, 1.23, 2.4, 4.76])
def test_a_cut_gives_exactly_the_frames_of_a_whole_read(
    long_clips: Callable[[str], Path], suffix: str, start: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = long_clips(suffix)
    whole = [frame for frame in read(path) if start <= frame.time < start + 0.5]
    part = read(path, start=start, end=start + 0.5)
    assert times(part) == times(whole)
    assert numbers(part) == numbers(whole)
    assert [frame.index for frame in part] == [frame.index for frame in whole]
    assert "damaged" not in caplog.text  # a seek between key frames is not damage


def test_a_cut_is_found_by_seeking_not_by_decoding_all(
    long_clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    stamp = MediaClock.stamp
    monkeypatch.setattr(MediaClock, "stamp", lambda self, *stamps: decoded.append(stamps) or stamp(self, *stamps))
    with open_source(long_clips("mp4"), start=4.0) as source:
        assert next(iter(source)).time == pytest.approx(4.0)
    assert len(decoded) < 40


def test_the_account_of_a_cut_is_that_of_the_part(long_clips: Callable[[str], Path]) -> None:
    with open_source(long_clips("mp4")) as source:
        assert (source.info.frames, source.info.duration, source.info.rate) == (120, 4.8, 25)
        assert source.info.files == (long_clips("mp4"),)
        assert not source.info.live
    with open_source(long_clips("mp4"), start=1, end=3) as source:
        assert (source.info.frames, source.info.duration) == (50, 2.0)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_a_start_beyond_the_end_says_how_long_the_video_is(long_clips: Callable[[str], Path], suffix: str) -> None:
    with pytest.raises(SourceError, match=r"start is 99 s, but it lasts 4\.8. s; give an earlier start"):
        open_source(long_clips(suffix), start=99)


def test_a_cut_between_two_frames_is_refused(long_clips: Callable[[str], Path]) -> None:
    with pytest.raises(SourceError, match=r"no frame lies between 1\.01 s and 1\.03 s; widen the time range"):
        open_source(long_clips("mp4"), start=1.01, end=1.03)


def test_a_cut_that_ends_before_the_damage_reads_without_complaint(tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "cut.mkv", frames=100), 0.7)
    assert len(read(path, end=0.4)) == 10
