"""The plan of a model for the GPU here: from the cache, or built, checked, compared and kept."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import ModelError, RuntimeUnavailable
from ..gpu.device import Device
from ..gpu.graphs import Batches
from .build import Built, MinOptMax, Profile, Progress, build, check_types
from .engine import Engine
from .fp16 import to_fp16
from .library import TensorRt
from .onnx_file import OnnxFile, check_graph, read_onnx
from .parity import Difference, compare
from .plan_cache import Plan, PlanCache, PlanKey, read_plan

_log = logging.getLogger(__name__)

NO_PLUGINS = "none"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What kind of plan a user wants; by default what the runtime builds by itself.

    Attributes:
        fp16: in float16, also where the file is float32.
        batch: fewest, usual and most images at a time (None: by the model's task).
        longest: longest side of pictures, for a network that takes any size (None: by the model's task).
        shown: a side that pictures will have; where that is longer, it is the longest by default.
        workspace: MB of GPU memory for scratch (None: all there is).
    """

    fp16: bool = False
    batch: MinOptMax | None = None
    longest: int | None = None
    shown: int | None = None
    workspace: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan that TensorRT has taken.

    Attributes:
        plan: the plan.
        engine: the same in TensorRT's hands; the caller's to close.
        path: where it lies.
        built: whether it was built just now.
        reason: why, or where it comes from.
    """

    plan: Plan
    engine: Engine
    path: Path
    built: bool
    reason: str


def plan_of(
    path: Path,
    library: TensorRt,
    device: Device,
    *,
    build_options: BuildOptions = BuildOptions(),
    cache: PlanCache | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Ready:
    """Find or build the plan of an ONNX file.

    Args:
        path: the file.
        library: the TensorRT that is to run it.
        device: the GPU that is to run it.
        build_options: what kind of plan.
        cache: where plans are kept (None: the user's).
        say: gets the reason before a plan is built (None: a warning of ``logging``, because it takes long).
        progress: is told of every step of the build.

    Raises:
        ModelError: the file is damaged or not ours, or what TensorRT made of it is not what it says.
        RuntimeUnavailable: TensorRT cannot build or run it, or gives other results than ONNX Runtime.
    """
    model = to_fp16(read_onnx(path)) if build_options.fp16 else read_onnx(path)
    check_graph(model)
    profile = Profile.of(
        model.spec, batch=build_options.batch, longest=build_options.longest, shown=build_options.shown
    )
    cache, name = cache or PlanCache(), path.stem
    key = key_of(model, profile, library, device, build_options.workspace)
    plan, reason = cache.find(name, key)
    if plan is not None:
        try:
            return Ready(plan, Engine(library, device, plan), cache.path_of(name, key), False, reason)
        except RuntimeUnavailable as refused:  # in spite of its key and checksum
            reason = str(refused)
    cache.open()
    (say or _log.warning)(f"building a plan of {name} for {device.gpu.name}, which takes a while: {reason}")
    gpu = f"{device.gpu.make} {device.gpu.capability}"
    timing = cache.timing(str(library), gpu)
    with device.current():
        fresh = build(library, model, profile, workspace=build_options.workspace, timing=timing, progress=progress)
    if fresh.timing:
        cache.store_timing(str(library), gpu, fresh.timing)
    plan = Plan(key, model.spec, profile.batch, fresh.engine, _figures(fresh))
    with ExitStack() as opened:
        engine = opened.enter_context(Engine(library, device, plan))
        plan = replace(plan, about={**plan.about, **check(plan, engine, device, model)})
        kept = cache.store(name, plan)
        opened.pop_all()
    return Ready(plan, engine, kept, True, reason)


def plan_named(path: Path, library: TensorRt, device: Device, *, say: Callable[[str], None] | None = None) -> Ready:
    """The plan that a user names; where it was built for something else, one of its model, which lies beside it.

    Args:
        path: of the plan; its model has the same name and the suffix ``.onnx``.
        library: the TensorRT that is to run it.
        device: the GPU that is to run it.
        say: gets the reason why another one is taken (None: a warning of ``logging``).

    Raises:
        ModelError: it is no plan of ours, or damaged.
        RuntimeUnavailable: it was built for something else, and its model does not lie beside it.
    """
    plan = read_plan(path)
    if not (others := plan.key.differences(_key_here(plan.key, library, device))):
        return Ready(plan, Engine(library, device, plan), path, False, "named by the user")
    refused = f"{path.name} was built for something else: {'; '.join(others)}"
    model = path.with_suffix(".onnx")
    build_options = _wish_behind(plan, model) if model.is_file() else None
    if build_options is None:
        raise RuntimeUnavailable(
            f"{refused}; build one for this machine with: nasion compile MODEL.onnx "
            f"(were its own model here as {model.name}, that would be done now)"
        )
    (say or _log.warning)(f"{refused}; so a plan of {model.name} is taken, and built where there is none yet")
    return plan_of(model, library, device, build_options=build_options, say=say)


def _wish_behind(plan: Plan, path: Path) -> BuildOptions | None:
    """What a plan was built with, if it is one of this model."""
    model = read_onnx(path)
    fp16 = model.sha256 != plan.key.model
    if fp16:
        try:
            model = to_fp16(model)
        except ModelError:  # it cannot be had in float16, so it is another model
            return None
    if model.sha256 != plan.key.model:
        return None
    sides = plan.key.profile.partition(" x ")[2]
    workspace = re.match(r"\d+", plan.key.workspace)
    longest = max(map(int, re.findall(r"\d+", sides)))
    return BuildOptions(fp16, plan.batch, longest, workspace=int(workspace[0]) if workspace else None)


def _key_here(key: PlanKey, library: TensorRt, device: Device) -> PlanKey:
    """What a plan's key would be, were it built here and now."""
    return PlanKey(
        model=key.model,
        precision=key.precision,
        profile=key.profile,
        workspace=key.workspace,
        tensorrt=str(library),
        gpu=device.gpu.make,
        capability=device.gpu.capability,
        plugins=NO_PLUGINS if key.plugins == NO_PLUGINS else library.load_plugins(),
    )


def key_of(model: OnnxFile, profile: Profile, library: TensorRt, device: Device, workspace: int | None) -> PlanKey:
    """All that the plan of a model depends on, here and now."""
    return PlanKey(
        model=model.sha256,
        precision=model.precision,
        profile=str(profile),
        workspace="any" if workspace is None else f"{workspace} MB",
        tensorrt=str(library),
        gpu=device.gpu.make,
        capability=device.gpu.capability,
        plugins=library.load_plugins() if model.plugins else NO_PLUGINS,
    )


def check(plan: Plan, engine: Engine, device: Device, model: OnnxFile) -> dict[str, object]:
    """See that a plan is what was asked for, and gives what ONNX Runtime gives; figures for people.

    Raises:
        ModelError: its types are others.
        RuntimeUnavailable: its results are.
    """
    check_types(engine.dtypes, model)
    layers = engine.layers()
    _check_layers(layers, model)
    return {
        "engine": layers,
        "agreement": {name: asdict(each) for name, each in _agreement(plan, engine, device, model)},
    }


def _check_layers(layers: Mapping[str, int], model: OnnxFile) -> None:
    name, halves, plugins = model.path.name, layers.get("float16", 0), sum(model.plugins.values())
    if not layers.get("layers"):
        _log.warning(f"{name}: this TensorRT does not tell its layers; their types and plugins are not checked")
    elif model.precision == "fp32" and halves:
        raise ModelError(f"{name} is float32, but its plan computes {halves} tensors in float16")
    elif model.precision == "fp16" and not (halves or layers.get("fused") or layers.get("unknown")):
        raise ModelError(f"{name} is float16, but its plan computes no tensor in float16")
    elif layers.get("plugins", 0) != plugins:
        raise ModelError(f"{name} has {plugins} nodes for plugins, but its plan {layers.get('plugins', 0)} of them")


def _agreement(plan: Plan, engine: Engine, device: Device, model: OnnxFile) -> list[tuple[str, Difference]]:
    from ..onnx_runtime import OnnxRuntime

    with (
        OnnxRuntime(model.path, device="cpu") as reference,
        Batches(device, engine.prepare, least=plan.batch[0], most=plan.batch[2]) as candidate,
    ):
        run = partial(compare, reference, candidate, plan.spec, model.precision)
        return list(run(batch=min(plan.batch[2], 4)).items())


def _figures(built: Built) -> dict[str, object]:
    return {"layers": built.layers, "plugins": built.plugins, "seconds": round(built.seconds, 2)}
