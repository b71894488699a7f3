"""Images of a few colours, their files, and comparison with what is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasion.realtime.sources.image_files.reading import read_image

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
