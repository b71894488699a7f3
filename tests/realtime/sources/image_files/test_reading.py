"""Orientation, shape and number of the images in image files of every kind."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.image_files.reading import read_image

from ....support.media.heif_boxes import box, clap_box, encoded, file_of, full_box, grid
from ....support.media.image_samples import RED, bgr, corners, differs, heif, one_colour, save
from ..test_side_data import exif

__all__ = ["heif"]  # a fixture

ORIENTED: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "jpe", "jfif", "mpo", "png", "webp", "tif", "avif"])
def test_an_image_is_turned_as_its_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"photo.{suffix}"
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"quality": 95} if suffix in ("jpg", "jpe", "jfif", "mpo", "webp", "avif") else {}
    save(path, corners(), "JPEG" if suffix in ("jpe", "jfif") else None, exif=tags, **options)
    assert not differs(path, ORIENTED[orientation](bgr(corners())), by=4)


@pytest.mark.parametrize("name", ["wrong.png", "wrong.mp4", "without"])
def test_the_suffix_of_an_image_may_be_wrong_or_missing(tmp_path: Path, name: str) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    save(tmp_path / name, corners(), "JPEG", exif=tags, quality=95)
    with open_source(tmp_path / name) as source:
        (frame,) = source
    assert np.abs(frame.image.astype(int) - ORIENTED[6](bgr(corners()))).mean() < 4


def test_exif_of_webp_may_begin_like_that_of_jpeg(tmp_path: Path) -> None:
    stored = io.BytesIO()
    corners().save(stored, "WEBP", lossless=True, exif=exif(6))
    data = stored.getvalue()
    place = data.index(b"EXIF")
    content = b"Exif\0\0" + exif(6)
    data = data[8:place] + b"EXIF" + struct.pack("<I", len(content)) + content
    (tmp_path / "photo.webp").write_bytes(b"RIFF" + struct.pack("<I", len(data)) + data)
    assert not differs(tmp_path / "photo.webp", ORIENTED[6](bgr(corners())))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_image_is_turned_as_its_xmp_says(tmp_path: Path, suffix: str) -> None:
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="8"/></rdf:RDF></x:xmpmeta>'
    )
    path = tmp_path / f"photo.{suffix}"
    if suffix == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp)
        save(path, corners(), pnginfo=text)
    elif suffix == "webp":
        save(path, corners(), lossless=True, xmp=xmp.encode())
    else:
        stored = io.BytesIO()
        corners().save(stored, "JPEG", quality=95)
        content = b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()
        segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        path.write_bytes(stored.getvalue()[:2] + segment + stored.getvalue()[2:])
    assert not differs(path, ORIENTED[8](bgr(corners())), by=4)


@pytest.mark.parametrize("exif_data", [b"MM\0*\0\0\0\x08\xff\xff", b"II*\0" + bytes(3), b"nothing of that kind"])
def test_damaged_exif_costs_no_image(tmp_path: Path, exif_data: bytes) -> None:
    for suffix in ("jpg", "png", "webp"):
        path = save(tmp_path / f"photo.{suffix}", corners(), exif=b"Exif\0\0" + exif_data, quality=95)
        assert not differs(path, bgr(corners()), by=5)


@pytest.mark.parametrize(
    ("boxes", "orientation"),
    [
        ((b"irot\1",), 8),
        ((b"irot\2",), 3),
        ((b"irot\3",), 6),
        ((b"imir\1",), 2),
        ((b"imir\0",), 4),
    ],
)
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_heif_is_rotated_and_mirrored(
    tmp_path: Path, heif: None, format: str, boxes: tuple[bytes, ...], orientation: int
) -> None:
    item = encoded(corners(128, 64), format, *(box(each[:4], each[4:]) for each in boxes))
    (tmp_path / "photo").write_bytes(file_of([item]))
    assert not differs(tmp_path / "photo", ORIENTED[orientation](bgr(corners(128, 64))), by=6)


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_heif_is_cropped(tmp_path: Path, heif: None, format: str) -> None:
    (tmp_path / "photo").write_bytes(file_of([encoded(corners(80, 64), format, clap_box(80, 60))]))
    assert not differs(tmp_path / "photo", bgr(corners(80, 64))[2:62], by=6)


@pytest.mark.parametrize("size", [(80, 60), (81, 61)])
def test_heif_of_any_size_has_that_size(tmp_path: Path, heif: None, size: tuple[int, int]) -> None:
    for suffix in ("heic", "avif"):
        path = save(tmp_path / f"photo.{suffix}", Image.new("RGB", size, RED), quality=100)
        assert read_image(path).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_the_tiles_of_a_heif_grid_become_one_image(tmp_path: Path, heif: None, format: str) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (60, 90, 200)]
    tiles = [encoded(Image.new("RGB", (64, 64), colour), format) for colour in colours]
    (tmp_path / "photo").write_bytes(file_of([grid(3, 2, (64, 64)), *tiles]))
    image = read_image(tmp_path / "photo").astype(int)
    assert image.shape == (128, 192, 3)
    assert np.abs(image[32::64, 32::64, ::-1].reshape(-1, 3) - colours).max() <= 4


def test_an_avif_whose_alpha_comes_first_shows_its_colours(tmp_path: Path) -> None:
    mask, colour = (encoded(image) for image in (Image.new("L", (64, 64), 255), Image.new("RGB", (64, 64), RED)))
    kind = full_box(b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    mask = replace(mask, properties=(*mask.properties, kind), reference=b"auxl", to=(2,))
    (tmp_path / "photo.avif").write_bytes(file_of([mask, colour], primary=2))
    assert np.abs(np.array(one_colour(tmp_path / "photo.avif"))[::-1] - RED).max() <= 2


def test_an_icon_gives_its_largest_image(tmp_path: Path) -> None:
    images = [Image.new("RGBA", (size, size), colour) for size, colour in ((16, "blue"), (48, "red"), (32, "green"))]
    save(tmp_path / "a.ico", images[1], sizes=[(16, 16), (48, 48), (32, 32)], append_images=[images[0], images[2]])
    assert read_image(tmp_path / "a.ico").shape == (48, 48, 3)
    assert one_colour(tmp_path / "a.ico") == (0, 0, 255)


# --- several images in a file


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_an_animation_gives_all_frames_at_their_times(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), (60 * index, 0, 0)) for index in range(4)]
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "avif" else {}
    path = tmp_path / f"animation.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 10, 50], **options)
    with open_source(path) as source:
        assert source.info.frames == 4
        shown = list(source)
    assert [frame.time for frame in shown] == pytest.approx([0, 0.1, 0.3, 0.4])
    assert [frame.index for frame in shown] == [0, 1, 2, 3]
    assert [int(frame.image[8, 8, 2]) for frame in shown] == pytest.approx([0, 60, 120, 180], abs=2)


def test_an_animated_png_leaves_out_the_image_for_other_programs(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (60 * index, 0, 0)) for index in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True, duration=40)
    with open_source(tmp_path / "a.png") as source:
        assert [frame.image[0, 0, 2] for frame in source] == [60, 120]


def test_the_pages_of_a_tiff_follow_each_other(tmp_path: Path) -> None:
    pages = [
        Image.new(mode, size, 50 * index) for index, (mode, size) in enumerate([("L", (16, 8)), ("L", (9, 7))] * 2)
    ]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with open_source(tmp_path / "pages.tif") as source:
        shown = list(source)
    assert [(frame.image.shape[:2], frame.image[0, 0, 0], frame.time) for frame in shown] == [
        ((8, 16), 0, 0.0), ((7, 9), 50, 0.04), ((8, 16), 100, 0.08), ((7, 9), 150, 0.12),
    ]  # fmt: skip


def test_the_previews_of_a_tiff_are_no_pages(tmp_path: Path) -> None:
    whole, preview = Image.new("L", (64, 64), 100), Image.new("L", (16, 16), 100)
    stored = io.BytesIO()
    whole.save(stored, "TIFF", save_all=True, append_images=[preview], tiffinfo={254: 0})
    data = bytearray(stored.getvalue())
    entry = struct.pack("<HHI", 254, 4, 1)
    place = data.rindex(entry) + len(entry)
    data[place : place + 4] = struct.pack("<I", 1)
    (tmp_path / "a.tif").write_bytes(data)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    with open_source(tmp_path / "a.tif") as source:
        assert source.info.frames == 1
        assert [frame.image.shape for frame in source] == [(64, 64, 3)]


def test_an_animation_that_is_cut_gives_its_frames_and_then_an_error(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.random.default_rng(index).integers(0, 256, (32, 32), np.uint8)) for index in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) * 7 // 8])
    shown = []
    with open_source(tmp_path / "cut.gif") as source, pytest.raises(SourceError, match="cannot be decoded"):
        shown.extend(source)
    with open_source(tmp_path / "cut.gif") as source:
        first = next(source)
    np.testing.assert_array_equal(first.image[..., 0], np.asarray(frames[0]))
