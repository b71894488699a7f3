"""Build of a TensorRT plan from an ONNX model.

All layers have the types of the file (strong typing) in every version: before 11, TensorRT needs a flag for this; since
then there is no other mode. A flag that requests float16 would be silently ignored there.
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
"""Callback with the name of a phase, the number of finished steps and the total number of steps; phases nest."""

MinOptMax = tuple[int, int, int]

# minimum, usual and maximum batch size: crops for an aligner come in batches, whole images one by one
BATCHES: Mapping[Task, MinOptMax] = {"landmarks": (1, 8, 32), "detector": (1, 1, 4), "faces": (1, 1, 2)}
# Longest side of an image divided by the size of a network of whole images.
_LONGEST = 4

# TensorRT's type names -> numpy's
TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Input sizes of a plan: minimum, usual (which it is optimised for) and maximum.

    Attributes:
        batch: batch sizes.
        height: heights in pixels.
        width: widths in pixels.
    """

    batch: MinOptMax
    height: MinOptMax
    width: MinOptMax

    @classmethod
    def of(
        cls, spec: Spec, *, batch: MinOptMax | None = None, longest: int | None = None, shown: int | None = None
    ) -> Profile:
        """Return the profile for a network.

        Args:
            spec: spec of the network.
            batch: minimum, usual and maximum batch size (None: by task).
            longest: longest side of images (None: four times the network's own, or ``shown`` if that is longer).
            shown: a side that images will have.

        Raises:
            NasionError: ``longest`` is less than the network's own size, or the network has a fixed size.
        """
        width, height = spec.size
        own = max(width, height)
        if spec.stride == 1:
            if longest not in (None, own):
                raise NasionError(f"{spec.name} takes images of {width}x{height} only; leave the longest side out")
            return cls(batch or BATCHES[spec.task], (height,) * 3, (width,) * 3)
        most = max(_LONGEST * own, shown or 0) if longest is None else longest
        if most < own:
            raise NasionError(f"{spec.name} is made for {width}x{height}; the longest side must be at least {own}")
        most = -(-most // spec.stride) * spec.stride
        return cls(batch or BATCHES[spec.task], (spec.stride, height, most), (spec.stride, width, most))

    def shapes(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the minimum, usual and maximum shape of the input."""
        for batch, height, width in zip(self.batch, self.height, self.width, strict=True):
            yield batch, 3, height, width

    def __str__(self) -> str:
        """Return ``batch x width x height``, for keys and messages."""
        return " x ".join(_range(each) for each in (self.batch, self.width, self.height))


def _range(sizes: MinOptMax) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else ":".join(map(str, sizes))


def parse_batch(text: str) -> MinOptMax:
    """Parse ``1:8:32``, or one number for a fixed batch size.

    Raises:
        NasionError: the text is neither, or its numbers are not in ascending order.
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
    """Result of a TensorRT build.

    Attributes:
        engine: serialised engine.
        timing: timing cache with the measurements of this build, for the next one.
        layers: number of layers of the network, before fusion.
        plugins: number of these layers that are custom plugins.
        seconds: build time.
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
    """Build a plan, which takes seconds to minutes. TensorRT-RTX needs no GPU for this.

    Args:
        library: the TensorRT to build with.
        model: the model, whose types the plan keeps.
        profile: sizes of the input.
        workspace: MB of GPU memory for scratch (None: no limit).
        timing: timing cache of earlier builds.
        progress: called at every step.

    Raises:
        RuntimeUnavailable: TensorRT cannot build the model, or the plugins it needs are not built.
        ModelError: the network that TensorRT read differs from the file.
        KeyboardInterrupt: Ctrl-C was pressed during the build.
    """
    if model.plugins:
        library.load_plugins()
    api, begin = library.api, monotonic()
    builder = library.made("Builder")
    network = builder.create_network(library.strong_flag)
    library.complaints()  # discards TensorRT-RTX's report of a missing GPU
    parser = api.OnnxParser(network, library.logger)
    if not parser.parse(model.content):
        errors = "; ".join(_described(parser.get_error(i)) for i in range(parser.num_errors))
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


def _described(error: Any) -> str:
    """Return an error of TensorRT's parser as text."""
    return f"{error.node_operator()} {error.node_name()}: {readable(error.desc())}"


def _config(library: TensorRt, builder: Any, network: Any, profile: Profile, workspace: int | None) -> Any:
    api = library.api
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)  # TF32 has a mantissa of 10 bits only
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED  # needed to inspect the types of the layers
    if library.kind == "tensorrt-rtx":  # no allocation at run time, so that the run can be recorded in a CUDA graph
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if workspace is not None:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, workspace << 20)
    sizes = builder.create_optimization_profile()
    sizes.set_shape(network.get_input(0).name, *profile.shapes())
    if config.add_optimization_profile(sizes) < 0:
        raise RuntimeUnavailable(f"{library} does not accept input of {profile}{library.complaints()}; {_ELSEWHERE}")
    return config


def _use_timing(config: Any, timing: bytes) -> Any:
    """Set and return the timing cache of a build, filled from ``timing`` if TensorRT accepts it, else empty."""
    for content in (timing, b""):
        measured = config.create_timing_cache(content)
        if measured is not None and config.set_timing_cache(measured, False):
            return measured
    return None


def _monitor(api: Any, progress: Progress) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        """Implementation of TensorRT's progress interface; exceptions must not propagate through it."""

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
    """Check that plugins and types of the network that TensorRT read match the file; return the number of plugins.

    Raises:
        ModelError: the network differs from the file.
    """
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    check_types({tensor.name: tensor.dtype for tensor in tensors}, model)
    if not network.get_flag(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED):
        raise ModelError(f"{model.path.name}: TensorRT may choose the types of its layers; this is a bug in nasion")
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
    """Compare TensorRT's types of inputs and outputs, by name, with those of the file.

    Raises:
        ModelError: the types differ.
    """
    wanted = {**model.inputs, **model.outputs}
    types = {name: TYPES.get(dtype.name, dtype.name) for name, dtype in found.items()}
    if types != wanted:
        raise ModelError(f"{model.path.name}: inputs and outputs are {wanted}, but TensorRT has {types}")


def check_plugins(found: int, model: OnnxFile) -> None:
    """Check that every node of a custom operator became a plugin.

    Raises:
        ModelError: TensorRT used the slow function bodies of some nodes instead.
    """
    wanted = sum(model.plugins.values())
    if found != wanted:
        raise ModelError(
            f"{model.path.name} has {wanted} custom nodes ({', '.join(model.plugins)}), but TensorRT made {found} "
            "plugins of them; export the model again with this version of nasion"
        )


def _words(types: set[str]) -> str:
    return " and ".join(sorted(types))
