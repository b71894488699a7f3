"""Training crops of a user's faces: each image is decoded once, and a part around each face is kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ....engines.spec import Spec
from ....realtime.faces.face import OCCLUDED, VISIBLE
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import Region, region_of_points, roll, transform, warp
from ...data import LandmarkSet, SampleStream, augment, pixels_of
from ..shipped.alignment_samples import UNKNOWN, Labels

FACELESS = 0.12  # share of crops without a whole face, which train presence
_NEAR, _WIDE = 2.4, 6.0  # sides of the kept parts of an image, relative to the side of the crop of the face
_DETAIL = 1.4  # pixels of the near part for each pixel of a crop
_BYTES_KEPT = 3 << 30


@dataclass(frozen=True, slots=True)
class _Part:
    """Part of an image around a face, and the transform (3,3) from it to the image."""

    image: Image
    to_image: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Parts of an image around a face: a near one in full detail, and a wide one of its surroundings."""

    near: _Part
    wide: _Part


class OwnSamples(SampleStream[Labels]):
    """Endless, reproducible stream of crops: crop number i is always the same for one seed."""

    def __init__(self, faces: LandmarkSet, spec: Spec, negatives: tuple[Path, ...] = (), *, seed: int = 0) -> None:
        """Draw crops in the format of ``spec`` from ``faces`` and from images without faces."""
        super().__init__(seed)
        self.faces, self.spec, self.negatives = faces, spec, negatives
        self.size, self.scheme = spec.size[0], faces.scheme
        self._regions = [self._upright(points) for points in faces.points]
        self._kept: dict[int, _Kept] = {}
        self._left = _BYTES_KEPT
        self._last: tuple[Path, Image] | None = None
        self._of_image: dict[Path, list[int]] = {}
        for i, file in enumerate(faces.files):
            self._of_image.setdefault(file, []).append(i)

    def __getitem__(self, index: int) -> Labels:
        """Return crop number ``index`` with its labels."""
        rng = self.generator(index)
        return self._faceless(rng) if rng.random() < FACELESS else self.face(rng, int(rng.integers(len(self.faces))))

    def face(self, rng: Generator, i: int) -> Labels:
        """Return an augmented crop of face ``i``."""
        region, points = self._regions[i], self.faces.points[i]
        jittered = augment.jitter_region(
            rng, points[~np.isnan(points[:, 0])], margin=self.spec.crop_margin, angle=region.angle
        )
        matrix = jittered.to_crop(self.size)
        if mirrored := self.scheme.has_mirror and bool(rng.random() < 0.5):
            matrix = augment.mirror(matrix, self.size)
        image = augment.vary(rng, self._crop(i, matrix), strength=0.5)
        image = augment.disturb(rng, image)
        order = list(self.scheme.flip) if mirrored else list(range(self.scheme.count))
        return self._labels(image, transform(points, matrix)[order], self._visibility(i)[order])

    def plain(self, i: int) -> tuple[Image, FloatArray]:
        """Return the crop of face ``i`` without augmentation, and its landmarks (n,2) in it."""
        matrix = self._regions[i].to_crop(self.size)
        return self._crop(i, matrix), transform(self.faces.points[i], matrix)

    def _upright(self, points: FloatArray) -> Region:
        known = points[~np.isnan(points[:, 0])]
        angle = roll(points, self.scheme) if self.scheme.tells_roll and len(known) == len(points) else 0.0
        return region_of_points(known, margin=self.spec.crop_margin, angle=angle)

    def _image(self, path: Path) -> Image:
        if self._last is None or self._last[0] != path:
            self._last = path, self._reader.read(path)
        return self._last[1]

    def _part(self, i: int) -> _Kept:
        if i in self._kept:
            return self._kept[i]
        image, region = self._image(self.faces.files[i]), self._regions[i]
        sides = (_NEAR, min(_DETAIL, max(region.side / self.size, 0.5))), (_WIDE, 0.5)
        near, wide = (
            _part(image, Region(region.x, region.y, region.side * part), round(part * detail * self.size))
            for part, detail in sides
        )
        size = near.image.nbytes + wide.image.nbytes
        if size <= self._left:
            self._left -= size
            self._kept[i] = _Kept(near, wide)
        return _Kept(near, wide)

    def _crop(self, i: int, matrix: FloatArray, *, wide: bool = False) -> Image:
        """Return the crop that ``matrix`` (2,3) maps the image to, from a kept part of it."""
        kept = self._part(i)
        part = kept.wide if wide else kept.near
        return warp(part.image, (matrix @ part.to_image).astype(np.float32), self.size)

    def _faceless(self, rng: Generator) -> Labels:
        """Return a crop of background, or one so misplaced that it must not be tracked."""
        if self.negatives and rng.random() < 0.6:
            image = self.image(self.negatives[int(rng.integers(len(self.negatives)))])
            crop = warp(image, augment.random_region(rng, image).to_crop(self.size), self.size)
        else:
            i = int(rng.integers(len(self.faces)))
            crop = self._crop(i, self._misplaced(rng, i).to_crop(self.size), wide=True)
        return self._labels(augment.vary(rng, crop), None, None)

    def _misplaced(self, rng: Generator, i: int) -> Region:
        """Return a region beside all labelled faces of the image, a detail of a face, or one that is far too wide."""
        region, draw = self._regions[i], rng.random()
        others = [self._regions[k] for k in self._of_image[self.faces.files[i]]]
        if draw < 0.6:
            for _ in range(20):
                direction, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 2.2) * region.side
                x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
                side = region.side * float(np.exp(rng.normal(0, 0.2)))
                if all(np.hypot(x - each.x, y - each.y) > 0.7 * each.side for each in others):
                    return Region(x, y, side, region.angle)
        if draw < 0.8:
            far, direction = rng.uniform(0, 0.35) * region.side, rng.uniform(0, 2 * np.pi)
            x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
            return Region(x, y, region.side * rng.uniform(0.15, 0.33), region.angle)
        return Region(region.x, region.y, region.side * rng.uniform(3.2, 5), region.angle)

    def _visibility(self, i: int) -> NDArray[np.int64]:
        if self.faces.visible is None or not self.spec.visibility:
            return np.full(self.scheme.count, UNKNOWN, np.int64)
        seen = self.faces.visible[i]
        return np.where(np.isnan(seen), UNKNOWN, np.where(seen > 0, VISIBLE, OCCLUDED))

    def _labels(self, image: Image, points: FloatArray | None, seen: NDArray[np.int64] | None) -> Labels:
        count, there = self.scheme.count, points is not None
        placed = np.full((count, 2), np.nan, np.float32) if points is None else points
        known = np.isfinite(placed[:, 0])
        return {
            "image": pixels_of(image),
            "points": torch.from_numpy(np.where(known[:, None], placed, np.float32(0))),
            "known": torch.from_numpy(known.astype(np.float32)),
            "hidden": torch.zeros(count),
            "visibility": torch.from_numpy(np.full(count, UNKNOWN, np.int64) if seen is None else seen),
            "presence": torch.tensor(float(there)),
        }


def _part(image: Image, region: Region, size: int) -> _Part:
    """Return the part of an image that ``region`` covers, with ``size`` x ``size`` pixels."""
    to_part = region.to_crop(size)
    return _Part(warp(image, to_part, size), np.linalg.inv(np.vstack([to_part, [0, 0, 1]])))
