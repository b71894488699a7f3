"""TensorRT or TensorRT-RTX: the fastest runtime on an NVIDIA GPU."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import DeviceError, RuntimeUnavailable
from ..gpu.device import Device
from ..gpu.driver import gpus
from ..gpu.graphs import Batches, Fill, Shape
from ..runtime import gpu_number
from ..spec import Outputs
from .compile import BuildOptions, plan_named, plan_of
from .library import tensorrt


class TensorRtRuntime(Closing):
    """An ONNX file, or a plan built from one, on a GPU; implements ``engines.runtime.GpuRuntime``.

    The plan of an ONNX file is read from the cache, or built first, which takes seconds to minutes. The same holds for
    the replacement of a named plan that was built for another configuration. A plan is code: only plans from the user's
    own cache, and plans that the user names, are run.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "auto", longest: int | None = None) -> None:
        """Load ``path``, with a plan for images whose sides have up to ``longest`` pixels; ``threads`` is ignored.

        Raises:
            ModelError: the file is damaged or not a nasion model.
            RuntimeUnavailable: TensorRT, a GPU or another requirement is missing.
        """
        if device == "cpu":
            raise RuntimeUnavailable("TensorRT runs on NVIDIA GPUs only; give --device cuda:0, or --runtime onnx")
        library = tensorrt()
        with ExitStack() as opened:
            try:
                gpu = opened.enter_context(Device(gpu_number(device)))
            except DeviceError as error:
                raise RuntimeUnavailable(f"TensorRT needs an NVIDIA GPU: {error}") from error
            if path.suffix == ".plan":
                ready = plan_named(path, library, gpu)
            else:
                ready = plan_of(path, library, gpu, build_options=BuildOptions(shown=longest))
            plan, engine = ready.plan, opened.enter_context(ready.engine)
            batches = Batches(gpu, engine.prepare, least=plan.batch[0], most=plan.batch[2])
            self._batches = opened.enter_context(batches)
            batches.warm_up((3, *reversed(plan.spec.size)))
            self._opened = opened.pop_all()
        self.spec = plan.spec
        self.provider, self.device = str(library), f"cuda:{gpu.gpu.number}"
        self.reason, self.threads, self.precision = "asked for: tensorrt", threads, plan.key.precision
        self.gpu, self.most_on_gpu = gpu, plan.batch[2]

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run normalised images (B,3,H,W) and return each output by name."""
        return self.spec.check_outputs(self._batches(images), len(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images that are produced on the GPU.

        Args:
            shape: (B,3,H,W) of the images; B is at most the maximum batch size of the plan.
            fill: called with the network's input in GPU memory and the stream that the network runs on afterwards;
                enqueues the work that writes the images.
        """
        return self.spec.check_outputs(self._batches.run(shape, fill), shape[0])

    def close(self) -> None:
        """Free the network and all of its memory."""
        self._opened.close()


def describe() -> str:
    """Return the version and the GPUs, for ``nasion doctor``.

    Raises:
        RuntimeUnavailable: TensorRT does not work on this machine.
    """
    library = tensorrt()
    try:
        names = ", ".join(gpu.name for gpu in gpus())
    except DeviceError as error:
        raise RuntimeUnavailable(f"{library} is installed, but {error}") from error
    return f"works: {library} on {names}"
