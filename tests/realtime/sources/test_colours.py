"""Colours of video: read exactly, whatever their matrix and range, and written as they were read."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import SourceInfo, open_source

# Weights of red and blue in luma, by the number of the matrix in ITU-T H.273.
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
# Luma and chroma of limited range: black, greys, white, and colours within the range of RGB.
COLOURS = [(16, 128, 128), (126, 128, 128), (235, 128, 128), (90, 100, 170), (140, 150, 110), (110, 120, 140)]
BAND = 16  # rows of each colour
MAPS_HDR = int(av.__version__.split(".")[0]) >= 18


def rgb(colour: Sequence[float], matrix: int, *, full: bool = False) -> Any:
    """Red, green and blue of luma and chroma, not rounded (ITU-R BT.601, 709 and 2020)."""
    red, blue = LUMA[matrix]
    scale, offset, chroma = (1, 0, 1) if full else (255 / 219, 16, 255 / 224)
    y, u, v = scale * (colour[0] - offset), chroma * (colour[1] - 128), chroma * (colour[2] - 128)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.clip([r, (y - red * r - blue * b) / (1 - red - blue), b], 0, 255)


def bands(path: Path, *, size: tuple[int, int] = (64, 96), format: str = "yuv420p", **tags: int) -> Path:
    """Write a lossless video with a band of each colour."""
    deep = 4 if "10" in format else 1
    with av.open(str(path), "w") as container:
        codec, options = ("libx264", {"qp": "0"}) if path.suffix == ".mp4" else ("ffv1", {})
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, format
        frame = VideoFrame(*size, format)
        for index, plane in enumerate(frame.planes):
            rows = np.frombuffer(plane, np.uint16 if deep > 1 else np.uint8).reshape(plane.height, -1)
            if index == 3:
                rows[:] = 0
                continue
            high = plane.height * BAND // size[1]
            for place, colour in enumerate(COLOURS):
                rows[place * high : (place + 1) * high] = colour[index] * deep
        for name, value in tags.items():
            setattr(frame, name, value)
            setattr(stream.codec_context, name, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def images_of(path: Path) -> list[Any]:
    with open_source(path) as source:
        return [frame.image for frame in source]


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("matrix", sorted(LUMA))
def test_colours_are_read_exactly(tmp_path: Path, format: str, matrix: int, full: bool) -> None:
    tags = {"colorspace": matrix, "color_range": 2 if full else 1}
    (image,) = images_of(bands(tmp_path / "a.mkv", format=format, **tags))
    for place, colour in enumerate(COLOURS):
        shown = image[place * BAND + 4 : (place + 1) * BAND - 4, :, ::-1]
        assert np.abs(shown - rgb(colour, matrix, full=full)).max() <= 0.6


@pytest.mark.parametrize(("size", "matrix"), [((720, 576), 5), ((64, 96), 5), ((1280, 96), 1), ((64, 720), 1)])
def test_untagged_colours_are_those_of_hd_or_below(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    (image,) = images_of(bands(tmp_path / "a.mkv", size=size))
    for place, colour in enumerate(COLOURS):
        assert np.abs(image[place * BAND + 8, 8, ::-1] - rgb(colour, matrix)).max() <= 0.6


def test_a_matrix_that_cannot_be_converted_is_refused_in_one_line(tmp_path: Path) -> None:
    for matrix in (8, 10):
        path = bands(tmp_path / f"{matrix}.mkv", colorspace=matrix)
        with pytest.raises(SourceError, match=rf"{matrix}\.mkv: colour matrix {matrix} of the video .* cannot be conv"):
            open_source(path)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [None, *sorted(LUMA)])
@pytest.mark.parametrize("size", [(64, 96), (1280, 96)])
def test_a_written_video_has_the_colours_of_its_source(
    tmp_path: Path, matrix: int | None, size: tuple[int, int], full: bool
) -> None:
    tags = {} if matrix is None else {"colorspace": matrix, "color_range": 2 if full else 1}
    if matrix == 9:
        tags |= {"color_primaries": 9, "color_trc": 14}
    path = bands(tmp_path / "in.mkv", size=size, **tags)
    with open_source(path) as source, VideoSink(tmp_path / "out.mp4", source.info, crf=0) as sink:
        for frame in source:
            sink.write(frame, [])
    usual = 1 if size[0] >= 1280 else 5
    with av.open(str(tmp_path / "out.mp4")) as container:
        (shown,) = container.decode(video=0)
        written = 9 if matrix == 9 else usual
        assert (shown.colorspace, shown.color_range) == (written, 1)
        assert (shown.color_primaries, shown.color_trc) == {9: (9, 14), 1: (1, 1), 5: (5, 6)}[written]
        planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in shown.planes]
    for place, colour in enumerate(COLOURS):
        row = place * BAND + BAND // 2
        got = rgb([int(plane[row // part, 16 // part]) for plane, part in zip(planes, (1, 2, 2), strict=True)], written)
        assert np.abs(got - rgb(colour, matrix or usual, full=full and matrix is not None)).max() <= 2


@pytest.mark.parametrize(("value", "luma"), [(0, 16), (128, 126), (255, 235)])
def test_grey_is_written_without_tint(tmp_path: Path, value: int, luma: int) -> None:
    with VideoSink(tmp_path / "out.mp4", SourceInfo("grey", 64, 48)) as sink:
        for index in range(5):
            sink.write(Frame(np.full((48, 64, 3), value, np.uint8), index / 25, index), [])
    with av.open(str(tmp_path / "out.mp4")) as container:
        for shown in container.decode(video=0):
            planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in shown.planes]
            for plane, expected, width in zip(planes, (luma, 128, 128), (64, 32, 32), strict=True):
                assert (plane[:, :width] == expected).all()
    assert {tuple(image[0, 0].tolist()) for image in images_of(tmp_path / "out.mp4")} == {(value,) * 3}


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)], ids=["PQ", "HLG"])
def test_hdr_is_mapped(tmp_path: Path, transfer: int, white: float, caplog: pytest.LogCaptureFixture) -> None:
    """Diffuse white (ITU-R BT.2408: 58 % of PQ and 75 % of HLG) becomes white."""
    size, format = (64, 64), "yuv420p10le"
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, format
        frame = VideoFrame(*size, format)
        for plane, value in zip(frame.planes, (round(64 + 876 * white), 512, 512), strict=True):
            np.frombuffer(plane, np.uint16)[:] = value
        for name, value in {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}.items():
            setattr(frame, name, value)
            setattr(stream.codec_context, name, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_source(tmp_path / "a.mkv") as source:
        (shown,) = source
        assert source.info.wide_gamut != MAPS_HDR
    if MAPS_HDR:
        assert shown.image.min() >= 245
    else:
        assert "is HDR" in caplog.text
        assert np.abs(shown.image - 255 * white).max() <= 1


def test_transparent_video_is_shown_over_white(tmp_path: Path) -> None:
    (image,) = images_of(bands(tmp_path / "a.mkv", format="yuva420p"))
    assert (image == 255).all()


@pytest.mark.parametrize(("full", "expected"), [(False, [0, 128, 255]), (True, [16, 126, 235])])
@pytest.mark.parametrize("format", ["gray", "gray10le"])
def test_grey_of_either_range(tmp_path: Path, format: str, full: bool, expected: list[int]) -> None:
    (image,) = images_of(bands(tmp_path / "a.mkv", format=format, color_range=2 if full else 1))
    assert [image[BAND * place + 8, 8].tolist() for place in range(3)] == [[value] * 3 for value in expected]


# --- shape and size


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, degrees: int, suffix: str) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        if degrees:
            stream.set_display_rotation(degrees)
        container.mux(stream.encode(VideoFrame.from_ndarray(np.full((96, 160, 3), 90, np.uint8), format="bgr24")))
        container.mux(stream.encode(None))
    turned = degrees == 90
    with open_source(tmp_path / "in.mp4") as source, VideoSink(tmp_path / f"out.{suffix}", source.info) as sink:
        assert source.info.pixel_aspect == (Fraction(45, 64) if turned else Fraction(64, 45))
        for frame in source:
            assert frame.image.shape == ((160, 96, 3) if turned else (96, 160, 3))
            sink.write(frame, [])
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        ratio = container.streams.video[0].sample_aspect_ratio
        assert ratio is not None
        assert Fraction(ratio.numerator, ratio.denominator) == (Fraction(45, 64) if turned else Fraction(64, 45))


def test_square_pixels_are_the_usual_ones(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for path in (bands(tmp_path / "a.mp4"), tmp_path / "a.png"):
        with open_source(path) as source:
            assert source.info.pixel_aspect == 1
            assert not source.info.wide_gamut
