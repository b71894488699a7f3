"""TensorRT without a GPU, for the tests: reads ONNX, makes "plans" of it and runs them by ONNX Runtime.

It stands for what cannot be had here, full TensorRT 10 and 11, and behaves as they do in what our code relies on:
typing strong or weak, plugins only where their library is loaded, plans only for the version that built them, shapes
only within the profile, work only in a stream and with a current context. Its names are those of the real modules
(tensorrt_api.json, checked by a test). TensorRT-RTX, which can be had, is tested as it is (test_rtx.py).
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from nasion.engines.gpu import driver
from nasion.engines.tensorrt import library as tensorrt_library

MAGIC = b"fake plan\n"
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    BOOL = 4
    INT64 = 8


_TYPES = {1: DataType.FLOAT, 10: DataType.HALF, 6: DataType.INT32, 7: DataType.INT64, 9: DataType.BOOL}
_NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16}


class LayerType(enum.IntEnum):
    CONVOLUTION = 0
    ACTIVATION = 2
    DECONVOLUTION = 7
    PLUGIN_V3 = 48


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        """Nothing to do."""


class IProgressMonitor:
    def __init__(self) -> None:
        """Nothing to do."""


def _enum(name: str, *members: str) -> Any:
    return enum.IntEnum(name, {member: i for i, member in enumerate(members)})


def current_context() -> bool:
    handle = ctypes.c_void_p()
    ctypes.CDLL(driver.LIBRARY).cuCtxGetCurrent(ctypes.byref(handle))
    return bool(handle.value)


class FakeTensorRt(ModuleType):
    """A module ``tensorrt`` of some version."""

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.major = int(version.split(".")[0])
        self.registry = IPluginRegistry()
        self.builds: list[dict[str, Any]] = []
        self.differs = 0.0  # added to every output: a TensorRT that computes something else
        flags = ("EXPLICIT_BATCH", "STRONGLY_TYPED") if self.major == 10 else ("STRONGLY_TYPED",)
        self.NetworkDefinitionCreationFlag = _enum("NetworkDefinitionCreationFlag", *flags)
        self.BuilderFlag = _enum("BuilderFlag", *(("FP16", "TF32") if self.major == 10 else ("TF32",)))
        self.MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE")
        self.ProfilingVerbosity = _enum("ProfilingVerbosity", "LAYER_NAMES_ONLY", "NONE", "DETAILED")
        self.TensorIOMode = _enum("TensorIOMode", "NONE", "INPUT", "OUTPUT")
        self.ExecutionContextAllocationStrategy = _enum(
            "ExecutionContextAllocationStrategy", "STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"
        )
        self.lent: list[tuple[int, int]] = []  # scratch memory that contexts were given: address and size
        self.LayerInformationFormat = _enum("LayerInformationFormat", "ONELINE", "JSON")
        self.DataType, self.LayerType, self.ILogger, self.IProgressMonitor = (
            DataType, LayerType, ILogger, IProgressMonitor,
        )  # fmt: skip
        self.Builder = lambda logger: Builder(self, logger)
        self.OnnxParser = lambda network, logger: OnnxParser(self, network)
        self.Runtime = lambda logger: Runtime(self, logger)
        self.get_plugin_registry = lambda: self.registry


class IPluginRegistry:
    def __init__(self) -> None:
        self._loaded: list[str] = []

    def load_library(self, path: str) -> object | None:
        self._loaded.append(path)
        return object()


class Builder:
    def __init__(self, api: FakeTensorRt, logger: Any) -> None:
        self._api, self._logger = api, logger

    def create_network(self, flags: int) -> INetworkDefinition:
        return INetworkDefinition(self._api, flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._api)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        assert current_context(), "full TensorRT builds on the GPU of the current context"
        watch = config.progress_monitor
        for step in range(2 if watch else 0):
            watch.phase_start("Building engine", None, 2) if step == 0 else None
            if not watch.step_complete("Building engine", step):
                self._logger.log(ILogger.Severity.ERROR, "Build canceled by user")
                return None
        self._api.builds.append({"tf32": config.get_flag(self._api.BuilderFlag.TF32), **config._settings})
        config._timing._content = b"times of " + self._api.__version__.encode()
        header = {"version": self._api.__version__, "profile": config._profile._shapes}
        return MAGIC + json.dumps(header).encode() + b"\n" + network._model.SerializeToString()


class IOptimizationProfile:
    def set_shape(self, name: str, least: Sequence[int], usual: Sequence[int], most: Sequence[int]) -> None:
        self._name, self._shapes = name, [list(least), list(usual), list(most)]


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


class IBuilderConfig:
    progress_monitor: Any = None
    profiling_verbosity: Any = None

    def __init__(self, api: FakeTensorRt) -> None:
        self._api = api
        self._flags = {api.BuilderFlag.TF32}  # set by default
        self._settings: dict[str, Any] = {}

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: Any) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._settings[pool.name] = size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        least, usual, most = profile._shapes
        if any(not a <= b <= c for a, b, c in zip(least, usual, most, strict=True)):
            return -1
        self._profile = profile
        return 0

    def create_timing_cache(self, content: bytes) -> ITimingCache | None:
        return None if content.startswith(b"damaged") else ITimingCache(content)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._content and not cache._content.endswith(self._api.__version__.encode()):
            return False
        self._timing = cache
        self._settings["timing"] = cache._content
        return True


class INetworkDefinition:
    def __init__(self, api: FakeTensorRt, flags: int) -> None:
        self._strong = api.major > 10 or bool(flags >> api.NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1)
        self._api = api

    def _take(self, model: onnx.ModelProto) -> None:
        self._model = model
        typed = onnx.shape_inference.infer_shapes(model).graph
        kinds = {each.name: each.type.tensor_type.elem_type for each in (*typed.value_info, *typed.output)}
        plugins = bool(self._api.registry._loaded)
        names = {"Conv": LayerType.CONVOLUTION, "ConvTranspose": LayerType.DECONVOLUTION}
        self._layers = []
        for node in model.graph.node:
            kind = LayerType.PLUGIN_V3 if node.domain and plugins else names.get(node.op_type, LayerType.ACTIVATION)
            tensor = SimpleNamespace(name=node.output[0], dtype=_TYPES.get(kinds.get(node.output[0], 1)))
            self._layers.append(SimpleNamespace(type=kind, get_output=lambda i, tensor=tensor: tensor))

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._model.graph.input))
    num_outputs = property(lambda self: len(self._model.graph.output))

    def get_layer(self, i: int) -> Any:
        return self._layers[i]

    def get_input(self, i: int) -> Any:
        return _tensor(self._model.graph.input[i])

    def get_output(self, i: int) -> Any:
        return _tensor(self._model.graph.output[i])

    def get_flag(self, flag: Any) -> bool:
        return flag == self._api.NetworkDefinitionCreationFlag.STRONGLY_TYPED and self._strong


def _tensor(value: onnx.ValueInfoProto) -> Any:
    return SimpleNamespace(name=value.name, dtype=_TYPES[value.type.tensor_type.elem_type])


class OnnxParser:
    def __init__(self, api: FakeTensorRt, network: INetworkDefinition) -> None:
        self._network, self._errors = network, []

    def parse(self, content: bytes) -> bool:
        model = onnx.load_from_string(content)
        unknown = [node.op_type for node in model.graph.node if node.op_type == "Unheard"]
        error = {"desc": "no importer", "node_operator": unknown[0], "node_name": "node 1"} if unknown else {}
        self._errors = [ParserError(error)] if unknown else []
        if not unknown:
            self._network._take(model)
        return not unknown

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, i: int) -> Any:
        return self._errors[i]


class ParserError:
    def __init__(self, told: dict[str, str]) -> None:
        self._told = told

    def desc(self) -> str:
        return self._told["desc"]

    def node_operator(self) -> str:
        return self._told["node_operator"]

    def node_name(self) -> str:
        return self._told["node_name"]


class Runtime:
    def __init__(self, api: FakeTensorRt, logger: Any) -> None:
        assert current_context()
        self._api, self._logger = api, logger

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        assert current_context()
        if not plan.startswith(MAGIC):
            self._logger.log(ILogger.Severity.ERROR, "magicTag mismatch")
            return None
        header, _, model = plan[len(MAGIC) :].partition(b"\n")
        about = json.loads(header)
        if about["version"] != self._api.__version__:
            self._logger.log(ILogger.Severity.ERROR, f"built by version {about['version']}")
            return None
        return ICudaEngine(self._api, model, about["profile"])


class ICudaEngine:
    def __init__(self, api: FakeTensorRt, model: bytes, profile: list[list[int]]) -> None:
        self._api, self._profile = api, profile
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(model).graph
        self._nodes = list(graph.node)
        casts = [a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
        halves = onnx.TensorProto.FLOAT16 in [*casts, *(each.data_type for each in graph.initializer)]
        self._computes = "FP16" if halves else "FP32"
        self._kinds = {each.name: _tensor(each).dtype for each in (*graph.input, *graph.output)}
        self._inputs = [each.name for each in graph.input]

    num_io_tensors = property(lambda self: len(self._kinds))

    def get_tensor_name(self, i: int) -> str:
        return list(self._kinds)[i]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._api.TensorIOMode
        return modes.INPUT if name in self._inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._kinds[name]

    @property
    def device_memory_size_v2(self) -> int:
        return _needed(self._profile[2])

    def create_execution_context(self, strategy: Any) -> IExecutionContext:
        assert current_context()
        assert strategy == self._api.ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        # 10 tells no types where shapes may vary, and 11 says them in a field of their own
        told = (
            {"Format/Datatype": "N/A due to dynamic shapes"}
            if self._api.major == 10
            else {"Format": "Format not available due to dynamic shapes", "Datatype": self._computes}
        )
        layers = [
            {
                "LayerType": "PluginV3" if node.domain else node.op_type,
                "Outputs": [{"Name": name, **told} for name in node.output],
            }
            for node in self._nodes
        ]
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": layers, "Bindings": []}))


def _needed(shape: Sequence[int]) -> int:
    """Scratch memory of a network at this shape, in bytes."""
    return 4 * int(np.prod(shape))


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._addresses = engine, {}
        self._function = _HOST_FUNCTION(self._run)  # as long as this context lives
        self._launch = ctypes.CDLL(driver.LIBRARY).cuLaunchHostFunc
        self._launch.argtypes = (ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        least, _, most = self._engine._profile
        if any(not a <= side <= b for a, side, b in zip(least, shape, most, strict=True)):
            return False
        zeros = np.zeros(shape, _NUMPY[self._engine._kinds[name]])
        results = self._engine._session.run(None, {name: zeros})
        names = [each.name for each in self._engine._session.get_outputs()]
        self._shapes = {name: shape, **{each: value.shape for each, value in zip(names, results, strict=True)}}
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return _needed(self._shapes[self._engine._inputs[0]])

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.update_device_memory_size_for_shapes()
        self._scratch = (ctypes.c_uint8 * size).from_address(memory)
        self._engine._api.lent.append((memory, size))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shapes[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert current_context()
        assert self._addresses.keys() == self._shapes.keys()
        return bool(self._launch(stream, self._function, None) == 0)

    def _run(self, _: object) -> None:
        ctypes.memset(self._scratch, 255, self.update_device_memory_size_for_shapes())
        (name,) = self._engine._inputs
        outputs = [each.name for each in self._engine._session.get_outputs()]
        results = self._engine._session.run(outputs, {name: self._view(name)})
        for each, value in zip(outputs, results, strict=True):
            self._view(each)[...] = value + self._engine._api.differs

    def _view(self, name: str) -> np.ndarray:
        dtype = np.dtype(_NUMPY[self._engine._kinds[name]])
        size = int(np.prod(self._shapes[name])) * dtype.itemsize
        buffer = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(buffer, dtype).reshape(self._shapes[name])


def install(version: str, patch: pytest.MonkeyPatch) -> FakeTensorRt:
    """Let ``import tensorrt`` find this, as a module that was just installed."""
    module = FakeTensorRt(version)
    module.__spec__ = ModuleSpec("tensorrt", None)
    patch.setitem(sys.modules, "tensorrt", module)
    tensorrt_library.tensorrt.cache_clear()
    return module
