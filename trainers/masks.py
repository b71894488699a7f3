"""Synthetic face masks: a cloth over mouth, chin and half the nose, to see what a network does without them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.random import Generator

from ..engines.spec import Spec
from ..realtime.faces import FloatArray, LandmarkScheme, scheme_of
from .samples import FaceItem, FaceSamples

# red, green, blue: surgical blue, white, black, grey, beige
SHADES = ((132, 178, 201), (232, 232, 228), (28, 28, 32), (120, 124, 128), (205, 182, 150))
TOP = 0.4  # where a mask begins on the way from the eyes (0) to the mouth (1): half way down the nose
REACH = 1.08  # a mask goes a little beyond the outermost points


def masked_part(points: FloatArray, scheme: LandmarkScheme) -> FloatArray | None:
    """The outline (k,2) of a mask over a face's points (n,2), NaN where not annotated.

    None where eyes or mouth are not annotated, so that nobody can say where a mask would sit.
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


def wear_mask(item: FaceItem, spec: Spec, rng: Generator) -> FaceItem:
    """The crop with a mask of a random shade, a little darker towards its lower edge; the annotation stays as it is."""
    scheme = scheme_of(len(item["points"]))
    known = item["known"].numpy()[:, None] > 0
    outline = masked_part(np.where(known, item["points"].numpy(), np.nan), scheme) if scheme else None
    if outline is None:
        return item
    size = item["image"].shape[-1]
    cover = np.zeros((size, size), np.float32)
    cv2.fillPoly(cover, [np.round(outline * 16).astype(np.int32)], (1.0,), shift=4)
    shade = np.array(SHADES[int(rng.integers(len(SHADES)))], np.float32)[:: 1 if spec.channels == "rgb" else -1]
    light = np.linspace(1.05, 0.8, size, dtype=np.float32)[:, None]
    cloth = np.clip(shade[:, None, None] * light, 0, 255) - np.array(spec.mean, np.float32)[:, None, None]
    cloth = cloth / np.array(spec.std, np.float32)[:, None, None]
    image = item["image"] * torch.from_numpy(1 - cover) + torch.from_numpy(cloth * cover)
    return {**item, "image": image}


class MaskedSamples(FaceSamples):
    """Plain crops whose faces wear masks; face i always the same one."""

    def crop(self, face: int) -> FaceItem:
        """As without, and a mask over it."""
        return wear_mask(super().crop(face), self.spec, np.random.default_rng([self.seed, face]))
