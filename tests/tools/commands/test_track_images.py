"""``nasion track`` on image files: outputs, limits, and errors of one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasion.tools.main import main as nasion

from ...support.commands import fake_tracker, run

__all__ = ["fake_tracker"]


@pytest.mark.usefixtures("fake_tracker")
@pytest.mark.parametrize("name", ["x.jfif", "x.gif", "x.avif", "x.tga", "x"])
def test_an_image_of_any_kind_becomes_an_annotated_one(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (64, 48), (90, 90, 90)).save(
        tmp_path / name, None if "." in name and "jfif" not in name else "JPEG"
    )
    with pytest.raises(SystemExit) as end:
        nasion(["track", str(tmp_path / name), "--out", str(tmp_path / "y.png")])
    assert end.value.code == 0
    with Image.open(tmp_path / "y.png") as image:
        assert image.size == (64, 48)


@pytest.mark.usefixtures("fake_tracker")
def test_the_limit_of_pixels_is_an_option(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "x.png")
    with pytest.raises(SystemExit, match=r"has 64 x 48 pixels; allowed: 3,000 in total; .* with --max-pixels"):
        nasion(["track", str(tmp_path / "x.png"), "--max-pixels", "3000"])
    with pytest.raises(SystemExit) as end:
        nasion(["track", str(tmp_path / "x.png"), "--max-pixels", "3072"])
    assert end.value.code == 0


def damaged(folder: Path) -> list[Path]:
    """Write files of which nothing can be read."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (64, 64), np.uint8))
    image.convert("1").save(folder / "fax.tif", compression="group4")
    data = bytearray((folder / "fax.tif").read_bytes())
    data[200:400] = random.bytes(200)
    (folder / "fax.tif").write_bytes(data)
    image.save(folder / "bomb.jpg")
    data = bytearray((folder / "bomb.jpg").read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 30_000, 30_000)
    (folder / "bomb.jpg").write_bytes(data)
    for suffix in ("png", "jpg", "tif", "gif"):
        image.save(folder / f"whole.{suffix}")
        (folder / f"cut\n\x1b[31m.{suffix}").write_bytes((folder / f"whole.{suffix}").read_bytes()[:1500])
        (folder / f"whole.{suffix}").unlink()
    return sorted(folder.iterdir())


def test_what_cannot_be_read_ends_in_one_line(tmp_path: Path) -> None:
    for path in damaged(tmp_path):
        ended = run("track", path)
        assert ended.returncode == 1, path
        (line,) = ended.stderr.splitlines()
        assert line.startswith("nasion: ")
        assert "\x1b" not in ended.stderr + ended.stdout
        assert "PNG" in line or "--max-pixels" in line
