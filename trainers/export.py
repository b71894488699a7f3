"""From checkpoint to file: ONNX or ``torch.export``, decoding inside, the spec in the metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engines.errors import ModelError
from ..engines.runtime import open_runtime
from ..engines.spec import METADATA_KEY, Spec
from .recipes import Recipe, recipe_named

LICENCE = (
    "Weights: research and evaluation, as the terms of the training data ask (300W, AFLW, YouTube Faces and WIDER FACE "
    "are research sets). Code: Apache-2.0."
)
DATA = {
    "detector": "WIDER FACE (train part), 300W, AFLW with MERL-RAV points and YouTube Faces as portraits, "
    "ImageNet pictures without faces; no test part of any",
    "landmarks": "300W (HELEN and LFPW train parts, AFW), AFLW with MERL-RAV points, YouTube Faces (training part), "
    "WIDER FACE (train part) and ImageNet pictures for presence; no test part of any",
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint made ready: the recipe it came from and the network as it is exported."""

    recipe: Recipe
    network: nn.Module
    step: int
    figures: dict[str, float]


def load_trained(checkpoint: Path) -> Trained:
    """Read ``best.pt`` or ``latest.pt`` of a run.

    Raises:
        ModelError: the file is missing or no checkpoint of ours.
    """
    if not checkpoint.is_file():
        raise ModelError(f"checkpoint {str(checkpoint)!r} is not a file; nasion train writes RUN/best.pt")
    try:
        saved = torch.load(checkpoint, weights_only=True)
        recipe = recipe_named(saved["description"]["recipe"])
        network = recipe.build()
        network.load_state_dict(saved["average"])
    except (KeyError, RuntimeError, TypeError, OSError, EOFError, ValueError) as error:
        raise ModelError(f"{checkpoint}: not a checkpoint of nasion train ({error})") from error
    except Exception as error:  # the unpickler's own type is private
        raise ModelError(f"{checkpoint}: cannot be read ({type(error).__name__}: {error})") from error
    return Trained(recipe, recipe.wrap(network).eval(), saved["step"], saved["figures"])


def example(spec: Spec, *, batch: int = 2, seed: int = 0) -> Tensor:
    """Random images (batch,3,H,W) of the size that ``spec`` asks for."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random((batch, 3, spec.size[1], spec.size[0]), np.float32))


def write_model(network: nn.Module, spec: Spec, path: Path) -> None:
    """Write ``network`` as ``.onnx`` or ``.pt2``, batch (and for detectors height and width) dynamic.

    Raises:
        ModelError: the suffix is neither.
    """
    if path.suffix not in (".onnx", ".pt2"):
        raise ModelError(f"{path}: suffix {path.suffix!r}; allowed: .onnx, .pt2")
    sample = example(spec) if spec.stride == 1 else example(spec)[:, :, : 2 * spec.stride, : 3 * spec.stride]
    program = torch.export.export(network, (sample,), dynamic_shapes=(_dynamic(spec),), strict=False)
    if path.suffix == ".pt2":
        torch.export.save(program, path, extra_files={METADATA_KEY: spec.to_json()})
        return
    onnx_program = torch.onnx.export(program, dynamo=True, input_names=["images"], verbose=False)
    assert onnx_program is not None
    model = onnx_program.model_proto
    for output, name in zip(model.graph.output, _output_names(spec), strict=True):
        _rename(model, output.name, name)
    _strip(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    path.write_bytes(model.SerializeToString())


def _dynamic(spec: Spec) -> dict[int, Any]:
    dimensions: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if spec.stride > 1:
        dimensions[2] = spec.stride * torch.export.Dim("rows", min=1, max=256)
        dimensions[3] = spec.stride * torch.export.Dim("columns", min=1, max=256)
    return dimensions


def _output_names(spec: Spec) -> tuple[str, ...]:
    return ("boxes", "scores") if spec.task == "detector" else ("points", "confidence", "presence")


def _strip(model: Any) -> None:
    """Drop the exporter's notes (source lines, module paths): a sixth of a small file, and of no use to a runtime."""
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del model.graph.value_info[:]


def _rename(model: Any, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    for output in model.graph.output:
        output.name = new if output.name == old else output.name


def worst_difference(network: nn.Module, path: Path, images: Tensor) -> dict[str, float]:
    """Largest absolute difference of each output between torch and the written file, in that output's own unit."""
    with open_runtime(path) as runtime, torch.no_grad():
        ours, theirs = network(images), runtime(images.numpy())
    return {name: float(np.abs(ours[name].numpy() - theirs[name]).max()) for name in ours}


def write_card(trained: Trained, path: Path) -> Path:
    """Write the card of an exported network beside it; figures measured earlier on the same file are kept."""
    card_path, content = path.with_suffix(".json"), path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    before = json.loads(card_path.read_text()) if card_path.is_file() else {}
    spec = trained.recipe.spec
    card = {
        "name": spec.name,
        "file": path.name,
        "sha256": sha256,
        "bytes": len(content),
        "licence": LICENCE,
        "data": DATA[spec.task],
        "recipe": {
            "command": f"nasion train {trained.recipe.name} --data DATA",
            "steps": trained.step,
            "parameters": sum(p.numel() for p in trained.network.parameters()),
            "validation": trained.figures,
        },
        "measured": before.get("measured", {}) if before.get("sha256") == sha256 else {},
    }
    card_path.write_text(json.dumps(card, indent=1) + "\n")
    return card_path
