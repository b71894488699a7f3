"""Conversion of images that Pillow has decoded, of any mode and colour profile, to BGR uint8 in sRGB."""

from __future__ import annotations

import logging
from functools import lru_cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ....engines.errors import foreign
from ...images.transparency import over_white
from ...values.arrays import Image

_log = logging.getLogger(__name__)

# Colour spaces of ICC profiles, and the modes of Pillow that they apply to.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}


def to_bgr(image: Pillow.Image, name: str) -> Image:
    """Convert an image of any mode to BGR uint8 (h, w, 3) in sRGB, with transparent pixels over white.

    Args:
        image: decoded image.
        name: name of its file for messages.

    Raises:
        ValueError: its values cannot be converted.
    """
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode == "F":
        image = Pillow.fromarray(of_fractions(np.asarray(image), name))
    elif image.mode.startswith("I"):
        image = Pillow.fromarray(_of_sixteen_bits(image))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    if image.mode == "LAB" or not is_srgb(profile):
        image = _to_srgb(image, profile, name)
    image = image if image.mode == "RGB" else image.convert("RGB")
    pixels = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
    return pixels if alpha is None else over_white(pixels, alpha)


def _of_sixteen_bits(image: Pillow.Image) -> NDArray[np.uint8]:
    """Return the grey values of an image of up to 16 bits.

    Raises:
        ValueError: its values are signed or longer.
    """
    if image.mode == "I" and getattr(image, "format", None) != "PPM":
        raise ValueError("its values are integers of 32 bits; allowed: 8 or 16 bits without sign, or fractions")
    return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)


def of_fractions(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return pixels of an image of floating-point values, from 0 (black) to 1 (white).

    Raises:
        ValueError: a value is not a number.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("some of its values are not finite numbers; allowed: 0 (black) to 1 (white)")
    if low < 0 or high > 1:
        _log.warning("%s: its values are %g to %g; 0 is shown black, 1 white", name, low, high)
    pixels: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return pixels


def _to_srgb(image: Pillow.Image, profile: bytes | None, name: str) -> Pillow.Image:
    """Convert an image from its ICC profile; a profile that cannot be used is ignored, as in browsers."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
        if {image.mode, mode := _MODES[source.profile.xcolor_space.strip()]} == {"L", "RGB"}:
            image = image.convert(mode)
        converted = ImageCms.profileToProfile(
            image,
            source,
            srgb,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError) as error:
        if image.mode == "LAB":
            raise
        _log.warning("%s: its colour profile is ignored (%s)", name, foreign(error))
        return image
    assert converted is not None
    return converted


@lru_cache(maxsize=16)
def is_srgb(profile: bytes | None) -> bool:
    """Return True if an image needs no conversion: its ICC profile is that of sRGB, or there is none."""
    if not profile:
        return True
    from PIL import ImageCms

    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
