"""A plan in TensorRT's hands: the part of running a network that only TensorRT can do."""

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
from ..gpu.graphs import Shape, Tensor
from .build import TYPES
from .library import TensorRt
from .plan_cache import Plan


class Engine(Closing):
    """A plan that TensorRT has taken, on one GPU.

    Attributes:
        dtypes: TensorRT's types of inputs and outputs, by name.
    """

    def __init__(self, library: TensorRt, device: Device, plan: Plan) -> None:
        """Let TensorRT read a plan.

        Raises:
            RuntimeUnavailable: it does not take it.
        """
        self._library, self._device, self._plan = library, device, plan
        library.complaints()
        with device.current():
            self._runtime: Any = library.made("Runtime")
            self._engine: Any = self._runtime.deserialize_cuda_engine(plan.engine)
        if self._engine is None:
            raise RuntimeUnavailable(f"{library} does not take the plan of {plan.spec.name}{library.complaints()}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = library.api.TensorIOMode
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == modes.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        self.dtypes = {name: self._engine.get_tensor_dtype(name) for name in names}
        self._scratch: list[Memory] = []

    def prepare(self, shape: Shape) -> TensorRtWork:
        """Make ready for images of a shape (B,3,H,W). All that is made ready has its scratch memory in common.

        So one may run only after the other, as ``Batches`` sees to.

        Raises:
            ModelError: the plan was not built for this shape.
            DeviceError: there is no memory for it.
        """
        context = self._context()
        if context is None:
            raise DeviceError(
                f"there is no memory for {self._plan.spec.name} on {self._device.gpu.name}"
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
        """What runs the network at one shape, without scratch memory of its own: it would be that of the largest one.

        TensorRT-RTX compiles kernels for the shape at the first run; a graph recorded before would keep slower ones.
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
        """Give a context, whose shapes are set, memory that it has in common with the others.

        What was lent before stays where it is, because recorded graphs use it; so each is twice as large as the last.
        """
        needed, last = context.update_device_memory_size_for_shapes(), self._scratch[-1].nbytes if self._scratch else 0
        if needed > last:
            size = max(needed, min(2 * last, self._engine.device_memory_size_v2))
            self._scratch.append(self._device.memory((size,), np.uint8))
        if self._scratch:
            context.set_device_memory(self._scratch[-1].address, self._scratch[-1].nbytes)

    def _tensor(self, context: Any, name: str) -> Tensor:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise ModelError(
                f"output {name!r} of {self._plan.spec.name} has a size that depends on the picture; {_FIX}"
            )
        return Tensor(shape, np.dtype(TYPES[self.dtypes[name].name]))

    def layers(self) -> Mapping[str, int]:
        """What the plan's layers exchange, by TensorRT's own account: how many tensors of each type, and plugins.

        What it does not tell is ``unknown``: some versions tell no types where shapes may vary. Which types lie within
        a layer that its compiler fused of many, ``fused``, none does.
        """
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._library.api.LayerInformationFormat.JSON)
        try:
            layers = [layer for layer in json.loads(text)["Layers"] if isinstance(layer, dict)]
        except (ValueError, KeyError, TypeError):
            return {}  # this version tells it in another way
        found = Counter(_kind(tensor) for layer in layers for tensor in layer.get("Outputs", ()))
        found["plugins"] = sum("plugin" in f"{layer.get('LayerType')} {' '.join(layer)}".lower() for layer in layers)
        found["fused"] = sum("ForeignNode" in str(layer.get("Name")) for layer in layers)
        found["layers"] = len(layers)
        return dict(found)

    def close(self) -> None:
        """Free the plan; calling it again does nothing. Work made ready must be closed before."""
        if self._engine is not None:
            with self._device.current():
                self._engine = self._runtime = None
                while self._scratch:
                    self._scratch.pop().close()


_FIX = "export the model again: its outputs must have fixed sizes"


def _kind(tensor: Mapping[str, Any]) -> str:
    """Type of a tensor in what an inspector says: as ``Datatype`` since 11, before with its format."""
    text = str(tensor.get("Datatype", tensor.get("Format/Datatype", "")))
    if re.search("FP16|Half", text, re.IGNORECASE):
        return "float16"
    if re.search("FP32|Float", text, re.IGNORECASE):
        return "float32"
    return "other" if re.search("Int|UInt|Bool|BF16|FP8", text, re.IGNORECASE) else "unknown"


class TensorRtWork:
    """A network made ready for one shape; implements ``engines.batches.Work``.

    Each has an execution context of its own, because a recorded graph keeps using what the context held.
    """

    def __init__(
        self, library: TensorRt, context: Any, name: str, images: Tensor, outputs: Mapping[str, Tensor]
    ) -> None:
        """Own ``context``, whose input ``name`` has its shape."""
        self._library, self._context, self._name = library, context, name
        self.input, self.outputs = images, outputs

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        """Take note of the addresses."""
        for name, address in {self._name: images, **outputs}.items():
            if not self._context.set_tensor_address(name, address):
                raise DeviceError(f"TensorRT does not take the memory of {name!r}{self._library.complaints()}")

    def enqueue(self, stream: int) -> None:
        """Put one run into a stream."""
        if not self._context.execute_async_v3(stream):
            raise DeviceError(f"TensorRT cannot run the network{self._library.complaints()}")

    def close(self) -> None:
        """Free the context."""
        self._context = None
