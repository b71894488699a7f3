"""From an ONNX model to a TensorRT plan.

The types of all layers are those of the file (strong typing), on every version: before 11 TensorRT has to be told so,
since then it knows nothing else. A flag that asks for float16 would be ignored there without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ..errors import ModelError, NasionError, RuntimeUnavailable
from ..spec import Spec, Task
from .library import TensorRt, readable
from .onnx_file import OnnxFile, Precision

Progress = Callable[[str, int, int], None]
"""Gets the name of a phase, the steps done of it and how many it has; phases nest."""

MinOptMax = tuple[int, int, int]

# fewest, usual and most images at a time: an aligner's crops come many together, whole pictures one by one
BATCHES: Mapping[Task, MinOptMax] = {"landmarks": (1, 8, 32), "detector": (1, 1, 4), "faces": (1, 1, 2)}
# the longest side of a picture, over the one that a network of whole pictures is made for; ``faces`` go by the shorter
_LONGEST: Mapping[Task, int] = {"detector": 2, "faces": 4}

# TensorRT's names of types, as numpy has them
TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes of the input that a plan takes: least, usual (for which it is made quick) and most.

    Attributes:
        batch: images at a time.
        height: in pixels.
        width: in pixels.
    """

    batch: MinOptMax
    height: MinOptMax
    width: MinOptMax

    @classmethod
    def of(
        cls, spec: Spec, *, batch: MinOptMax | None = None, longest: int | None = None, shown: int | None = None
    ) -> Profile:
        """What a network needs.

        Args:
            spec: of the network.
            batch: fewest, usual and most images at a time (None: by its task).
            longest: longest side of pictures (None: twice or four times its own, by its task, or ``shown``).
            shown: a side that pictures will have.

        Raises:
            NasionError: ``longest`` is less than the network's own size, or its size is fixed.
        """
        width, height = spec.size
        own = max(width, height)
        if spec.stride == 1:
            if longest not in (None, own):
                raise NasionError(f"{spec.name} takes pictures of {width}x{height} only; leave the longest side out")
            return cls(batch or BATCHES[spec.task], (height,) * 3, (width,) * 3)
        most = max(_LONGEST[spec.task] * own, shown or 0) if longest is None else longest
        if most < own:
            raise NasionError(f"{spec.name} is made for {width}x{height}; the longest side must be at least {own}")
        most = -(-most // spec.stride) * spec.stride
        return cls(batch or BATCHES[spec.task], (spec.stride, height, most), (spec.stride, width, most))

    def shapes(self) -> Iterator[tuple[int, int, int, int]]:
        """Least, usual and most shape of the input."""
        for batch, height, width in zip(self.batch, self.height, self.width, strict=True):
            yield batch, 3, height, width

    def __str__(self) -> str:
        """For keys and people: batch x width x height."""
        return " x ".join(_range(each) for each in (self.batch, self.width, self.height))


def _range(sizes: MinOptMax) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else ":".join(map(str, sizes))


def parse_batch(text: str) -> MinOptMax:
    """Read ``1:8:32``, or one number for a batch of one size.

    Raises:
        NasionError: it is neither, or not in order.
    """
    if not re.fullmatch(r"\d+(:\d+:\d+)?", text):
        raise NasionError(f"batch {text!r} is not allowed; give fewest:usual:most, for example 1:8:32, or one number")
    numbers = [int(part) for part in text.split(":")]
    least, usual, most = numbers * 3 if len(numbers) == 1 else numbers
    if not 1 <= least <= usual <= most:
        raise NasionError(f"batch {text!r} is not in order; give fewest:usual:most from 1, for example 1:8:32")
    return least, usual, most


@dataclass(frozen=True, slots=True)
class Built:
    """A plan fresh from TensorRT.

    Attributes:
        engine: TensorRT's own bytes.
        timing: what was measured meanwhile, for the next build.
        layers: of the network, before TensorRT fused them.
        plugins: how many of them are plugins of ours.
        seconds: it took.
    """

    engine: bytes
    timing: bytes
    layers: int
    plugins: int
    seconds: float


def build(
    library: TensorRt,
    model: OnnxFile,
    profile: Profile,
    *,
    workspace: int | None = None,
    timing: bytes = b"",
    progress: Progress | None = None,
) -> Built:
    """Build a plan; takes from seconds to minutes. Needs no GPU with TensorRT-RTX.

    Args:
        library: the TensorRT to build with.
        model: what to build; its types are the plan's.
        profile: sizes of the input.
        workspace: MB of GPU memory for scratch (None: all there is).
        timing: what earlier builds measured.
        progress: is told of every step.

    Raises:
        RuntimeUnavailable: TensorRT cannot build it, or the plugins it needs are not built.
        ModelError: what TensorRT read from the file is not what the file says.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    if model.plugins:
        library.load_plugins()
    api, begin = library.api, monotonic()
    builder = library.made("Builder")
    network = builder.create_network(library.strong_flag)
    library.complaints()  # of TensorRT-RTX, that there is no GPU
    parser = api.OnnxParser(network, library.logger)
    if not parser.parse(model.content):
        errors = "; ".join(_told(parser.get_error(i)) for i in range(parser.num_errors))
        raise RuntimeUnavailable(
            f"{library} cannot read {model.path.name}: {errors}{library.complaints()}; {_ELSEWHERE}"
        )
    plugins = check_network(api, network, model)
    config = _config(library, builder, network, profile, workspace)
    measured = _use_timing(config, timing) if library.kind == "tensorrt" else None
    watch = None if progress is None else _monitor(api, progress)
    if watch is not None:
        config.progress_monitor = watch
    engine = builder.build_serialized_network(network, config)
    if watch is not None and watch.stopped is not None:
        raise watch.stopped
    if engine is None:
        raise RuntimeUnavailable(f"{library} cannot build {model.path.name}{library.complaints()}; {_ELSEWHERE}")
    return Built(
        engine=bytes(engine),
        timing=b"" if measured is None else bytes(measured.serialize()),
        layers=network.num_layers,
        plugins=plugins,
        seconds=monotonic() - begin,
    )


_ELSEWHERE = "run it elsewhere with --runtime onnx"


def _told(error: Any) -> str:
    """An error of TensorRT's parser, for people."""
    return f"{error.node_operator()} {error.node_name()}: {readable(error.desc())}"


def _config(library: TensorRt, builder: Any, network: Any, profile: Profile, workspace: int | None) -> Any:
    api = library.api
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)  # 10 bits of each number: float32 shall be float32
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED  # else the plan does not tell the types of its layers
    if library.kind == "tensorrt-rtx":  # it allocates nothing while it runs, so that it can be recorded in a graph
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if workspace is not None:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, workspace << 20)
    sizes = builder.create_optimization_profile()
    sizes.set_shape(network.get_input(0).name, *profile.shapes())
    if config.add_optimization_profile(sizes) < 0:
        raise RuntimeUnavailable(f"{library} does not take input of {profile}{library.complaints()}; {_ELSEWHERE}")
    return config


def _use_timing(config: Any, timing: bytes) -> Any:
    """The timing cache of this build, filled with what earlier ones measured where TensorRT takes that."""
    for content in (timing, b""):
        measured = config.create_timing_cache(content)
        if measured is not None and config.set_timing_cache(measured, False):
            return measured
    return None


def _monitor(api: Any, progress: Progress) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        """Named so in TensorRT's interface; an exception must not pass through it."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.stopped: KeyboardInterrupt | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._steps[name] = steps
            self._tell(name, 0)

        def step_complete(self, name: str, step: int) -> bool:
            return self._tell(name, step + 1)

        def phase_finish(self, name: str) -> None:
            self._tell(name, self._steps.get(name, 0))

        def _tell(self, name: str, done: int) -> bool:
            try:
                progress(name, done, self._steps.get(name, 0))
            except KeyboardInterrupt as stopped:
                self.stopped = stopped
            return self.stopped is None

    return Monitor()


def check_network(api: Any, network: Any, model: OnnxFile) -> int:
    """Compare what TensorRT read with the file: plugins are plugins, types are those asked for. Number of plugins.

    Raises:
        ModelError: something differs.
    """
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    check_types({tensor.name: tensor.dtype for tensor in tensors}, model)
    if not network.get_flag(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED):
        raise ModelError(f"{model.path.name}: TensorRT is free to choose the types of its layers; this is our mistake")
    kinds, convolved = api.LayerType, set()
    plugins, types = 0, {}
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        plugins += layer.type == kinds.PLUGIN_V3
        result = layer.get_output(0)
        types[result.name] = TYPES.get(result.dtype.name, result.dtype.name)
        if layer.type in (kinds.CONVOLUTION, kinds.DECONVOLUTION):
            convolved.add(types[result.name])
    check_plugins(plugins, model)
    wanted = PRECISIONS[model.precision]
    if convolved - {wanted}:
        raise ModelError(f"{model.path.name}: asked for {wanted}, but it has convolutions in {_words(convolved)}")
    for name, dtype in model.layers.items():
        if types.get(name, dtype) != dtype:
            raise ModelError(f"{model.path.name}: layer {name} has weights in {dtype}, but TensorRT has {types[name]}")
    return plugins


PRECISIONS: Mapping[Precision, str] = {"fp32": "float32", "fp16": "float16"}


def check_types(found: Mapping[str, Any], model: OnnxFile) -> None:
    """Compare types of inputs and outputs by name, as TensorRT has them, with the file's.

    Raises:
        ModelError: they differ.
    """
    wanted = {**model.inputs, **model.outputs}
    types = {name: TYPES.get(dtype.name, dtype.name) for name, dtype in found.items()}
    if types != wanted:
        raise ModelError(f"{model.path.name}: inputs and outputs are {wanted}, but TensorRT has {types}")


def check_plugins(found: int, model: OnnxFile) -> None:
    """See that every node of ours became a plugin.

    Raises:
        ModelError: TensorRT took the slow bodies of some instead.
    """
    wanted = sum(model.plugins.values())
    if found != wanted:
        raise ModelError(
            f"{model.path.name} has {wanted} nodes of ours ({', '.join(model.plugins)}), but TensorRT made {found} "
            "plugins of them; export the model again with this version of nasion"
        )


def _words(types: set[str]) -> str:
    return " and ".join(sorted(types))
