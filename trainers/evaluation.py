"""Run networks over labelled sets through the tracker's own detector and aligner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..engines.runtime import Outputs, Runtime
from ..engines.spec import Spec
from ..realtime.faces import FloatArray
from .datasets import DetectionSet, read_image
from .metrics import Found

SMALLEST_FACE = 24.0  # pixels of the shorter side; smaller faces are ignored, as in data/README
OWN_SIZE = 1 << 14  # a detector size that no picture of the sets reaches: nothing is reduced
LOWEST_SCORE = 0.02


class ModuleRuntime:
    """A module in training behind the interface of ``engines.runtime.Runtime``.

    So validation runs the tracker's own detector and aligner.
    """

    provider, threads = "torch CPU", 0

    def __init__(self, module: nn.Module, spec: Spec) -> None:
        """Run ``module``, an export wrapper, as described by ``spec``."""
        self.module, self.spec = module.eval(), spec

    @torch.no_grad()
    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W)."""
        return {name: value.numpy() for name, value in self.module(torch.from_numpy(images)).items()}

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""


def detect_faces(runtime: Runtime, data: DetectionSet, *, size: int | None = OWN_SIZE) -> list[Found]:
    """Detections and truth of every picture; ``size`` is the detector's longest side, None its default."""
    from ..realtime.detector import Detector

    detector = Detector(runtime, size=size, threshold=LOWEST_SCORE)
    results = []
    for file, truth, invalid in zip(data.files, data.boxes, data.invalid, strict=True):
        seen = detector.detect(read_image(file))
        small = (truth[:, 2:] - truth[:, :2]).min(axis=1) < SMALLEST_FACE if len(truth) else np.zeros(0, bool)
        results.append(Found(seen.boxes, seen.scores, truth, small | invalid))
    return results


def highest_scores(runtime: Runtime, files: Sequence[Path], *, size: int | None = OWN_SIZE) -> FloatArray:
    """Highest score of the detector on each picture, 0 where it says nothing."""
    from ..realtime.detector import Detector

    detector = Detector(runtime, size=size, threshold=LOWEST_SCORE)
    return np.array([max(detector.detect(read_image(file)).scores, default=0.0) for file in files], np.float32)
