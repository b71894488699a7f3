"""Values and transparency of image files of every kind, made here and compared with what was put into them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from nasion.engines.errors import SourceError
from nasion.realtime.sources.image_files.reading import read_image

from ....support.media.image_samples import RED, one_colour, save


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
