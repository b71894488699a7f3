"""Networks that find faces together with their landmarks (task ``faces``), in the place of an aligner.

Such a network stands in for detector and aligner. ``Detector`` shows it the whole picture, as any detector; between
two such looks it sees each face that is followed in a crop of its own, and what it says of the middle of the crop is
what a landmark network would say. So a face costs the same in a large picture and in a small one, and is shown to the
network at the size that it knows best.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ...engines.closing import Closing
from ...engines.errors import ModelError
from ...engines.runtime import GpuRuntime, Runtime, most_on_gpu
from ...engines.spec import Outputs
from ..arrays import possible, probability
from ..faces import FloatArray
from ..geometry import Region, iou

if TYPE_CHECKING:
    from ...engines.gpu.graphs import Fill, Shape

# Side of a crop over the longer side of a face's box: the middle of what such networks learn from, faces of 0.6 to 1.0
# of the picture.
MARGIN = 1.25


class MiddleFace(Closing):
    """The face in the middle of each crop, by a network of whole pictures; implements ``engines.runtime.GpuRuntime``.

    ``points``, ``confidence`` and ``presence`` as of a landmark network; presence is 0 where no face lies there.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Use a loaded network.

        Raises:
            ModelError: it does not find faces with landmarks.
        """
        spec = runtime.spec
        if spec.task != "faces":
            raise ModelError(f"model {spec.name!r} is a {spec.task}; give one that finds faces with their landmarks")
        side = min(spec.size)
        self._runtime, self._middle = runtime, _middle(side)
        self.spec = replace(spec, task="landmarks", size=(side, side), stride=1, crop_margin=MARGIN)
        self.provider, self.threads = runtime.provider, runtime.threads
        self.device, self.reason = runtime.device, runtime.reason
        self.most_on_gpu = most_on_gpu(runtime)

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run crops (B,3,S,S), already normalised."""
        return self._choose(self._runtime(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run crops that are made on the GPU."""
        return self._choose(cast(GpuRuntime, self._runtime).run(shape, fill))

    def _choose(self, outputs: Outputs) -> Outputs:
        """Of what was found in each crop, the face in the middle."""
        # an empty slot may hold anything
        scores = probability(outputs["scores"]) * probability(outputs["valid"])
        boxes = np.where(possible(outputs["boxes"], -1)[..., None], outputs["boxes"], np.float32(0))
        overlap = iou(boxes.reshape(-1, 4), self._middle).reshape(scores.shape)
        likely = scores * overlap
        crops, best = np.arange(len(boxes)), likely.argmax(axis=1)
        return {
            "points": outputs["points"][crops, best],
            "confidence": outputs["confidence"][crops, best],
            "presence": np.where(likely[crops, best] > 0, scores[crops, best], 0).astype(np.float32),
        }

    def close(self) -> None:
        """Close the network."""
        self._runtime.close()


def _middle(side: int) -> FloatArray:
    """The box (1,4) that a face should fill in a crop of ``side`` pixels."""
    centre, half = (side - 1) / 2, side / MARGIN / 2
    return np.array([[centre - half] * 2 + [centre + half] * 2], np.float32)


def region_of_tight_box(box: FloatArray) -> Region:
    """Where to look for the landmarks of a face whose box (4,) lies close around its points."""
    x0, y0, x1, y1 = box.tolist()
    return Region((x0 + x1) / 2, (y0 + y1) / 2, MARGIN * max(x1 - x0, y1 - y0))
