"""Networks that find faces and landmarks at once (task ``faces``), used as aligner.

Such a network replaces detector and aligner. ``Detector`` runs it on the whole image, as any detector. Between two
detections it runs on a crop of each track, and its face in the middle of the crop takes the place of the output of a
landmark network. So a face costs the same in a large image as in a small one, and the network sees it at the size that
it was trained for.
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
from ..values.arrays import FloatArray, possible, probability
from ..values.geometry import Region, iou

if TYPE_CHECKING:
    from ...engines.gpu.graphs import Fill, Shape

# Side of a crop over the longer side of a face's bounding box: the middle of the training range of such networks, faces
# of 0.6 to 1.0 of the image.
MARGIN = 1.25


class MiddleFace(Closing):
    """Adapter from a network of task ``faces`` to a landmark network; implements ``engines.runtime.GpuRuntime``.

    Returns ``points``, ``confidence`` and ``presence`` of the face in the middle of each crop, as a landmark network
    does; presence is 0 if there is no face.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Use a loaded network of task ``faces``.

        Raises:
            ModelError: the network has another task.
        """
        spec = runtime.spec
        if spec.task != "faces":
            raise ModelError(f"model {spec.name!r} is a {spec.task}; give one that finds faces with their landmarks")
        side = min(spec.size)
        self._runtime, self._middle = runtime, _middle(side)
        self.spec = replace(spec, task="landmarks", size=(side, side), stride=1, crop_margin=MARGIN, visibility=False)
        self.provider, self.threads = runtime.provider, runtime.threads
        self.device, self.reason = runtime.device, runtime.reason
        self.most_on_gpu = most_on_gpu(runtime)

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network on normalised crops (B,3,S,S)."""
        return self._choose(self._runtime(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run the network on crops made on the GPU."""
        return self._choose(cast(GpuRuntime, self._runtime).run(shape, fill))

    def _choose(self, outputs: Outputs) -> Outputs:
        """Select the face in the middle of each crop from all faces found in it."""
        # empty slots may hold any values
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
    """Return the bounding box (1,4) that a face should fill in a crop of ``side`` pixels."""
    centre, half = (side - 1) / 2, side / MARGIN / 2
    return np.array([[centre - half] * 2 + [centre + half] * 2], np.float32)


def region_of_tight_box(box: FloatArray) -> Region:
    """Return the region in which to look for the landmarks of a face, from their tight bounding box (4,)."""
    x0, y0, x1, y1 = box.tolist()
    return Region((x0 + x1) / 2, (y0 + y1) / 2, MARGIN * max(x1 - x0, y1 - y0))
