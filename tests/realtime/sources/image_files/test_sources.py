"""Images and folders of images as a source: order, depth, EXIF, and what is damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source

from ....support.media.media_samples import numbered_image


def test_a_folder_is_read_in_natural_order_without_what_is_not_an_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), numbered_image(number, (20 + number, 30)))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "frame3.jpg").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        frames = list(source)
    assert [(frame.width, frame.time) for frame in frames] == [(21, 0.0), (22, 0.04), (30, 0.12)]
    assert "left out:" in caplog.text
    assert "frame3.jpg: the file is damaged or not an image" in caplog.text


def test_a_folder_of_damaged_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="no frame in it can be decoded"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", np.full((48, 64), 100, np.uint8)),
        ("deep.png", np.full((48, 64, 3), 100 * 257, np.uint16)),
        ("photo.jpg", np.full((48, 64, 3), 100, np.uint8)),
        ("scan.tiff", np.full((48, 64, 3), 100, np.uint8)),
    ],
)
def test_every_kind_of_image_becomes_bgr_of_eight_bits(tmp_path: Path, name: str, image: Any) -> None:
    cv2.imwrite(str(tmp_path / name), image)
    with open_source(tmp_path / name) as source:
        (frame,) = source
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert np.abs(frame.image.astype(int) - 100).max() <= 1


def test_images_are_turned_as_their_exif_tag_says(tmp_path: Path) -> None:
    _, data = cv2.imencode(".jpg", numbered_image(0))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turn clockwise
    header = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "phone.jpg").write_bytes(data.tobytes()[:2] + header + data.tobytes()[2:])
    with open_source(tmp_path / "phone.jpg") as source:
        (frame,) = source
    assert np.abs(frame.image.astype(int) - np.rot90(numbered_image(0), -1)).mean() < 6


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("words")
    with pytest.raises(SourceError, match=r"empty\.png: the file is empty \(0 bytes\)"):
        open_source(tmp_path / "empty.png")
    with pytest.raises(SourceError, match=r"text\.png: the file is damaged or not an image; allowed: JPEG"):
        open_source(tmp_path / "text.png")
