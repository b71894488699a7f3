"""Comparison of an exported network with torch, and the images it is done on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...engines.select import open_runtime
from ...engines.spec import Spec
from ...engines.tensorrt.onnx_file import Precision
from ...engines.tensorrt.parity import Difference, differences
from ...engines.tensorrt.photograph import views
from ...realtime.sources.image_files.reading import read_image
from ...realtime.values.arrays import FloatArray
from ...realtime.values.geometry import Region, region_of_points, to_tensor, warp
from ..data import read_set

WIDE = 1.5  # side of an image relative to its face, for networks that detect the face themselves


def example(spec: Spec, *, batch: int = 2, seed: int = 0) -> Tensor:
    """Return random images (batch,3,H,W) of the size and normalisation that ``spec`` requires."""
    rng = np.random.default_rng(seed)
    levels = 255 * torch.from_numpy(rng.random((batch, 3, spec.size[1], spec.size[0]), np.float32))
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    return (levels - mean) / std


def photographs(spec: Spec, *, data: Path | None = None, name: str = "300w", count: int = 3) -> Tensor:
    """Return faces (count,3,S,S), preprocessed as ``spec`` requires.

    They come from the photograph in the package, or from the data set ``name`` in the folder ``data``.

    Raises:
        DataError: ``data`` does not hold the set ``name``.
    """
    if data is None:
        return torch.from_numpy(views(spec, count))
    faces = read_set(name, data, part="test")
    chosen = np.linspace(0, len(faces) - 1, count).astype(int)
    margin = spec.crop_margin if spec.task == "landmarks" else WIDE
    regions = [_around(faces.points[i], margin).to_crop(spec.size[0]) for i in chosen]
    crops = [warp(read_image(faces.files[i]), region, spec.size[0]) for i, region in zip(chosen, regions, strict=True)]
    return torch.from_numpy(to_tensor(crops, spec.mean, spec.std, rgb=spec.channels == "rgb"))


def _around(points: FloatArray, margin: float) -> Region:
    return region_of_points(points[np.isfinite(points[:, 0])], margin=margin)


def compare(
    network: nn.Module, spec: Spec, path: Path, images: Tensor, precision: Precision = "fp32"
) -> dict[str, Difference]:
    """Compare the outputs of an exported file with torch's; each difference is in the unit of its output.

    ``images`` are normalised as in ``spec``, the network's spec; the file may require another normalisation.
    """
    with open_runtime(path, device="cpu") as runtime, torch.no_grad():
        mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
        asked = (np.array(values, np.float32).reshape(3, 1, 1) for values in (runtime.spec.mean, runtime.spec.std))
        levels = images.numpy() * std + mean
        found = runtime((levels - next(asked)) / next(asked))
        expected = {name: value.numpy() for name, value in network.eval()(images).items()}
    return differences(expected, found, precision)


def worst_difference(network: nn.Module, spec: Spec, path: Path, images: Tensor) -> dict[str, float]:
    """Return the largest absolute difference of each output between torch and the exported file; see ``compare``."""
    return {name: each.worst for name, each in compare(network, spec, path, images).items()}
