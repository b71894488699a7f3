"""Images in a video: their times, sizes and colours, faces drawn on them, and the finished file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from nasion.engines.errors import SinkError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.video import ImageSink, VideoSink
from nasion.realtime.values.arrays import Image

from ...support.media.plain_videos import info_of, plain, times_in, write

VIDEOS = (".mp4", ".mov", ".mkv")
TICK = {".mp4": 1 / 90_000, ".mov": 1 / 90_000, ".mkv": 1 / 1000}


def images_in(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", VIDEOS)
@pytest.mark.parametrize("start", [0.0, 7.3])
def test_a_variable_frame_rate_stays_one_and_starts_at_0(tmp_path: Path, suffix: str, start: float) -> None:
    gaps = np.random.default_rng(0).uniform(0.005, 0.3, 60)
    times = start + np.concatenate([[0.0], np.cumsum(gaps)])
    write(tmp_path / f"out{suffix}", times.tolist())
    got = times_in(tmp_path / f"out{suffix}")
    assert got == pytest.approx((times - start).tolist(), abs=0.51 * TICK[suffix])


@pytest.mark.parametrize("rate", [24, 30, 50, None])
def test_a_constant_frame_rate_stays_one(tmp_path: Path, rate: int | None) -> None:
    times = [index * 1001 / 30_000 for index in range(40)]
    write(tmp_path / "out.mp4", times, info=info_of(rate=rate))
    assert times_in(tmp_path / "out.mp4") == pytest.approx(times, abs=0.51 / 90_000)


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_video_of_one_frame_can_be_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"out{suffix}", [3.0])
    assert times_in(tmp_path / f"out{suffix}") == [0.0]


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (33, 31)])
def test_an_odd_size_grows_by_a_copy_of_its_edge(tmp_path: Path, width: int, height: int) -> None:
    ramp = np.tile(np.linspace(40, 200, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(ramp, 0.0, 0), [])
    (image,) = images_in(tmp_path / "out.mp4")
    assert image.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(image[:height, :width].astype(int) - ramp).max() <= 12
    assert np.abs(image[:height, -1].astype(int) - ramp[:, -1]).max() <= 12


def test_a_frame_of_another_size_is_fitted_with_black_bars(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(plain(150), 0.0, 0), [])
        sink.write(Frame(plain(150, width=120, height=30), 0.04, 1), [])
        sink.write(Frame(plain(150, width=12, height=24), 0.08, 2), [])
    first, wide, tall = (image.astype(int) for image in images_in(tmp_path / "out.mp4"))
    assert first.shape == wide.shape == tall.shape == (48, 64, 3)
    assert np.abs(first - 150).max() < 12
    assert wide[:12].max() < 20
    assert wide[-12:].max() < 20
    assert np.abs(wide[20:28, 2:-2] - 150).max() < 12
    assert tall[:, :16].max() < 20
    assert tall[:, -16:].max() < 20
    assert np.abs(tall[2:-2, 26:38] - 150).max() < 12


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1280, 720)])
@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 200, 40), (40, 40, 200), (235, 235, 235)])
def test_colours_are_kept(tmp_path: Path, width: int, height: int, colour: tuple[int, int, int]) -> None:
    image = np.full((height, width, 3), colour, np.uint8)
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(image, 0.0, 0), [])
    (got,) = images_in(tmp_path / "out.mp4")
    assert np.abs(got[height // 2, width // 2].astype(int) - colour).max() <= 4


def test_faces_are_drawn_where_they_are(tmp_path: Path) -> None:
    points = np.array([[60, 50], [100, 50], [80, 90]], np.float32)
    face = Face(1, np.array([60, 50, 100, 90], np.float32), 0.9, points, np.ones(3, np.float32))
    for name in ("out.mp4", "out.png", "out.jpg"):
        path = tmp_path / name
        with VideoSink(path, info_of()) if name == "out.mp4" else ImageSink(path) as sink:
            sink.write(Frame(plain(120, 160, 120), 0.0, 0), [face])
        image = images_in(path)[0] if name == "out.mp4" else cv2.imread(str(path))
        assert image is not None
        assert (np.abs(image[[50, 50, 90], [60, 100, 80]].astype(int) - 120).max(axis=1) > 40).all()
        assert np.abs(image[100:, 110:].astype(int) - 120).max() < 10


def test_the_finished_mp4_is_an_ordinary_one(tmp_path: Path) -> None:
    if av.library_versions["libavformat"] < (62, 12, 0):
        pytest.skip("FFmpeg before 8.1 cannot turn fragments into an ordinary file")
    write(tmp_path / "out.mp4", [index / 25 for index in range(100)])
    data = (tmp_path / "out.mp4").read_bytes()
    assert b"moov" in data
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.frames == 100  # the index lists them all: not left to fragments
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert container.duration == pytest.approx(4_000_000, abs=100)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"has suffix '\.avi'; allowed: \.mp4, \.mov, \.mkv"):
        VideoSink(tmp_path / "out.avi", info_of())


def test_a_pyav_without_h264_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(SinkError, match=r"needs H\.264, which this PyAV lacks"):
        VideoSink(tmp_path / "out.mp4", info_of())


@pytest.mark.parametrize(("width", "height"), [(17_000, 9_000), (64, 16_386)])
def test_images_too_large_for_h264_are_refused_with_their_size(tmp_path: Path, width: int, height: int) -> None:
    info = replace(info_of(), width=width, height=height)
    with pytest.raises(SinkError, match=rf"the images of clip are {width} x {height} pixels; allowed: 16,384 on each"):
        VideoSink(tmp_path / "out.mp4", info)
    assert list(tmp_path.iterdir()) == []


def test_an_image_too_large_for_jpeg_is_refused(tmp_path: Path) -> None:
    wide = Frame(np.zeros((1, 65_501, 3), np.uint8), 0.0, 0)
    with ImageSink(tmp_path / "out.jpg") as sink, pytest.raises(SinkError, match=r"65501 x 1 pixels; allowed in JPEG"):
        sink.write(wide, [])
    with ImageSink(tmp_path / "out.png") as sink:
        sink.write(wide, [])
    assert (tmp_path / "out.png").stat().st_size > 0
