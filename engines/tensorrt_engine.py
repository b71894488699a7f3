"""A plan in TensorRT's hands: the part of running a network that only TensorRT can do."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from .batches import Shape, Tensor
from .build import TYPES
from .cache import Plan
from .closing import Closing
from .device import Device
from .errors import DeviceError, ModelError, RuntimeUnavailable
from .tensorrt_library import TensorRt


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

    def prepare(self, shape: Shape) -> TensorRtWork:
        """Make ready for images of a shape (B,3,H,W).

        Raises:
            ModelError: the plan was not built for this shape.
            DeviceError: there is no memory for it.
        """
        context = self._engine.create_execution_context()
        if context is None:
            raise DeviceError(
                f"there is no memory for {self._plan.spec.name} on {self._device.gpu.name}"
                f"{self._library.complaints()}; close other programs on this GPU"
            )
        name = self._inputs[0]
        if not context.set_input_shape(name, shape):
            raise ModelError(
                f"the plan of {self._plan.spec.name} takes images of {self._plan.key.profile} (batch x width x "
                f"height), not {shape[0]} x {shape[3]} x {shape[2]}; build one that does with: nasion compile --batch "
                "--longest"
            )
        outputs = {each: self._tensor(context, each) for each in self._outputs}
        return TensorRtWork(self._library, context, name, self._tensor(context, name), outputs)

    def _tensor(self, context: Any, name: str) -> Tensor:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise ModelError(
                f"output {name!r} of {self._plan.spec.name} has a size that depends on the picture; {_FIX}"
            )
        return Tensor(shape, np.dtype(TYPES[self.dtypes[name].name]))

    def layers(self) -> Mapping[str, int]:
        """What the plan's layers exchange, by TensorRT's own account: how many tensors of each type, and plugins.

        Which types lie within a layer that its compiler fused of many, ``fused``, it does not tell.
        """
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._library.api.LayerInformationFormat.JSON)
        try:
            layers = [layer for layer in json.loads(text)["Layers"] if isinstance(layer, dict)]
        except (ValueError, KeyError, TypeError):
            return {}  # this version tells it in another way
        found = Counter(
            _kind(str(tensor.get("Format/Datatype"))) for layer in layers for tensor in layer.get("Outputs", ())
        )
        found["plugins"] = sum("plugin" in f"{layer.get('LayerType')} {' '.join(layer)}".lower() for layer in layers)
        found["fused"] = sum("ForeignNode" in str(layer.get("Name")) for layer in layers)
        found["layers"] = len(layers)
        return dict(found)

    def close(self) -> None:
        """Free the plan; calling it again does nothing. Work made ready must be closed before."""
        if self._engine is not None:
            with self._device.current():
                self._engine = self._runtime = None


_FIX = "export the model again: its outputs must have fixed sizes"


def _kind(text: str) -> str:
    """Type of a tensor in what an inspector says, such as ``Row major linear FP32`` or ``Half``."""
    if re.search(r"FP16|Half", text):
        return "float16"
    return "float32" if re.search(r"FP32|Float", text) else "other"


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
