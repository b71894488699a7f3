"""Image files that are refused, and the names of files that are read."""

from __future__ import annotations

import io
import logging
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.image_files.reading import IMAGE_SUFFIXES, read_image

from ....support.media.image_samples import RED, corners, heif, save
from ....support.media.media_samples import number_of, write_video

__all__ = ["heif"]  # a fixture


def test_a_tiff_of_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.new("RGB", (16, 16), RED), compression="raw")
    entry = struct.pack("<HHI", 259, 3, 1)
    data = bytearray(path.read_bytes())
    place = data.index(entry) + len(entry)
    for compression in (12345, 34712, 50000):
        data[place : place + 2] = struct.pack("<H", compression)
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"a\.tif: .*as PNG"):
            read_image(path)


@pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "tiff_deflate", "jpeg"])
def test_a_tiff_with_damaged_data_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], compression: str
) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8))
    path = save(tmp_path / "a.tif", image.convert("1") if compression == "group4" else image, compression=compression)
    data = bytearray(path.read_bytes())
    damage = b"\xff\xd8" if compression == "jpeg" else random.integers(0, 256, 200, np.uint8).tobytes()
    data[200 : 200 + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tif: the .*as PNG"):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "avif", "heic", "jp2", "tga", "ppm"])
def test_an_image_that_is_cut_is_refused(tmp_path: Path, heif: None, suffix: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = save(tmp_path / f"whole.{suffix}", image).read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(
        SourceError, match=rf"cut\.{suffix}: .*; if another program opens it, save it from there as PNG"
    ):
        read_image(tmp_path / f"cut.{suffix}")


def test_a_small_file_that_claims_a_huge_image_is_refused(tmp_path: Path) -> None:
    stored = io.BytesIO()
    Image.new("RGB", (16, 16), RED).save(stored, "JPEG")
    data = bytearray(stored.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 30_000, 30_000)
    (tmp_path / "bomb.jpg").write_bytes(data)
    with pytest.raises(SourceError, match=r"has 9,?0{8} pixels|has 900000000 pixels|30000 x 30000"):
        open_source(tmp_path / "bomb.jpg")


def test_the_limit_of_pixels_can_be_set(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (20, 10), RED))
    (tmp_path / "a.pfm").write_bytes(b"PF\n20 10\n-1.0\n" + bytes(20 * 10 * 12))
    for each in (path, tmp_path / "a.pfm"):
        with pytest.raises(SourceError, match=r"the image has 20 x 10 pixels; allowed: 199 in total; .*--max-pixels"):
            open_source(each, max_pixels=199)
        open_source(each, max_pixels=200).close()
    with pytest.raises(SourceError, match=r"max_pixels is 0; it must be a whole number from 1"):
        open_source(path, max_pixels=0)


def test_heic_without_its_library_names_the_extra(tmp_path: Path, heif: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.heic", corners())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        SourceError, match=r"a\.heic: HEIC images need pillow-heif; install the extra heif: pip install"
    ):
        open_source(path)


def test_names_are_printed_without_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b[31m.png").write_bytes(b"nothing")
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "a\n\x1b[31m.png")
    assert "a\\n\\x1b[31m.png: the file is damaged or not an image" in str(caught.value)
    save(tmp_path / "b\n.png", corners())
    with open_source(tmp_path / "b\n.png") as source:
        assert source.info.name.endswith("b\\n.png")


# --- folders and names


def test_a_folder_takes_every_kind_that_opens_alone(
    tmp_path: Path, heif: None, caplog: pytest.LogCaptureFixture
) -> None:
    suffixes = [
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".ico",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpg",
        ".mpo",
        ".png",
        ".ppm",
        ".tga",
    ]
    suffixes += [".tif", ".webp"]
    assert set(suffixes) <= set(IMAGE_SUFFIXES)
    for suffix in suffixes:
        save(tmp_path / f"a{suffix}", Image.new("RGB", (16, 16), RED), "JPEG" if suffix in (".jfif", ".jpe") else None)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n16 16\n-1.0\n" + bytes(16 * 16 * 4))
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        assert len(list(source)) == len(suffixes) + 1
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", ["jp2", "png", "jpg", "tga"])
def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"s1.{suffix}", Image.new("RGB", (16, 16), "blue"))
    path = save(tmp_path / f"s%d.{suffix}", Image.new("RGB", (16, 16), "white"))
    with open_source(path) as source:
        (frame,) = source
    assert frame.image.min() > 250


@pytest.mark.parametrize("suffix", ["mjpeg", "heic"])
def test_a_sequence_that_begins_like_an_image_is_a_video(tmp_path: Path, suffix: str) -> None:
    codec, pixels = ("mjpeg", "yuvj420p") if suffix == "mjpeg" else ("libx265", "yuv420p")
    path = write_video(tmp_path / "a.mp4", frames=5, codec=codec, pix_fmt=pixels)
    if suffix == "heic":
        data = path.read_bytes()
        (tmp_path / "a.heic").write_bytes(data[:8] + b"hevcheic" + data[16:])
    else:
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        (tmp_path / "a.mjpeg").write_bytes(b"".join(packets))
    with open_source(tmp_path / f"a.{suffix}") as source:
        assert [number_of(frame.image) for frame in source] == list(range(5))


def test_a_name_that_looks_like_a_pattern_is_a_name_for_ffmpeg_too(tmp_path: Path) -> None:
    for name, grey in (("s1.dpx", 20), ("s%d.dpx", 200)):
        encoder = av.CodecContext.create("dpx", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "rgb24", Fraction(1, 25)
        frame = VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
        (tmp_path / name).write_bytes(b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)])))
    with open_source(tmp_path / "s%d.dpx") as source:
        (shown,) = source
    assert (shown.image == 200).all()
