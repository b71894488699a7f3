"""Synthetic face masks over mouth, chin and half of the nose, to test with occlusion."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator

from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.scheme import LandmarkScheme
from .base import LandmarkSet
from .images import read_images
from .samples import FaceSamples

# red, green, blue: surgical blue, white, black, grey, beige
SHADES = ((132, 178, 201), (232, 232, 228), (28, 28, 32), (120, 124, 128), (205, 182, 150))
TOP = 0.4  # upper edge of a mask between the eyes (0) and the mouth (1): half way down the nose
LIGHT = (0.95, 0.8)  # brightness at the upper and the lower edge of a mask
REACH = 1.08  # a mask extends a little beyond the outermost landmarks


def masked_part(points: FloatArray, scheme: LandmarkScheme) -> FloatArray | None:
    """Return the outline (k,2) of a mask over a face with landmarks (n,2), NaN where not annotated.

    Return None if eyes or mouth are not annotated, since the mask cannot be placed then.
    """
    eyes = (points[list(scheme.left_eye)].mean(axis=0) + points[list(scheme.right_eye)].mean(axis=0)) / 2
    down = points[list(scheme.mouth)].mean(axis=0) - eyes
    if not np.isfinite(down).all() or not down.any():
        return None
    below = (points - eyes) @ down / (down @ down) > TOP  # False for NaN
    hull = cv2.convexHull(points[below].astype(np.float32))[:, 0]
    middle = hull.mean(axis=0)
    outline: FloatArray = (middle + (hull - middle) * REACH).astype(np.float32)
    return outline


def paint_mask(image: Image, points: FloatArray, scheme: LandmarkScheme, rng: Generator) -> Image:
    """Return the BGR image (H,W,3) with a mask of a random shade, darker towards the chin, over the face.

    ``points`` (n,2) are the landmarks of the face. The image is returned unchanged if ``masked_part`` is None.
    """
    outline = masked_part(points, scheme)
    if outline is None:
        return image
    cover = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(cover, [np.round(outline * 16).astype(np.int32)], (1.0,), shift=4)
    shade = np.array(SHADES[int(rng.integers(len(SHADES)))], np.float32)[::-1]
    light = np.interp(np.arange(len(image)), (outline[:, 1].min(), outline[:, 1].max()), LIGHT)
    cloth = shade * light[:, None, None].astype(np.float32)
    painted: Image = np.round(image + (cloth - image) * cover[..., None]).clip(0, 255).astype(np.uint8)
    return painted


def face_images(data: LandmarkSet, *, masks: bool = False) -> Iterator[Image]:
    """Yield the images of ``data`` in order; with ``masks`` each face wears a mask, face i always the same one.

    Raises:
        DataError: an image is missing or cannot be decoded.
    """
    for face, image in enumerate(read_images(data.files)):
        yield paint_mask(image, data.points[face], data.scheme, np.random.default_rng(face)) if masks else image


class MaskedSamples(FaceSamples):
    """Plain crops whose faces wear masks; face i always wears the same one."""

    def cut(self, face: int) -> tuple[Image, FloatArray]:
        """Return the plain crop with a mask painted over the face, and its landmarks."""
        image, points = super().cut(face)
        return paint_mask(image, points, self.data.scheme, np.random.default_rng([self.seed, face])), points
