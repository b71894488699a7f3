"""TensorRT engine of a plan: deserialisation, execution contexts, inspection."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..closing import Closing
from ..errors import DeviceError, ModelError, RuntimeUnavailable
from ..gpu.device import Device, Memory
from ..gpu.graphs import ArrayType, Shape
from .build import TYPES
from .library import TensorRt
from .plan_cache import Plan


class Engine(Closing):
    """A plan loaded into TensorRT on one GPU.

    Attributes:
        dtypes: TensorRT's types of inputs and outputs, by name.
    """

    def __init__(self, library: TensorRt, device: Device, plan: Plan) -> None:
        """Deserialise a plan.

        Raises:
            RuntimeUnavailable: TensorRT rejects the plan.
        """
        self._library, self._device, self._plan = library, device, plan
        library.complaints()
        with device.current():
            self._runtime: Any = library.made("Runtime")
            self._engine: Any = self._runtime.deserialize_cuda_engine(plan.engine)
        if self._engine is None:
            raise RuntimeUnavailable(f"{library} does not accept the plan of {plan.spec.name}{library.complaints()}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = library.api.TensorIOMode
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == modes.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        self.dtypes = {name: self._engine.get_tensor_dtype(name) for name in names}
        self._scratch: list[Memory] = []

    def prepare(self, shape: Shape) -> TensorRtWork:
        """Prepare the network for images of a shape (B,3,H,W).

        All prepared networks share their scratch memory, so only one may run at a time; ``Batches`` ensures this.

        Raises:
            ModelError: the plan was not built for this shape.
            DeviceError: there is not enough GPU memory.
        """
        context = self._context()
        if context is None:
            raise DeviceError(
                f"there is not enough memory for {self._plan.spec.name} on {self._device.gpu.name}"
                f"{self._library.complaints()}; close other programs on this GPU"
            )
        name = self._inputs[0]
        if not context.set_input_shape(name, shape):
            raise ModelError(
                f"the plan of {self._plan.spec.name} takes images of {self._plan.key.profile} (batch x width x "
                f"height), not {shape[0]} x {shape[3]} x {shape[2]}; give a plan that does, of: nasion compile "
                "MODEL.onnx --longest PIXELS --batch FEWEST:USUAL:MOST -o MODEL.plan"
            )
        self._lend_scratch(context)
        outputs = {each: self._tensor(context, each) for each in self._outputs}
        return TensorRtWork(self._library, context, name, self._tensor(context, name), outputs)

    def _context(self) -> Any:
        """Create an execution context for one shape, or return None if there is no memory for it."""
        context = self._new_context()
        if context is not None:  # layers are named for profilers by default, which costs time at every run
            context.nvtx_verbosity = self._library.api.ProfilingVerbosity.NONE
        return context

    def _new_context(self) -> Any:
        """Create an execution context without memory.

        It gets no scratch memory of its own, which would be sized for the largest shape. TensorRT-RTX compiles kernels
        for the shape at the first run; a graph recorded before that would keep slower kernels.
        """
        api = self._library.api
        managed = api.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._library.kind == "tensorrt":
            return self._engine.create_execution_context(managed)
        wanted = self._engine.create_runtime_config()
        wanted.set_execution_context_allocation_strategy(managed)
        wanted.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(wanted)

    def _lend_scratch(self, context: Any) -> None:
        """Give a context, whose shapes are set, scratch memory shared with the other contexts.

        Earlier blocks stay allocated because recorded graphs use them. Each new block is therefore twice as large as
        the last one.
        """
        needed, last = context.update_device_memory_size_for_shapes(), self._scratch[-1].nbytes if self._scratch else 0
        if needed > last:
            size = max(needed, min(2 * last, self._engine.device_memory_size_v2))
            self._scratch.append(self._device.memory((size,), np.uint8))
        if self._scratch:
            context.set_device_memory(self._scratch[-1].address, self._scratch[-1].nbytes)

    def _tensor(self, context: Any, name: str) -> ArrayType:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise ModelError(
                f"output {name!r} of {self._plan.spec.name} has a size that depends on the image content; {_FIX}"
            )
        return ArrayType(shape, np.dtype(TYPES[self.dtypes[name].name]))

    def layers(self) -> Mapping[str, int]:
        """Count the tensors of each type, and the plugins, that TensorRT reports for the layers of the plan.

        Types that are not reported count as ``unknown``: some versions report no types for dynamic shapes. No version
        reports the types within a layer fused by its compiler; these layers count as ``fused``.
        """
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._library.api.LayerInformationFormat.JSON)
        try:
            layers = [layer for layer in json.loads(text)["Layers"] if isinstance(layer, dict)]
        except (ValueError, KeyError, TypeError):
            return {}  # this version reports layers in another format
        found = Counter(_kind(tensor) for layer in layers for tensor in layer.get("Outputs", ()))
        found["plugins"] = sum("plugin" in f"{layer.get('LayerType')} {' '.join(layer)}".lower() for layer in layers)
        found["fused"] = sum("ForeignNode" in str(layer.get("Name")) for layer in layers)
        found["layers"] = len(layers)
        return dict(found)

    def close(self) -> None:
        """Free the plan. Further calls do nothing. Prepared networks must be closed first."""
        if self._engine is not None:
            with self._device.current():
                self._engine = self._runtime = None
                while self._scratch:
                    self._scratch.pop().close()


_FIX = "export the model again: its outputs must have fixed sizes"


def _kind(tensor: Mapping[str, Any]) -> str:
    """Return the type of a tensor in an inspector's report: under ``Datatype`` since 11, with the format before."""
    text = str(tensor.get("Datatype", tensor.get("Format/Datatype", "")))
    if re.search("FP16|Half", text, re.IGNORECASE):
        return "float16"
    if re.search("FP32|Float", text, re.IGNORECASE):
        return "float32"
    return "other" if re.search("Int|UInt|Bool|BF16|FP8", text, re.IGNORECASE) else "unknown"


class TensorRtWork:
    """A network prepared for one shape; implements ``engines.gpu.graphs.PreparedNetwork``.

    Each has its own execution context, because a recorded graph keeps using the resources of the context.
    """

    def __init__(
        self, library: TensorRt, context: Any, name: str, images: ArrayType, outputs: Mapping[str, ArrayType]
    ) -> None:
        """Take ownership of ``context``, whose input ``name`` has its shape set."""
        self._library, self._context, self._name = library, context, name
        self.input, self.outputs = images, outputs

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        """Set the addresses of input and outputs."""
        for name, address in {self._name: images, **outputs}.items():
            if not self._context.set_tensor_address(name, address):
                raise DeviceError(f"TensorRT does not accept the memory of {name!r}{self._library.complaints()}")

    def enqueue(self, stream: int) -> None:
        """Enqueue one run on a stream."""
        if not self._context.execute_async_v3(stream):
            raise DeviceError(f"TensorRT cannot run the network{self._library.complaints()}")

    def close(self) -> None:
        """Free the context."""
        self._context = None
