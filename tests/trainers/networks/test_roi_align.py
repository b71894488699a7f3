"""RoIAlign against a slow NumPy reference and against results computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasion.trainers.networks.roi_align import roi_align, roi_align_levels, roi_align_list

Array = NDArray[np.float64]


def bilinear(plane: Array, y: float, x: float) -> float:
    """The value at (y, x) in cells: the border's up to a cell outside, zero further out."""
    height, width = plane.shape
    if not (-1 < y < height and -1 < x < width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = plane[top, left] * (1 - across) + plane[top, right] * across
    lower = plane[bottom, left] * (1 - across) + plane[bottom, right] * across
    return float(upper * (1 - down) + lower * down)


def oracle(features: Array, box: Array, *, size: int, scale: float, sampling: int) -> Array:
    """One box from one image's features (C,H,W), one sample at a time: the specification."""
    x0, y0 = (box[0] + 0.5) * scale - 0.5, (box[1] + 0.5) * scale - 0.5
    bin_width, bin_height = max(box[2] - box[0], 0) * scale / size, max(box[3] - box[1], 0) * scale / size
    out = np.zeros((len(features), size, size))
    for channel, plane in enumerate(features):
        for row in range(size):
            for column in range(size):
                for i in range(sampling):
                    for j in range(sampling):
                        y = y0 + (row + (i + 0.5) / sampling) * bin_height
                        x = x0 + (column + (j + 0.5) / sampling) * bin_width
                        out[channel, row, column] += bilinear(plane, y, x) / sampling**2
    return out


BOXES = {
    "inside": (8.0, 4.0, 40.0, 30.0),
    "larger than the map": (-20.0, -30.0, 90.0, 100.0),
    "half outside": (-24.0, 10.0, 20.0, 60.0),
    "smaller than a cell": (17.2, 9.1, 19.0, 10.4),
    "empty": (13.0, 21.0, 13.0, 21.0),
    "inverted": (30.0, 20.0, 10.0, 5.0),
    "far outside": (500.0, 500.0, 540.0, 540.0),
}


@pytest.mark.parametrize("sampling", [1, 2, 3])
@pytest.mark.parametrize("scale", [1 / 4, 1 / 8])
def test_it_agrees_with_the_slow_reference(scale: float, sampling: int) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2, 3, int(48 * scale), int(64 * scale)))
    boxes = np.array(list(BOXES.values()))
    ours = roi_align(
        torch.from_numpy(features),
        torch.from_numpy(np.stack([boxes, boxes + 1.7])),
        size=3,
        scale=scale,
        sampling=sampling,
    )
    for image, shift in ((0, 0.0), (1, 1.7)):
        for k, name in enumerate(BOXES):
            expected = oracle(features[image], boxes[k] + shift, size=3, scale=scale, sampling=sampling)
            np.testing.assert_allclose(ours[image, k].numpy(), expected, atol=1e-9, err_msg=name)


def test_on_a_ramp_every_bin_is_the_place_of_its_centre() -> None:
    """A map whose value is the pixel it is centred on: cell j of stride 4 is pixel 4 j + 1.5."""
    ramp = (torch.arange(16.0) * 4 + 1.5).expand(1, 1, 16, 16)
    out = roi_align(ramp, torch.tensor([[[10.0, 10.0, 38.0, 24.0]]]), size=7, scale=1 / 4)
    torch.testing.assert_close(out[0, 0, 0, 0], torch.tensor([12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0]))
    down = roi_align(ramp.transpose(2, 3), torch.tensor([[[10.0, 10.0, 38.0, 24.0]]]), size=7, scale=1 / 4)
    torch.testing.assert_close(down[0, 0, 0, :, 0], torch.tensor([11.0, 13.0, 15.0, 17.0, 19.0, 21.0, 23.0]))


def test_a_box_outside_is_zero_and_an_empty_box_is_its_corner() -> None:
    ramp = (torch.arange(16.0) * 4 + 1.5).expand(1, 1, 16, 16)
    boxes = torch.tensor([[[200.0, 10.0, 240.0, 30.0], [21.0, 30.0, 21.0, 30.0]]])
    out = roi_align(ramp, boxes, size=2, scale=1 / 4)
    assert out[0, 0].abs().max() == 0
    torch.testing.assert_close(out[0, 1], torch.full((1, 2, 2), 21.0))


def test_a_list_of_boxes_takes_each_from_its_own_image() -> None:
    features = torch.randn(3, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [0.0, 8.0, 40.0, 20.0], [4.0, 4.0, 30.0, 30.0]])
    images = torch.tensor([2, 0, 1])
    out = roi_align_list(features, boxes, images, size=5, scale=1 / 4)
    for row, (box, image) in enumerate(zip(boxes, images, strict=True)):
        alone = roi_align(features[int(image)][None], box[None, None], size=5, scale=1 / 4)
        torch.testing.assert_close(out[row], alone[0, 0])


def test_an_empty_list_gives_an_empty_result() -> None:
    out = roi_align_list(
        torch.randn(2, 4, 8, 8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size=5, scale=1 / 4
    )
    assert out.shape == (0, 4, 5, 5)


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert roi_align(torch.randn(0, 4, 8, 8), torch.zeros(0, 2, 4), size=5, scale=1 / 4).shape == (0, 2, 4, 5, 5)


def test_each_level_has_its_own_scale_and_sampling_ratio() -> None:
    levels = [torch.randn(1, 2, 16, 16), torch.randn(1, 5, 8, 8)]
    boxes = torch.tensor([[[3.0, 5.0, 40.0, 50.0]]])
    fine, coarse = roi_align_levels(levels, boxes, size=4, scales=(1 / 4, 1 / 8), samplings=(2, 1))
    torch.testing.assert_close(fine, roi_align(levels[0], boxes, size=4, scale=1 / 4, sampling=2))
    torch.testing.assert_close(coarse, roi_align(levels[1], boxes, size=4, scale=1 / 8, sampling=1))


def test_gradients_reach_features_and_boxes() -> None:
    features = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[3.1, 5.2, 20.3, 24.4]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, b: roi_align(f, b, size=2, scale=1 / 4), (features, boxes))


class Pooled(nn.Module):
    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        return roi_align(features, boxes, size=3, scale=1 / 4)


def test_it_runs_in_onnx_runtime_with_any_batch(tmp_path: Path) -> None:
    import onnxruntime

    generator = torch.Generator().manual_seed(1)
    batch = torch.export.Dim("batch", min=1, max=64)
    sample = (torch.randn(2, 3, 8, 10, generator=generator), torch.rand(2, 4, 4) * 30)
    program = torch.export.export(Pooled(), sample, dynamic_shapes=({0: batch}, {0: batch}), strict=False)
    written = torch.onnx.export(program, dynamo=True, verbose=False)
    assert written is not None
    written.save(tmp_path / "roi.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "roi.onnx"))
    features, boxes = torch.randn(3, 3, 8, 10, generator=generator), torch.rand(3, 4, 4, generator=generator) * 50
    names = [entry.name for entry in session.get_inputs()]
    (ours,) = session.run(None, dict(zip(names, (features.numpy(), boxes.numpy()), strict=True)))
    np.testing.assert_allclose(ours, Pooled()(features, boxes).numpy(), atol=1e-5)
