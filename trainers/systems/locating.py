"""Landmarks of any network on labelled sets, mapped back to image coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...engines.errors import ModelError
from ...engines.runtime import Runtime
from ...engines.select import open_runtime
from ...engines.spec import Outputs
from ...engines.zoo import model_path
from ...realtime.tracking.tracker import Tracker
from ...realtime.values.arrays import FloatArray
from ...realtime.values.geometry import Region, box_of, iou, region_of_points, to_frame, to_tensor, transform, warp
from ..data import LandmarkSet
from ..data.masks import face_images
from ..evaluation.tracking import FOUND_OVERLAP, Located, ModuleRuntime, Watch, locate, unwatched, watched
from ..learner import Learner, device_of
from ..training.recipes import checkpoint_named
from .heat_maps import Decoding, read_by

BATCH = 16  # crops per batch
FILL = 0.8  # size of the face relative to the image's side, for networks that detect faces themselves

# --- networks


@dataclass(frozen=True, slots=True)
class Model:
    """Network ready for evaluation.

    Attributes:
        name: name given by the user.
        system: recipe or model name, as used by ``published``.
        runtime: runtime of the network.
        about: details for the report.
        learner: learner of a checkpoint; None for a file.
        in_boxes: landmark head of a network that detects faces itself: maps normalised images (B,3,S,S) and boxes
            (B,1,4) in their pixels to ``points`` (B,1,n,2) and ``confidence``; None if there is no such head.
    """

    name: str
    system: str
    runtime: Runtime
    about: dict[str, Any]
    learner: Learner | None = None
    in_boxes: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None

    @property
    def whole(self) -> bool:
        """True if the network detects the faces itself."""
        return self.runtime.spec.task == "faces"


@contextmanager
def opened(name: str, *, device: torch.device | str = "cpu", decoding: Decoding | None = None) -> Iterator[Model]:
    """Open a checkpoint of ``nasion train``, a file written by ``nasion export``, or a shipped network.

    Args:
        name: path of a checkpoint or of its folder, path of an exported file, or name of a shipped network.
        device: device for checkpoints.
        decoding: decoding of the maps of a checkpoint, if its recipe allows a choice.

    Raises:
        ModelError: ``name`` is none of these, the network finds no landmarks, or ``decoding`` is given for a file,
            which has its decoding inside.
        NasionError: the decoding of the network cannot be chosen.
    """
    path = checkpoint_named(name)
    if decoding and path.suffix != ".pt":
        raise ModelError(
            f"model {name!r} has its decoding inside; give best.pt, or export it with --decoding {decoding}"
        )
    model = _checkpoint(name, path, device, decoding) if path.suffix == ".pt" else _file(name, path)
    with model.runtime:
        if model.runtime.spec.task == "detector":
            raise ModelError(f"model {name!r} is a {model.runtime.spec.task}; give a network that finds landmarks")
        yield model


def _checkpoint(name: str, path: Path, device: torch.device | str, decoding: Decoding | None) -> Model:
    from ..training.recipes import load_trained

    trained = load_trained(path)
    if decoding:
        read_by(trained.learner, decoding)
    made_by = {"recipe": trained.recipe.name, "version": trained.options.version or 1}
    about = {**made_by, "options": trained.options.described(), "step": trained.step}
    runtime = ModuleRuntime(trained.network.to(device), trained.spec)
    alone = None
    if trained.spec.task == "faces":
        from ..networks.rdfn.network import HeadAlone

        alone = HeadAlone(trained.learner.network).eval()  # type: ignore[arg-type]  # the one kind with this task
    return Model(name, trained.recipe.name, runtime, about, trained.learner, alone)


def _file(name: str, path: Path) -> Model:
    runtime = open_runtime(path if path.is_file() else model_path(name))
    return Model(name, runtime.spec.name, runtime, {"provider": runtime.provider})


# --- locating landmarks


def locate_at_truth(runtime: Runtime, data: LandmarkSet, *, masks: bool = False, watch: Watch = unwatched) -> Located:
    """Return the landmarks found in crops around the annotated landmarks.

    Crops are squares with the network's margin, not rotated. With ``masks`` the faces wear synthetic masks.

    Raises:
        ModelError: the network has another number of landmarks than the set.
    """
    _check_points(runtime, data)
    points, confidence = [], []
    images = watched(face_images(data, masks=masks), data.name, len(data), watch)
    for start in range(0, len(data), BATCH):
        regions = [_region(face, runtime) for face in data.points[start : start + BATCH]]
        size, spec = runtime.spec.size[0], runtime.spec
        crops = [warp(image, region.to_crop(size), size) for region, image in zip(regions, images, strict=False)]
        outputs = runtime(to_tensor(crops, spec.mean, spec.std, rgb=spec.channels == "rgb"))
        points.append(to_frame(outputs["points"], regions, size))
        confidence.append(outputs["confidence"])
    return Located(np.concatenate(points), np.concatenate(confidence))


def _region(points: FloatArray, runtime: Runtime) -> Region:
    return region_of_points(points[~np.isnan(points[:, 0])], margin=runtime.spec.crop_margin)


def locate_by_detector(
    runtime: Runtime, detector: Runtime, data: LandmarkSet, *, masks: bool = False, watch: Watch = unwatched
) -> Located:
    """Return the landmarks of the labelled face as tracked in the whole image, NaN where the tracker misses it.

    With ``masks`` the labelled faces wear synthetic masks.

    Raises:
        ModelError: the network has another number of landmarks than the set.
    """
    _check_points(runtime, data)
    with Tracker.from_networks(detector, runtime, smooth="none") as tracker:
        return locate(tracker, data, masks=masks, watch=watch)


def _check_points(runtime: Runtime, data: LandmarkSet) -> None:
    ours, theirs = runtime.spec.landmarks, data.points.shape[1]
    if ours != theirs:
        raise ModelError(f"model {runtime.spec.name!r} finds {ours} landmarks, the set {data.name} has {theirs}")


# --- networks that detect faces themselves


def locate_in_images(
    model: Model, data: LandmarkSet, *, boxes: bool, masks: bool = False, watch: Watch = unwatched
) -> Located:
    """Return the landmarks of the labelled face by a network that detects faces itself.

    The face is centred and upright in the image and takes ``FILL`` of its side.

    Args:
        model: network that detects faces itself.
        data: labelled faces.
        boxes: give the network the true boxes; otherwise it detects the face, and a missed face is NaN.
        masks: put synthetic masks on the faces.
        watch: called with each face.

    Raises:
        ModelError: the network has another number of landmarks than the set, or takes no boxes.
    """
    _check_points(model.runtime, data)
    if boxes and model.in_boxes is None:
        raise ModelError(
            f"model {model.name!r} detects faces itself and takes no boxes, like every exported file of that kind; "
            "measure it with --detector own, or give the checkpoint, whose landmark head takes true boxes"
        )
    size, spec = model.runtime.spec.size[0], model.runtime.spec
    points = np.full(data.points.shape, np.nan, np.float32)
    confidence = np.full(data.points.shape[:2], np.nan, np.float32)
    for i, image in enumerate(watched(face_images(data, masks=masks), data.name, len(data), watch)):
        truth = data.points[i][~np.isnan(data.points[i, :, 0])]
        region = region_of_points(truth, margin=1 / FILL)
        matrix = region.to_crop(size)
        tensor = to_tensor([warp(image, matrix, size)], spec.mean, spec.std, rgb=spec.channels == "rgb")
        box = box_of(transform(truth, matrix))
        outputs = _in_box(model, tensor, box) if boxes else model.runtime(tensor)
        face = 0 if boxes else _found(outputs, box)
        if face is not None:
            (points[i],) = to_frame(outputs["points"][:, face], [region], size)
            confidence[i] = outputs["confidence"][0, face]
    return Located(points, confidence)


@torch.no_grad()
def _in_box(model: Model, images: FloatArray, box: FloatArray) -> Outputs:
    """Run the landmark head in one true box (4,) of one image (1,3,S,S)."""
    assert model.in_boxes is not None
    assert isinstance(model.runtime, ModuleRuntime)
    device = device_of(model.runtime.module)
    outputs = model.in_boxes(torch.from_numpy(images).to(device), torch.from_numpy(box)[None, None].to(device))
    return {name: value.cpu().numpy() for name, value in outputs.items()}


def _found(outputs: Outputs, truth: FloatArray) -> int | None:
    """Return the index of the valid face of the first image with the highest IoU with the box ``truth`` (4,).

    Returns None if that IoU is below ``FOUND_OVERLAP``.
    """
    overlap = iou(outputs["boxes"][0], truth[None])[:, 0] * outputs["valid"][0]
    best = int(overlap.argmax())
    return best if overlap[best] >= FOUND_OVERLAP else None
