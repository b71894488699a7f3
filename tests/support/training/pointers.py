"""The smallest learner that points at a face: one convolution and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from nasion.engines.spec import Spec
from nasion.trainers.data.samples import FaceItem
from nasion.trainers.learner import Learner


class Pointer(Learner):
    """Points of a face from a crop reduced to 4 x 4 cells."""

    def __init__(self, *, landmarks: int = 68, size: int = 32) -> None:
        super().__init__()
        self.spec = Spec(task="landmarks", name="pointer", size=(size, size), landmarks=landmarks, crop_margin=1.3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.linear = nn.Linear(64, 3 * landmarks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        side = self.spec.size[0]
        cells = nn.functional.avg_pool2d(self.conv(images).relu(), side // 4).flatten(1)
        out = self.linear(cells).unflatten(1, (-1, 3))
        return {"points": (out[..., :2] + 0.5) * side, "confidence": out[..., 2].sigmoid()}

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        error = (self(batch["image"])["points"] - batch["points"]).norm(dim=2)
        return {"points": (error * batch["known"]).mean() / self.spec.size[0]}
