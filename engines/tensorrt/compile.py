"""Plan of a model for a GPU: read from the cache, or built, checked and stored."""

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
    """Build options of a plan. The defaults are those of the runtime's own builds.

    Attributes:
        fp16: build in float16 even if the file is float32.
        batch: minimum, usual and maximum batch size (None: by the model's task).
        longest: longest side of images, for a network with dynamic size (None: by the model's task).
        shown: a side that images will have; if it exceeds the default of ``longest``, it replaces that default.
        workspace: MB of GPU memory for scratch (None: no limit).
    """

    fp16: bool = False
    batch: MinOptMax | None = None
    longest: int | None = None
    shown: int | None = None
    workspace: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan loaded into TensorRT.

    Attributes:
        plan: the plan.
        engine: its engine, owned by the caller, who must close it.
        path: path of the plan file.
        built: True if the plan was built by this call.
        reason: why it was built, or the origin of the plan.
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
        path: path of the file.
        library: the TensorRT that will run the plan.
        device: the GPU that will run the plan.
        build_options: options of the build.
        cache: cache of plans (None: the user's).
        say: called with the reason before a plan is built (None: a ``logging`` warning, because a build takes long).
        progress: called at every step of the build.

    Raises:
        ModelError: the file is damaged or not a nasion model, or TensorRT's network or plan differs from the file.
        RuntimeUnavailable: TensorRT cannot build or run the plan, or its results differ from those of ONNX Runtime.
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
        except RuntimeUnavailable as refused:  # despite matching key and checksum
            reason = str(refused)
    if plan is None and (refused_before := cache.refusal(name, key)):
        raise RuntimeUnavailable(refused_before)
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
        try:
            plan = replace(plan, about={**plan.about, **check(plan, engine, device, model)})
        except (ModelError, RuntimeUnavailable) as refused:
            cache.refuse(name, key, str(refused))
            raise
        kept = cache.store(name, plan)
        opened.pop_all()
    return Ready(plan, engine, kept, True, reason)


def plan_named(path: Path, library: TensorRt, device: Device, *, say: Callable[[str], None] | None = None) -> Ready:
    """Load a plan named by the user, or a replacement if it was built for another configuration.

    The replacement is a plan of its model, which must be in the same folder.

    Args:
        path: path of the plan; its model has the same name with the suffix ``.onnx``.
        library: the TensorRT that will run the plan.
        device: the GPU that will run the plan.
        say: called with the reason for a replacement (None: a ``logging`` warning).

    Raises:
        ModelError: the file is not a nasion plan or is damaged.
        RuntimeUnavailable: the plan was built for another configuration, and its model is not in the same folder.
    """
    plan = read_plan(path)
    if not (others := plan.key.differences(_key_here(plan.key, library, device))):
        return Ready(plan, Engine(library, device, plan), path, False, "named by the user")
    refused = f"{path.name} was built for another configuration: {'; '.join(others)}"
    model = path.with_suffix(".onnx")
    build_options = _options_behind(plan, model) if model.is_file() else None
    if build_options is None:
        raise RuntimeUnavailable(
            f"{refused}; build one for this machine with: nasion compile MODEL.onnx "
            f"(this happens automatically if the model is in the same folder as {model.name})"
        )
    (say or _log.warning)(f"{refused}; a plan of {model.name} is used instead, and built if there is none yet")
    return plan_of(model, library, device, build_options=build_options, say=say)


def _options_behind(plan: Plan, path: Path) -> BuildOptions | None:
    """Return the options that a plan was built with, or None if it is not a plan of this model."""
    model = read_onnx(path)
    fp16 = model.sha256 != plan.key.model
    if fp16:
        try:
            model = to_fp16(model)
        except ModelError:  # not convertible to float16, so the plan is of another model
            return None
    if model.sha256 != plan.key.model:
        return None
    sides = plan.key.profile.partition(" x ")[2]
    workspace = re.match(r"\d+", plan.key.workspace)
    longest = max(map(int, re.findall(r"\d+", sides)))
    return BuildOptions(fp16, plan.batch, longest, workspace=int(workspace[0]) if workspace else None)


def _key_here(key: PlanKey, library: TensorRt, device: Device) -> PlanKey:
    """Return the key that a plan would have if it was built on this machine now."""
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
    """Return the key for the plan of a model on this machine."""
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
    """Check the types of a plan and its parity with ONNX Runtime, and return the figures for information.

    Raises:
        ModelError: types of the plan differ from those of the model.
        RuntimeUnavailable: results differ from those of ONNX Runtime.
    """
    check_types(engine.dtypes, model)
    layers = engine.layers()
    _check_layers(layers, model)
    return {
        "engine": layers,
        "parity": {name: asdict(each) for name, each in _parity(plan, engine, device, model)},
    }


def _check_layers(layers: Mapping[str, int], model: OnnxFile) -> None:
    name, half_tensors, plugins = model.path.name, layers.get("float16", 0), sum(model.plugins.values())
    if not layers.get("layers"):
        _log.warning(f"{name}: this TensorRT does not report its layers; their types and plugins are not checked")
    elif model.precision == "fp32" and half_tensors:
        raise ModelError(f"{name} is float32, but its plan computes {half_tensors} tensors in float16")
    elif model.precision == "fp16" and not (half_tensors or layers.get("fused") or layers.get("unknown")):
        raise ModelError(f"{name} is float16, but its plan computes no tensor in float16")
    elif layers.get("plugins", 0) != plugins:
        raise ModelError(f"{name} has {plugins} nodes for plugins, but its plan {layers.get('plugins', 0)} of them")


def _parity(plan: Plan, engine: Engine, device: Device, model: OnnxFile) -> list[tuple[str, Difference]]:
    from ..onnx_runtime import OnnxRuntime

    with (
        OnnxRuntime(model.path, device="cpu") as reference,
        Batches(device, engine.prepare, least=plan.batch[0], most=plan.batch[2]) as candidate,
    ):
        run = partial(compare, reference, candidate, plan.spec, model.precision)
        return list(run(batch=min(plan.batch[2], 4)).items())


def _figures(built: Built) -> dict[str, object]:
    return {"layers": built.layers, "plugins": built.plugins, "seconds": round(built.seconds, 2)}
