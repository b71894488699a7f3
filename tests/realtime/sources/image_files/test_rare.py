"""Image files of rare formats, of which Pillow lacks some."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.image_files.reading import read_image

ENCODERS = {
    ".dpx": ("dpx", "rgb24"),
    ".exr": ("exr", "gbrpf32le"),
    ".hdr": ("hdr", "gbrpf32le"),
    ".pam": ("pam", "rgb24"),
    ".pcx": ("pcx", "rgb24"),
    ".ras": ("sunrast", "bgr24"),
    ".sgi": ("sgi", "rgb24"),
}
IMAGE = np.zeros((48, 64, 3), np.uint8)
IMAGE[:24], IMAGE[24:, :32], IMAGE[24:, 32:] = (30, 60, 200), (200, 100, 10), (128, 255, 0)


def written(path: Path) -> Path:
    codec, pixels = ENCODERS[path.suffix]
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, pixels
    encoder.time_base = Fraction(1, 25)
    frame = VideoFrame.from_ndarray(IMAGE, format="bgr24").reformat(format=pixels)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    return path


@pytest.mark.parametrize("suffix", ENCODERS)
def test_a_rare_image_opens_alone_and_in_a_folder(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / f"a{suffix}")
    with open_source(path) as source:
        (alone,) = source
    with open_source(tmp_path) as source:
        (in_folder,) = source
    for image in (alone.image, in_folder.image, read_image(path)):
        assert image.shape == (48, 64, 3)
        assert np.abs(image.astype(int) - IMAGE).max() <= 2
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", ENCODERS)
def test_one_that_is_cut_is_refused_and_not_black(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SourceError, match=rf"a\{suffix}: the image cannot be decoded .* save it from there as PNG"):
        read_image(path)


def test_one_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the image has 64 x 48 pixels; allowed: 100 in total"):
        read_image(written(tmp_path / "a.dpx"), max_pixels=100)


def test_a_colour_pfm_that_is_cut_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.pfm").write_bytes(b"PF\n16 16\n-1.0\n" + bytes(500))
    with pytest.raises(SourceError, match="the file is truncated"):
        read_image(tmp_path / "cut.pfm")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("begin", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_refused_as_an_image(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "a.jxl").write_bytes(begin + bytes(50))
    with pytest.raises(SourceError, match="JPEG XL images are not read; save it as PNG"):
        open_source(tmp_path / "a.jxl")
