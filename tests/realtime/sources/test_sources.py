"""One suite over every kind of source, and arguments that are not sources."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import Source, open_source

from ...support.media.media_samples import SIZE, number_of
from ...support.media.serving import PASSWORD
from ...support.media.source_samples import COUNT, FakeCapture, camera, comes_true, media, reading_threads, web

__all__ = ["camera", "media", "web"]  # fixtures

KINDS = ["file", "image", "folder", "pattern", "live pattern", "http", "camera"]
LIVE = {"live pattern", "camera"}
Opener = Callable[..., Source]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(kind: str, media: Path, web: str, camera: None) -> Opener:
    """Open the source of a kind, 20 frames long (one for an image; a camera ends after them)."""
    pattern = {"size": (64, 48), "fps": 100}
    return {
        "file": partial(open_source, media / "clip.mp4"),
        "image": partial(open_source, str(media / "images" / "frame0.png")),
        "folder": partial(open_source, media / "images"),
        "pattern": partial(open_source, "pattern:?seconds=0.2", **pattern),
        "live pattern": partial(open_source, "pattern:live?seconds=0.2", **pattern),
        "http": partial(open_source, f"{web}/clip.mp4"),
        "camera": partial(open_source, "0"),
    }[kind]


def take(source: Source, kind: str) -> list[Frame]:
    if kind == "camera":
        return [next(source) for _ in range(COUNT)]
    return list(source)


# --- every kind


def test_frames_come_numbered_with_increasing_times_as_bgr(opener: Opener, kind: str) -> None:
    with opener() as source:
        frames = take(source, kind)
    assert len(frames) == (1 if kind == "image" else COUNT)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert frames[0].time == 0.0
    assert all(a.time < b.time for a, b in pairwise(frames))
    for frame in frames:
        assert isinstance(frame.time, float)
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.flags.c_contiguous
    if "pattern" not in kind:
        assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))


def test_a_source_says_truly_what_it_is(opener: Opener, kind: str, media: Path, web: str) -> None:
    with opener() as source:
        info = source.info
    assert (info.width, info.height) == SIZE
    assert info.live == (kind in LIVE)
    assert isinstance(info.rate, Fraction)
    images = [media / "images" / f"frame{i}.png" for i in range(COUNT)]
    read = {"file": [media / "clip.mp4"], "image": images[:1], "folder": images}
    assert list(info.files) == read.get(kind, [])
    sound = {"file": media / "clip.mp4", "http": f"{web}/clip.mp4"}.get(kind)
    assert (info.sound and info.sound.location) == (sound and str(sound))
    if kind == "camera":
        assert (info.rate, info.frames, info.duration) == (30, None, None)
    else:
        assert info.frames == (1 if kind == "image" else COUNT)
        assert info.duration == pytest.approx(info.frames / info.rate)
    assert PASSWORD not in repr(info)


def test_closing_twice_is_fine_and_a_closed_source_has_ended(opener: Opener) -> None:
    source = opener()
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_a_source_can_be_closed_before_its_first_frame_is_taken(opener: Opener) -> None:
    source = opener()
    source.close()
    assert list(source) == []


def test_an_ended_source_stays_ended(opener: Opener, kind: str) -> None:
    with opener() as source:
        take(source, kind)
        if kind == "camera":
            with pytest.raises(SourceError, match="camera 0: it stopped sending images; check its cable"):
                next(source)
        assert list(source) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc, which is Linux's")
def test_leaving_early_leaves_no_thread_and_no_file_behind(opener: Opener, kind: str) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    opener().close()  # what is opened once for the whole process does not count
    gc.collect()
    comes_true(lambda: reading_threads() == 0)
    before = open_files()
    with opener() as source:
        next(source)
    assert comes_true(lambda: reading_threads() == 0)
    assert comes_true(lambda: open_files() <= before)
    assert FakeCapture.opened == 0


def test_a_cut_keeps_times_and_numbers(opener: Opener, kind: str) -> None:
    if kind in LIVE:
        with pytest.raises(SourceError, match=r"a live source has no position .* to start from; leave start out"):
            opener(start=0.1)
        return
    if kind == "image":
        with pytest.raises(SourceError, match=r"start is 0\.1 s, but it lasts 0\.04 s; give an earlier start"):
            opener(start=0.1)
        return
    with opener() as source:
        step = 1 / float(source.info.rate or 1)
        whole = list(source)
    with opener(start=5 * step - 1e-6, end=12 * step - 1e-6) as source:
        assert (source.info.frames, round(source.info.duration or 0, 3)) == (7, round(7 * step, 3))
        part = list(source)
    assert [frame.time for frame in part] == [frame.time for frame in whole[5:12]]
    assert [frame.index for frame in part] == list(range(5, 12))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[5:12], strict=True))


def test_an_end_stops_every_kind(opener: Opener, kind: str) -> None:
    with opener(end=0.021) as source:
        frames = list(source)
    assert frames[0].time == 0.0
    assert frames[-1].time < 0.021
    assert len(frames) < COUNT


def test_size_and_rate_are_taken_where_they_can_be(opener: Opener, kind: str) -> None:
    if "pattern" in kind or kind == "camera":
        with opener(size=(64, 48), fps=50) as source:
            assert next(iter(source)).image.shape == (48, 64, 3)
        return
    with pytest.raises(SourceError, match=r"size is \(64, 48\), but only a camera or pattern: takes it"):
        opener(size=(64, 48))
    with pytest.raises(SourceError, match=r"fps is 50, but only a camera or pattern: takes it; leave fps out"):
        opener(fps=50)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": -1}, r"start is -1; it must be a number of seconds, 0 or more"),
        ({"end": float("nan")}, r"end is nan; it must be a number of seconds"),
        ({"start": 2, "end": 2}, r"end is 2 s and start is 2 s; end must come after start"),
        ({"end": 0}, r"end is 0 s and start is 0 s; end must come after start"),
        ({"size": (0, 480)}, r"size is \(0, 480\); it must be \(width, height\) in pixels"),
        ({"fps": 0}, r"fps is 0; it must be a number of frames per second above 0"),
        ({"timeout": 0}, r"timeout is 0; it must be a number of seconds above 0"),
        ({"start": "1:30"}, r"start is '1:30'; it must be a number of seconds, 0 or more"),
        ({"size": "640x480"}, r"size is '640x480'; it must be \(width, height\) in pixels"),
        ({"size": ("640", "480")}, r"size is \('640', '480'\); it must be"),
        ({"fps": "fast"}, r"fps is 'fast'; it must be a number of frames per second above 0"),
        ({"timeout": None}, r"timeout is None; it must be a number of seconds above 0"),
        ({"timeout": 1e300}, r"timeout is 1e\+300; it must be .* above 0, at most 86400"),
        ({"start": 1e300}, r"start is 1e\+300 s; it must be at most 1000000000 s"),
        ({"end": 10**400}, r"end is 1000.*; it must be a number of seconds, 0 or more"),
        ({"start": True}, r"start is True; it must be a number of seconds"),
        ({"end": np.timedelta64(1, "s")}, r"end is .*timedelta64.*; it must be a number of seconds"),
        ({"fps": True}, r"fps is True; it must be a number of frames per second"),
        ({"timeout": True}, r"timeout is True; it must be a number of seconds above 0"),
        ({"size": (True, 64)}, r"size is \(True, 64\); it must be \(width, height\) in pixels"),
        ({"decode": None}, r"decode is None; allowed: auto, cpu, cuda"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(opener: Opener, wrong: dict[str, Any], message: str) -> None:
    arguments = {"size": (64, 48)} | wrong if "fps" in wrong else wrong
    with pytest.raises(SourceError, match=message):
        opener(**arguments)


# --- none


def test_what_does_not_exist_is_named_with_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'no-such\.mp4' does not exist; give a video file, an image, a folder"):
        open_source("no-such.mp4")
    with pytest.raises(SourceError, match="the source is empty; give a video file"):
        open_source("  ")
    with pytest.raises(SourceError, match=r"the folder has no image; allowed: \.jpg"):
        open_source(tmp_path)


@pytest.mark.parametrize("wrong", [None, 3.5, True, b"film.mp4", ["a.png"]])
def test_what_can_be_no_source_is_named_with_what_may_be_given(wrong: Any, camera: None) -> None:
    with pytest.raises(SourceError, match=r"the source is .*; give a video file, an image, a folder of images, a"):
        open_source(wrong)
    assert FakeCapture.opened == 0


def test_numbers_of_numpy_are_taken_as_those_of_python() -> None:
    size = [np.int32(64), np.uint16(48)]
    numpys = open_source("pattern:?seconds=1", start=np.float32(0.5), fps=np.float32(25), size=size)
    plain = open_source("pattern:?seconds=1", start=0.5, fps=25, size=(64, 48))
    with numpys, plain:
        assert numpys.info == plain.info
        assert [frame.time for frame in numpys] == [frame.time for frame in plain]
    with pytest.raises(SourceError, match="camera 9999 cannot be opened"):
        open_source(np.int64(9999))
