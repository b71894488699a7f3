"""Networks that need no training: to them a face is a disc of a bright colour, before a grey backdrop.

They are real runtimes in that they see nothing but the tensor that the detector or the aligner hands them. So
whole stories can be played to the tracker, frame by frame, with real crops, scales and occlusions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import cv2
import numpy as np

from nasion.engines.spec import Spec
from nasion.realtime.faces.frame import Frame

# BGR
RED, GREEN, BLUE, YELLOW, CYAN = (0, 0, 230), (0, 230, 0), (230, 0, 0), (0, 230, 230), (230, 230, 0)
COLOURS = (RED, GREEN, BLUE, YELLOW, CYAN)
FOREHEAD = 0.24  # of the disc's height: a detector's box begins above the brows
SIZE = (320, 240)
MARGIN = 1.35

# 68 points of a face that is 2 wide and 2 high; they touch all four sides, and the eyes are level
_angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
TEMPLATE = np.concatenate(
    [
        np.stack([np.cos(_angles), np.sin(_angles)], axis=1),
        np.stack([np.cos(np.linspace(0, 2 * np.pi, 6, endpoint=False)) * 0.15 + x for x in (-0.4, 0.4)])
        .reshape(-1, 1)
        .repeat(2, axis=1)
        * [1, 0]
        + [0, -0.3],
        np.stack([np.linspace(-0.4, 0.4, 20), np.full(20, 0.5)], axis=1),
    ]
).astype(np.float32)


@dataclass(frozen=True)
class Disc:
    """A face: its colour, its centre and its diameter in pixels."""

    colour: tuple[int, int, int]
    x: float
    y: float
    size: float = 60.0


def backdrop(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey image with the soft and the fine texture of a photograph."""
    return _backdrop(seed, size).copy()


@lru_cache
def _backdrop(seed: int, size: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(seed)
    width, height = size
    grey = np.full((height, width), 120.0, np.float32)
    for cells, contrast in ((3, 70), (8, 40), (24, 20), (80, 10)):
        coarse = random.uniform(-contrast, contrast, (cells, cells)).astype(np.float32)
        grey += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(np.clip(grey, 10, 245).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def draw(*discs: Disc, on: np.ndarray | None = None) -> np.ndarray:
    """An image of discs; later ones hide earlier ones."""
    image = backdrop() if on is None else on.copy()
    for disc in discs:
        centre = round(disc.x * 16), round(disc.y * 16)
        cv2.circle(image, centre, round(disc.size * 8), disc.colour, -1, cv2.LINE_AA, shift=4)
    return image


def frame(index: int, *discs: Disc, on: np.ndarray | None = None, fps: float = 30.0) -> Frame:
    """The same as a frame of a video."""
    return Frame(image=draw(*discs, on=on), time=index / fps, index=index)


class FakeRuntime:
    """Base of all fakes: a spec, and a record of the calls."""

    provider, threads, device, reason = "fake", 1, "cpu", "a fake"

    def __init__(self, spec: Spec) -> None:
        self.spec, self.batches, self.closed = spec, [], False

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DiscDetector(FakeRuntime):
    """Sees every disc of which much is visible."""

    def __init__(self, least: int = 40) -> None:
        super().__init__(Spec("detector", "disc-detector", (320, 320), stride=32))
        self._least = least

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        boxes = []
        for mask in _masks(images[0]):
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            boxes += [_face_box(x, y, w, h) for x, y, w, h, area in stats[1:] if area >= self._least]
        return {
            "boxes": np.array(boxes, np.float32).reshape(1, -1, 4),
            "scores": np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)[None],
        }


def _face_box(x: int, y: int, width: int, height: int) -> tuple[float, ...]:
    return x - 0.5, y - 0.5 - FOREHEAD * height, x + width - 0.5, y + height - 0.5


class DiscAligner(FakeRuntime):
    """Places 68 points on the disc that fills most of the crop; presence tells a round, full-sized one from else."""

    def __init__(self) -> None:
        super().__init__(Spec("landmarks", "disc-68", (128, 128), landmarks=68, crop_margin=MARGIN))

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        found = [self._align(image) for image in images]
        presence = np.array([present for _, present in found], np.float32)
        return {
            "points": np.stack([points for points, _ in found]),
            "confidence": np.repeat(presence[:, None], 68, axis=1),
            "presence": presence,
        }

    def _align(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        mask = max(_masks(image), key=np.count_nonzero)
        x, y, width, height = cv2.boundingRect(mask)
        if not width:
            return TEMPLATE * 40 + 63.5, 0.0
        centre = np.array([x + (width - 1) / 2, y + (height - 1) / 2], np.float32)
        points = TEMPLATE * np.array([width / 2, height / 2], np.float32) + centre
        round_and_full = np.count_nonzero(mask) / (np.pi / 4 * max(width, height) ** 2)
        right_size = max(width, height) > 40
        return points.astype(np.float32), float(np.clip(round_and_full, 0, 1) ** 2) * right_size


class DiscFaces(FakeRuntime):
    """Sees every disc of which much is visible, with its 68 points; slots that are left over hold nonsense."""

    def __init__(self, slots: int = 4) -> None:
        super().__init__(Spec("faces", "disc-faces", (128, 128), stride=16, landmarks=68))
        self._slots = slots

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        shape = len(images), self._slots
        boxes, points = np.full((*shape, 4), np.nan, np.float32), np.full((*shape, 68, 2), np.nan, np.float32)
        scores, valid = np.full(shape, 0.4, np.float32), np.zeros(shape, np.float32)
        for i, image in enumerate(images):
            for k, (box, score) in enumerate(_round_ones(image)[: self._slots]):
                middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
                boxes[i, k], points[i, k], scores[i, k], valid[i, k] = box, TEMPLATE * half + middle, score, score > 0.5
        return {
            "boxes": boxes,
            "scores": scores,
            "points": points,
            "confidence": np.repeat(scores[..., None], 68, axis=2),
            "valid": valid,
        }


def _round_ones(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Box (4,) and roundness in 0..1 of every disc of at least 12 pixels, the roundest first."""
    found = []
    for mask in _masks(image):
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        for x, y, width, height, area in stats[1:]:
            if max(width, height) >= 12:
                roundness = float(np.clip(area / (np.pi / 4 * max(width, height) ** 2), 0, 1) ** 2)
                found.append((np.array([x, y, x + width - 1, y + height - 1], np.float32), roundness))
    return sorted(found, key=lambda each: -each[1])


class Script(FakeRuntime):
    """A landmark network that finds the template in every crop, with one presence after the other."""

    def __init__(self, *presence: float) -> None:
        super().__init__(Spec("landmarks", "script", (128, 128), landmarks=68, crop_margin=MARGIN))
        self._presence = list(presence)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        presence = np.full(len(images), self._presence.pop(0), np.float32)
        points = np.stack([TEMPLATE * 64 / MARGIN + 63.5] * len(images))
        return {"points": points, "confidence": np.ones((len(images), 68), np.float32), "presence": presence}


class Constant(FakeRuntime):
    """Answers the same to everything, for each image of the batch."""

    def __init__(self, spec: Spec, **outputs: object) -> None:
        super().__init__(spec)
        self._outputs = {name: np.asarray(value, np.float32) for name, value in outputs.items()}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        return {name: np.stack([value] * len(images)) for name, value in self._outputs.items()}


def _masks(image: np.ndarray) -> list[np.ndarray]:
    """For each colour where it is in an RGB/255 image (3, h, w)."""
    bright = (image > 0.55) * np.array([1, 2, 4], np.uint8)[:, None, None]
    code = bright[0] + bright[1] + bright[2]
    code[image.min(axis=0) > 0.35] = 0  # pale, so no colour
    wanted = [(colour[2] > 0) + 2 * (colour[1] > 0) + 4 * (colour[0] > 0) for colour in COLOURS]
    return [(code == number).astype(np.uint8) for number in wanted]
