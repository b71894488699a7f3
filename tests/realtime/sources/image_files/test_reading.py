"""Image files of every kind, made here and compared with what was put into them."""

from __future__ import annotations

import io
import logging
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image, ImageCms, PngImagePlugin

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.image_files.reading import IMAGE_SUFFIXES, read_image

from ....support.media.heif_boxes import box, clap_box, encoded, file_of, full_box, grid
from ....support.media.media_samples import number_of, write_video
from ..test_side_data import exif

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
GREY, RED = (128, 128, 128), (200, 40, 30)


def corners(width: int = 64, height: int = 48) -> Image.Image:
    """An image each of whose corners has another colour."""
    image = Image.new("RGB", (width, height), GREY)
    for colour, place in (((255, 0, 0), (0, 0)), ((0, 255, 0), (width // 2, 0)), ((0, 0, 255), (0, height // 2))):
        image.paste(colour, (*place, place[0] + width // 2, place[1] + height // 2))
    return image


def bgr(image: Image.Image) -> Any:
    return np.asarray(image.convert("RGB"))[..., ::-1]


def save(path: Path, image: Image.Image, format: str | None = None, **options: Any) -> Path:
    image.save(path, format, **options)
    return path


def differs(path: Path, expected: Any, *, by: float = 0) -> bool:
    image = read_image(path)
    return image.shape != expected.shape or float(np.abs(image.astype(int) - expected).mean()) > by


def one_colour(path: Path) -> tuple[int, int, int]:
    """Blue, green and red of an image of one colour."""
    image = read_image(path)
    assert (image == image[0, 0]).all()
    blue, green, red = image[0, 0].tolist()
    return blue, green, red


@pytest.fixture
def heif() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()


# --- orientation and shape


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


# --- values


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    path = save(
        tmp_path / f"deep.{suffix}", Image.fromarray(values), **({"irreversible": False} if suffix == "jp2" else {})
    )
    expected = np.rint(values / 257)
    assert np.abs(read_image(path) - expected[..., None]).max() <= 1


def test_sixteen_bits_of_colour_become_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 32, 3)).astype(np.uint16)
    for name in ("deep.png", "deep.tiff"):
        cv2.imwrite(str(tmp_path / name), values)
        assert np.abs(read_image(tmp_path / name) - values / 257).max() <= 1


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_pnm_may_have_any_greatest_value(tmp_path: Path, kind: str, most: int) -> None:
    depth = 3 if kind in ("P3", "P6") else 1
    values = np.linspace(0, most, 8 * 4 * depth).astype(int).reshape(4, 8, depth)
    header = f"{kind}\n# a comment\n8 4\n{most}\n".encode()
    plain = " ".join(map(str, values.ravel())).encode()
    binary = values.astype(">u2" if most > 255 else ">u1").tobytes()
    (tmp_path / "a.pnm").write_bytes(header + (plain if kind in ("P2", "P3") else binary))
    expected = np.broadcast_to(values[..., ::-1] * 255 / most, (4, 8, 3))
    assert np.abs(read_image(tmp_path / "a.pnm") - expected).max() <= 1


def test_bitmaps_are_black_and_white(tmp_path: Path) -> None:
    (tmp_path / "plain.pbm").write_bytes(b"P1\n3 1\n0 1 0\n")
    (tmp_path / "packed.pbm").write_bytes(b"P4\n3 1\n\x40")
    for name in ("plain.pbm", "packed.pbm"):
        assert read_image(tmp_path / name)[0].tolist() == [[255] * 3, [0] * 3, [255] * 3]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["Pf", "PF"])
def test_pfm_goes_from_0_to_1_and_from_bottom_to_top(tmp_path: Path, kind: str, order: str) -> None:
    depth = 3 if kind == "PF" else 1
    values = np.linspace(0, 1, 4 * 5 * depth, dtype=np.float32).reshape(4, 5, depth)
    header = f"{kind}\n5 4\n{'-' if order == '<' else ''}1.0\n".encode()
    (tmp_path / "a.pfm").write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())
    expected = np.broadcast_to(np.rint(values[..., ::-1] * 255), (4, 5, 3))
    assert np.abs(read_image(tmp_path / "a.pfm") - expected).max() <= 1


def test_floats_of_a_tiff_go_from_0_to_1(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a.tif", Image.fromarray(np.float32([[0, 0.25, 0.5, 1]])))
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 64, 128, 255]
    assert caplog.text == ""
    save(tmp_path / "b.tif", Image.fromarray(np.float32([[-1, 0.5, 255]])))
    assert read_image(tmp_path / "b.tif")[0, :, 0].tolist() == [0, 128, 255]
    assert "its values are -1 to 255; 0 is shown black, 1 white" in caplog.text


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.float32([[0, np.nan]]), "some of its values are not finite numbers; allowed: 0 .black. to 1 .white."),
        (np.int32([[0, 1]]), "its values are integers of 32 bits; allowed: 8 or 16 bits without sign, or fractions"),
    ],
)
def test_values_without_a_meaning_are_refused(tmp_path: Path, values: Any, reason: str) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(SourceError, match=rf"a\.tif: the image cannot be decoded \({reason}\); .* as PNG"):
        read_image(path)


@pytest.mark.parametrize(
    ("bits", "masks", "pixel"),
    [
        (16, (0xF800, 0x07E0, 0x001F), 0xF800 | 0x0200),  # 5, 6 and 5 bits
        (16, (0x7C00, 0x03E0, 0x001F), 0x7C00 | 0x0100),  # 5 bits each
        (32, (0x00FF0000, 0x0000FF00, 0x000000FF), 0x00FF4000),
        (32, (0xFF000000, 0x00FF0000, 0x0000FF00), 0xFF400000),
    ],
)
def test_bit_fields_of_bmp_tell_the_colours(tmp_path: Path, bits: int, masks: tuple[int, int, int], pixel: int) -> None:
    row = struct.pack("<H" if bits == 16 else "<I", pixel) * 4
    header = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, bits, 3, len(row), 0, 0, 0, 0)
    start = b"BM" + struct.pack("<IHHI", 14 + 40 + 12 + len(row), 0, 0, 14 + 40 + 12)
    (tmp_path / "a.bmp").write_bytes(start + header + struct.pack("<3I", *masks) + row)
    blue, green, red = one_colour(tmp_path / "a.bmp")
    assert (blue, red) == (0, 255)
    assert green == pytest.approx(64, abs=3)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_converted(tmp_path: Path, suffix: str) -> None:
    for ink, expected in (((0, 0, 0, 0), (255,) * 3), ((0, 255, 0, 0), (255, 0, 255)), ((0, 0, 0, 255), (0,) * 3)):
        path = save(tmp_path / f"a.{suffix}", Image.new("CMYK", (8, 8), ink))
        assert np.abs(np.array(one_colour(path)) - expected).max() <= 2


def test_lab_is_converted(tmp_path: Path) -> None:
    # In the file, a* and b* are signed bytes: 80 and 67 are red, 0 and 0 are grey.
    for lab, expected in (((136, 80, 67), (0, 0, 255)), ((128, 0, 0), (119, 119, 119))):
        path = save(tmp_path / "a.tif", Image.new("LAB", (8, 8), (lab[0], lab[1] + 128, lab[2] + 128)))
        assert bytes(lab * 8) in path.read_bytes()
        assert np.abs(np.array(one_colour(path)) - expected).max() <= 12


def rec2020() -> bytes:
    """Return an ICC profile with the primaries of Rec. 2020, adapted to D50, and a gamma of 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"wide gamut\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67 + 3)
    contents = {
        b"desc": name + bytes(-len(name) % 4),
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"rXYZ": xyz(0.67345, 0.27904, -0.00193),
        b"gXYZ": xyz(0.16567, 0.67535, 0.02998),
        b"bXYZ": xyz(0.12508, 0.04561, 0.79686),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    place, table, body = 128 + 4 + 12 * len(contents), b"", b""
    for tag, content in contents.items():
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"test", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(contents)) + table + body


# from linear Rec. 2020 to linear sRGB (ITU-R BT.2087)
TO_SRGB = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def in_srgb(colour: tuple[int, int, int]) -> Any:
    linear = np.clip(TO_SRGB @ (np.array(colour) / 255) ** 2.2, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("colour", [(120, 120, 120), (150, 110, 90), (100, 140, 110)])
def test_icc_profiles_are_converted_to_srgb(tmp_path: Path, suffix: str, colour: tuple[int, int, int]) -> None:
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}, "avif": {"quality": 100}}.get(suffix, {})
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (16, 16), colour), icc_profile=rec2020(), **options)
    assert np.abs(np.array(one_colour(path))[::-1] - in_srgb(colour)).max() <= 3
    transparent = Image.new("RGBA", (16, 16), (*colour, 255))
    if suffix != "jpg":
        save(path, transparent, icc_profile=rec2020(), **options)
        assert np.abs(np.array(one_colour(path))[::-1] - in_srgb(colour)).max() <= 3


@pytest.mark.parametrize("profile", ["sRGB", "none", "damaged", "of ink"])
def test_other_profiles_leave_the_colours(tmp_path: Path, profile: str, caplog: pytest.LogCaptureFixture) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = {
        "sRGB": srgb, "none": None, "damaged": b"damaged" * 30, "of ink": rec2020()[:16] + b"CMYK" + rec2020()[20:],
    }[profile]  # fmt: skip
    path = save(tmp_path / "a.png", Image.new("RGB", (8, 8), RED), icc_profile=data)
    assert one_colour(path) == RED[::-1]
    assert ("its colour profile is ignored" in caplog.text) == (profile in ("damaged", "of ink"))


@pytest.mark.parametrize("limits", ["full", "limited"])
def test_grey_of_either_range_reaches_black_and_white(tmp_path: Path, limits: str) -> None:
    for value in (0, 128, 255):
        path = save(tmp_path / "a.avif", Image.new("L", (16, 16), value), quality=100, range=limits)
        assert np.abs(np.array(one_colour(path)) - value).max() <= 1


# --- transparency


TRANSPARENT = ("png", "webp", "tif", "avif", "gif", "ico", "tga", "jp2", "qoi")


@pytest.mark.parametrize("suffix", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGBA", (16, 16), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 8, 16))
    options = {"webp": {"lossless": True, "exact": True}, "avif": {"quality": 100}, "ico": {"sizes": [(16, 16)]}}
    path = tmp_path / f"a.{suffix}"
    try:
        save(path, image, **options.get(suffix, {}))
    except (KeyError, ValueError):
        pytest.skip(f"Pillow {Image.__version__} cannot write {suffix}")
    shown = read_image(path).astype(int)
    assert np.abs(shown[:, :6] - RED[::-1]).max() <= 4
    assert np.abs(shown[:, 10:] - 255).max() <= 4


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "1"])
def test_transparency_of_every_kind_of_png_is_white(tmp_path: Path, mode: str) -> None:
    if mode in ("LA", "RGBA"):
        save(tmp_path / "a.png", Image.new(mode, (8, 8), (90, 64) if mode == "LA" else (90, 90, 90, 64)))
        expected = round(90 * 64 / 255 + 255 * 191 / 255)
        assert np.abs(np.array(one_colour(tmp_path / "a.png")) - expected).max() <= 1
        return
    image = Image.new(mode, (8, 8), {"P": 1, "L": 90, "RGB": (90, 90, 90), "1": 0}[mode])
    if mode == "P":
        image.putpalette([0, 0, 0, 90, 90, 90])
    save(tmp_path / "a.png", image, transparency={"P": 1, "L": 90, "RGB": (90, 90, 90), "1": 0}[mode])
    assert one_colour(tmp_path / "a.png") == (255, 255, 255)


# --- refusals


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
