"""nasion's operators in torch, computed by the compiled library.

CUDA kernels serve tensors on a GPU, the C++ references tensors on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ...engines.errors import NasionError
from ...engines.operators.bindings import Kernels, Level
from ..networks.operators import DOMAIN, as_nodes

_HALF = {torch.float32: False, torch.float16: True}


@contextmanager
def compiled_operators(kernels: Kernels) -> Iterator[None]:
    """Compute ``operators`` by ``kernels`` inside the ``with`` statement: faster, same results, no gradients.

    The CUDA kernels serve tensors on a GPU, in its current stream; the references serve tensors on the CPU. Tensors on
    any other device are served by plain torch, as usual.

    Raises:
        NasionError: inside the statement, for maps that are neither float32 nor float16.
        KernelError: inside the statement, for arguments that a kernel does not accept.
    """
    operators = _Operators(kernels)
    with torch.library._scoped_library(DOMAIN, "IMPL") as library, as_nodes():
        for name in ("multi_level_roi_align", "location_reweight"):
            library.impl(name, getattr(operators, name), "CPU" if kernels.reference else "CUDA")
        yield


class _Operators:
    """Implementations of the operators with the signatures that torch calls; see ``operators``."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def multi_level_roi_align(
        self,
        levels: list[Tensor],
        rois: Tensor,
        scales: list[float],
        output_size: int,
        sampling_ratio: int,
        normalize: bool,
        epsilon: float,
    ) -> Tensor:
        half = _is_half(*levels)
        maps, rois = [level.contiguous() for level in levels], rois.float().contiguous()
        out = maps[0].new_empty(len(rois), sum(level.shape[1] for level in maps), output_size, output_size)
        table = [_level(level, scale) for level, scale in zip(maps, scales, strict=True)]
        with _on_device_of(out):
            self._kernels.multi_level_roi_align(
                table, batch=len(maps[0]), rois=rois.data_ptr(), regions=len(rois), output=out.data_ptr(),
                output_size=output_size, sampling_ratio=sampling_ratio, normalize=normalize, epsilon=epsilon, half=half,
                stream=_stream_of(out),
            )  # fmt: skip
        return out

    def location_reweight(self, maps: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        half, maps = _is_half(maps), maps.contiguous()
        points = maps.new_empty(*maps.shape[:2], 2, dtype=torch.float32)
        confidence = maps.new_empty(maps.shape[:2], dtype=torch.float32)
        count, landmarks, height, width = maps.shape
        with _on_device_of(maps):
            self._kernels.location_reweight(
                maps.data_ptr(), (count, landmarks, height, width), points=points.data_ptr(),
                confidence=confidence.data_ptr(), threshold=threshold, half=half, stream=_stream_of(maps),
            )  # fmt: skip
        return points, confidence


def _level(maps: Tensor, scale: float) -> Level:
    _, channels, height, width = maps.shape
    return Level(maps.data_ptr(), channels, height, width, scale)


def _is_half(*maps: Tensor) -> bool:
    kinds = {each.dtype for each in maps}
    if len(kinds) != 1 or not kinds <= _HALF.keys():
        given = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise NasionError(f"maps hold {given}; the compiled operators take float32 or float16, the same for all maps")
    return _HALF[kinds.pop()]


def _on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _stream_of(tensor: Tensor) -> int:
    return int(torch.cuda.current_stream(tensor.device).cuda_stream) if tensor.is_cuda else 0
