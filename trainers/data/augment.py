"""Augmentation of labelled crops and images, to resemble those that the tracker sees.

Geometric changes use the run-time warp (``realtime.values.geometry``). All randomness comes from the given generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import Region, region_of_points


def jitter_region(
    rng: Generator, points: FloatArray, *, margin: float, angle: float = 0.0, shift: float = 0.04, scale: float = 0.07
) -> Region:
    """Return the crop region of a face with the jitter of tracking or of a detector: shift, scale and rotation.

    Nine in ten are rotated by about 6 degrees around ``angle`` (0 is upright), the rest by up to 50, as the first crop
    from a detector's upright box may be. ``shift`` and ``scale`` are standard deviations, as fractions of the side.
    """
    rotation = rng.normal(0, 0.1) if rng.random() < 0.9 else rng.uniform(-0.9, 0.9)
    region = region_of_points(points, margin=margin, angle=angle + rotation)
    factor = float(np.exp(rng.normal(0, scale)))
    return displaced(region, *rng.normal(0, shift, 2), scale=factor)


def displaced(region: Region, x: float = 0.0, y: float = 0.0, *, scale: float = 1.0, rotation: float = 0.0) -> Region:
    """Return a region moved by ``x`` and ``y``, as fractions of its side, scaled, and rotated by radians."""
    return Region(region.x + x * region.side, region.y + y * region.side, region.side * scale, region.angle + rotation)


def random_region(rng: Generator, image: Image) -> Region:
    """Return a square region anywhere in an image, rotated by up to one radian."""
    height, width = image.shape[:2]
    side = float(np.exp(rng.uniform(np.log(24), np.log(min(height, width)))))
    return Region(rng.uniform(0, width), rng.uniform(0, height), side, rng.uniform(-1, 1))


def colour(rng: Generator, image: Image) -> Image:
    """Change brightness, contrast, gamma and colour cast; sometimes simulate low light or remove the colour."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, bias = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.08)
    if rng.random() < 0.1:
        gain *= rng.uniform(0.15, 0.5)  # low light
    cast = np.exp(rng.normal(0, 0.06, 3))
    out = _through(image, ((levels**gamma * gain)[:, None] * cast + bias) * 255)
    if rng.random() < 0.15:
        return grey(rng, out)
    return out


def soft_blur(rng: Generator, image: Image) -> Image:
    """Apply a Gaussian blur, as if out of focus."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).astype(np.uint8, copy=False)


def motion_blur(rng: Generator, image: Image) -> Image:
    """Apply a motion blur of 3 to 13 pixels in any direction."""
    length = int(rng.integers(3, 14)) | 1
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), length // 2
    dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
    ends = (round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy))
    cv2.line(kernel, *ends, 1.0)
    # In two halves: beyond 130 elements OpenCV takes a Fourier transform, a hundred times as slow.
    upper, lower = np.split(kernel / kernel.sum(), [middle])
    blurred = cv2.filter2D(image, -1, lower, anchor=(middle, 0))
    above = cv2.filter2D(image, -1, np.vstack([upper, np.zeros_like(upper[:1])]), anchor=(middle, middle))
    return cv2.add(blurred, above).astype(np.uint8, copy=False)


def compress(rng: Generator, image: Image) -> Image:
    """Compress as JPEG at a low quality and decode again."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 70))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def lower_resolution(rng: Generator, image: Image) -> Image:
    """Reduce the image by a factor of 1.5 to 4 and enlarge it again, as if a small face was enlarged."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.5, 4)
    small = cv2.resize(image, (max(8, int(width / factor)), max(8, int(height / factor))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def noise(rng: Generator, image: Image) -> Image:
    """Add sensor noise."""
    grain = rng.integers(0, 2**31)
    field = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(grain))
    cv2.randn(field, np.zeros(3), np.full(3, rng.uniform(3, 16)))
    return cv2.add(image, field, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def occlude(rng: Generator, image: Image) -> Image:
    """Draw a rectangle or ellipse of flat colour over up to a quarter of the image."""
    height, width = image.shape[:2]
    w, h = int(width * rng.uniform(0.08, 0.5)), int(height * rng.uniform(0.08, 0.5))
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    shade = tuple(int(v) for v in rng.integers(0, 256, 3))
    out = image.copy()
    if rng.random() < 0.5:
        cv2.rectangle(out, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), shade, -1)
    else:
        cv2.ellipse(out, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, shade, -1)
    return out


def cut_off(rng: Generator, image: Image) -> Image:
    """Black out up to 45 % of the crop from one side, as if the face was half out of the frame."""
    height, width = image.shape[:2]
    part, side = rng.uniform(0.1, 0.45), int(rng.integers(4))
    out = image.copy()
    if side == 0:
        out[: int(height * part)] = 0
    elif side == 1:
        out[int(height * (1 - part)) :] = 0
    elif side == 2:
        out[:, : int(width * part)] = 0
    else:
        out[:, int(width * (1 - part)) :] = 0
    return out


# each with the share of images that it is applied to
_CHANGES: tuple[tuple[float, Callable[[Generator, Image], Image]], ...] = (
    (0.85, colour),
    (0.12, soft_blur),
    (0.12, motion_blur),
    (0.12, lower_resolution),
    (0.15, noise),
    (0.15, compress),
)


def vary(rng: Generator, image: Image, *, strength: float = 1.0) -> Image:
    """Change the appearance of an image, never its geometry. ``strength`` scales the probability of each change."""
    for share, change in _CHANGES:
        if rng.random() < share * strength:
            image = change(rng, image)
    return image


Change = Callable[[Generator, Image], Image]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Augmentation of face crops for training; the defaults change nothing.

    Attributes:
        rotation: largest rotation either way, in degrees, uniform.
        rotation_share: share of crops that are rotated.
        scale: smallest and largest size of the face in the crop, relative to the plain crop, uniform.
        shift: largest shift of the crop in x and in y, as a fraction of its side, uniform.
        flip: share of crops that are mirrored.
        occlusion_share: share of crops that are covered by a rectangle of one shade.
        occlusion_area: smallest and largest fraction of the crop that it covers, uniform. Landmarks under it stay
            annotated and keep their visibility.
        grey: share of crops converted to grayscale.
        blur: share of crops that are blurred.
        changes: changes of appearance; each crop gets one, all equally likely.
    """

    rotation: float = 0.0
    rotation_share: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    flip: float = 0.0
    occlusion_share: float = 0.0
    occlusion_area: tuple[float, float] = (0.0, 0.0)
    grey: float = 0.0
    blur: float = 0.0
    changes: tuple[Change, ...] = ()

    def place(self, rng: Generator, region: Region, size: int) -> tuple[bool, FloatArray]:
        """Return True if the crop is mirrored, and the transform (2,3) from the image to a crop of ``size`` pixels."""
        turned = rng.random() < self.rotation_share
        angle = np.radians(rng.uniform(-self.rotation, self.rotation)) if turned else 0.0
        dx, dy = rng.uniform(-self.shift, self.shift, 2) * region.side
        side = region.side / rng.uniform(*self.scale)
        matrix = Region(region.x + dx, region.y + dy, side, region.angle + angle).to_crop(size)
        mirrored = bool(rng.random() < self.flip)
        return mirrored, mirror(matrix, size) if mirrored else matrix

    def appearance(self, rng: Generator, image: Image) -> Image:
        """Change the appearance of a crop and occlude a part of it."""
        if rng.random() < self.grey:
            image = grey(rng, image)
        if rng.random() < self.blur:
            image = soft_blur(rng, image)
        if rng.random() < self.occlusion_share:
            image = erase(rng, image, area=self.occlusion_area)
        return self.changes[int(rng.integers(len(self.changes)))](rng, image) if self.changes else image


def disturb(rng: Generator, image: Image) -> Image:
    """Change the lighting, cover a part of a face or cut it off, each now and then."""
    if rng.random() < 0.1:
        image = lighting(rng, image)
    if rng.random() < 0.12:
        image = occlude(rng, image)
    if rng.random() < 0.05:
        image = cut_off(rng, image)
    return image


def mirror(matrix: FloatArray, size: int) -> FloatArray:
    """Return a transform (2,3) to a crop of ``size`` pixels followed by mirroring."""
    mirrored = np.stack([-matrix[0], matrix[1]])
    mirrored[0, 2] += size - 1
    return mirrored


def erase(rng: Generator, image: Image, *, area: tuple[float, float]) -> Image:
    """Cover a fraction of the image between the bounds ``area`` with a rectangle of one shade.

    Its height is 0.3 to 3.3 times its width. It lies entirely inside the image (random erasing, Zhong et al. 2020).
    """
    height, width = image.shape[:2]
    covered = rng.uniform(*area) * height * width
    aspect = float(np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3))))
    h = min(height, round((covered * aspect) ** 0.5))
    w = min(width, round(covered / max(h, 1)))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    out = image.copy()
    out[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return out


def same(rng: Generator, image: Image) -> Image:
    """Return the image unchanged."""
    return image


def grey(rng: Generator, image: Image) -> Image:
    """Remove the colour."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)


def contrast(rng: Generator, image: Image) -> Image:
    """Scale the distance of the levels from their mean by 0.5 to 1.5."""
    gain = rng.uniform(0.5, 1.5)
    return _through(image, np.repeat((np.arange(256)[:, None] - image.mean()) * gain + image.mean(), 3, axis=1))


def tint(rng: Generator, image: Image) -> Image:
    """Make each channel brighter or darker by up to a third."""
    return _through(image, np.arange(256)[:, None] * rng.uniform(0.67, 1.33, 3))


def gamma(rng: Generator, image: Image) -> Image:
    """Apply a power law with an exponent of 0.5 to 2 to the levels."""
    power = float(np.exp(rng.uniform(np.log(0.5), np.log(2))))
    return _through(image, np.repeat(255 * (np.arange(256)[:, None] / 255) ** power, 3, axis=1))


def equalise(rng: Generator, image: Image) -> Image:
    """Equalise the histogram of the brightness."""
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    planes[:, :, 0] = cv2.equalizeHist(planes[:, :, 0])
    return cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR).astype(np.uint8, copy=False)


def lighting(rng: Generator, image: Image) -> Image:
    """Light the image from one side: a gain from 0.4 to 1.6 at most across the image, in any direction."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6)
    places = np.linspace(-1, 1, 32, dtype=np.float32)  # enough for a gain that changes slowly
    slope = np.clip(np.cos(angle) * places[None] + np.sin(angle) * places[:, None], -1, 1)
    gain = cv2.cvtColor((128 * (1 + strength * slope)).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    lit = cv2.multiply(image, cv2.resize(gain, image.shape[1::-1]), scale=1 / 128)  # fastest with bytes
    return lit.astype(np.uint8, copy=False)


def _through(image: Image, levels: NDArray[np.float64]) -> Image:
    """Replace the levels of each channel by a table (256,3)."""
    table = np.clip(levels, 0, 255).astype(np.uint8).reshape(256, 1, 3)
    return cv2.LUT(image, table).astype(np.uint8, copy=False)


CHS_CHANGES: tuple[Change, ...] = (noise, grey, contrast, tint, gamma, equalise, compress, lighting, same)
"""The nine changes of appearance of heatmap-guided selective feature attention (CHS), in the paper's order."""
