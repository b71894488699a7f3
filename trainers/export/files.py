"""Export of networks to ONNX or ``torch.export``, with decoding and spec inside the file."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...engines.errors import ModelError, NasionError
from ...engines.output_paths import write_file
from ...engines.spec import METADATA_KEY, Spec
from ...realtime.values.scheme_files import scheme_of_spec
from ..networks.operators import as_nodes
from ..systems import load_trained, recipe_named
from ..systems.rdfn.recipes import head_of
from ..training.recipes import NO_START, Options, Trained, checkpoint_named
from .fp16 import HalfPrecision, store_weights_as_fp16, sums_in_full
from .probes import compare, example, photographs, worst_difference

__all__ = [
    "Trained",
    "check_card",
    "compare",
    "example",
    "load_trained",
    "photographs",
    "renew_card",
    "source",
    "with_spec",
    "worst_difference",
    "write_card",
    "write_model",
]

LICENCE = (
    "Weights: research and evaluation, as the terms of the training data ask (300W, AFLW, YouTube Faces and WIDER FACE "
    "are research sets). Code: Apache-2.0."
)
LICENCE_OF_USERS = "Weights: as the terms of the training data ask, which are the user's. Code: Apache-2.0."
DATA = {
    "detector": "WIDER FACE (train part), 300W, AFLW with MERL-RAV points and YouTube Faces as portraits, "
    "ImageNet images without faces; no test part of any",
    "landmarks": "300W (HELEN and LFPW train parts, AFW), AFLW with MERL-RAV points, YouTube Faces (training part), "
    "WIDER FACE (train part) and ImageNet images for presence; no test part of any",
}


def source(name: str, options: Options, *, head: bool = False) -> Trained:
    """Load the network to export: that of a checkpoint, or the untrained network of a recipe.

    Args:
        name: path of a checkpoint or of its folder, or name of a recipe.
        options: options of the recipe; must be the defaults for a checkpoint, which stores its own.
        head: export only the landmark head of a network that takes whole images.

    Raises:
        NasionError: there is no file or recipe of that name, the network has no landmark head, or options were given
            for a checkpoint.
    """
    path = checkpoint_named(name)
    if Path(name).suffix == ".pt" or path.is_file():
        if options != Options():
            raise NasionError(f"{path}: a checkpoint stores its own set, size and width; leave these options out")
        trained = load_trained(path)
    else:
        recipe = recipe_named(name)
        torch.manual_seed(options.seed)
        trained = Trained(recipe, options, recipe.build(options).eval(), 0, {})
    return replace(trained, learner=head_of(trained.learner).eval()) if head else trained


def write_model(
    network: nn.Module, spec: Spec, path: Path, *, fp16: bool = False, store: Literal["fp32", "fp16"] = "fp32"
) -> None:
    """Write ``network`` as ``.onnx`` or ``.pt2`` with a dynamic batch size.

    Height and width are dynamic too for networks that take whole images. With ``fp16`` weights and activations are
    float16; inputs and outputs stay float32. With ``store="fp16"`` only the file holds float16 weights; all
    computations are float32.

    Raises:
        ModelError: the suffix is neither ``.onnx`` nor ``.pt2``, or ``store`` does not fit the other arguments.
        SinkError: the file cannot be written.
    """
    if path.suffix not in (".onnx", ".pt2"):
        raise ModelError(f"{path}: suffix {path.suffix!r}; allowed: .onnx, .pt2")
    if store == "fp16" and (fp16 or path.suffix != ".onnx"):
        raise ModelError(
            f"{path}: store fp16 is for .onnx files that compute in fp32; leave fp16 out, or write another file"
        )
    # weights divided by 255 would lose float16's full precision
    network, spec = (HalfPrecision(network), spec) if fp16 else absorb_std(network.eval(), spec)
    if path.suffix == ".pt2":
        content = io.BytesIO()
        torch.export.save(_traced(network, spec), content, extra_files={METADATA_KEY: spec.to_json()})
        write_file(path, content.getvalue())
    else:
        model = _to_onnx(network, spec)
        if store == "fp16":
            store_weights_as_fp16(model)
        write_file(path, model.SerializeToString())


def _traced(network: nn.Module, spec: Spec) -> torch.export.ExportedProgram:
    return torch.export.export(network, (_sample(spec),), dynamic_shapes=(_dynamic(spec),), strict=False)


def _to_onnx(network: nn.Module, spec: Spec) -> Any:
    """Return the network as an ``onnx.ModelProto``."""
    from .nodes import add_bodies, translations

    with as_nodes():
        program = _traced(network, spec)
    written = torch.onnx.export(
        program, dynamo=True, input_names=["images"], verbose=False, custom_translation_table=translations()
    )
    assert written is not None
    sums_in_full(written.model.graph)
    model = written.model_proto
    with torch.no_grad():
        names = list(network(_sample(spec)))
    for output, name in zip(model.graph.output, names, strict=True):
        _rename(model, output.name, name)
    _strip(model)
    add_bodies(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    return model


def absorb_std(network: nn.Module, spec: Spec) -> tuple[nn.Module, Spec]:
    """Return the same network for pixels of 0..255, the division by ``spec.std`` folded into its first convolution.

    This saves one pass over every crop at run time. A network is returned unchanged if its spec has a mean, or if its
    pixels enter otherwise than through a single convolution with three input channels.
    """
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    first = [name for name in layers if network.get_submodule(name).in_channels == 3]
    if len(first) != 1 or any(spec.mean):
        return network, spec
    absorbed, std = copy.deepcopy(network), torch.tensor(spec.std).reshape(1, 3, 1, 1)
    weight = absorbed.get_submodule(first[0]).weight
    assert isinstance(weight, nn.Parameter)
    with torch.no_grad():
        weight.div_(std)
        before, after = network(sample := _sample(spec)), absorbed(sample * std)
    # the pixels may enter the network by another path
    if not all(torch.allclose(before[name], after[name], rtol=1e-3, atol=1e-3) for name in before):
        return network, spec
    return absorbed, replace(spec, std=(1.0, 1.0, 1.0))


def _sample(spec: Spec) -> Tensor:
    """Return two random images as small as ``spec`` allows."""
    images = example(spec)
    small = images[:, :, : 2 * spec.stride, : 3 * spec.stride].contiguous()  # the export would fix a view's strides
    return images if spec.stride == 1 else small


def _dynamic(spec: Spec) -> dict[int, Any]:
    dimensions: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if spec.stride > 1:
        dimensions[2] = spec.stride * torch.export.Dim("rows", min=1, max=256)
        dimensions[3] = spec.stride * torch.export.Dim("columns", min=1, max=256)
    return dimensions


def _strip(model: Any) -> None:
    """Remove the exporter's notes (source lines, module paths): a sixth of a small file, unused by runtimes."""
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


def check_card(trained: Trained) -> None:
    """Check that a model card can be written for a network.

    Raises:
        NasionError: the network was never trained.
    """
    if not trained.step:
        raise NasionError(f"{trained.recipe.name}: an untrained network gets no card; export a checkpoint")


def write_card(trained: Trained, path: Path) -> Path:
    """Write the model card of an exported file next to it and return its path.

    Figures measured earlier on the same file, and the description, are kept.

    Raises:
        NasionError: the network was never trained.
    """
    check_card(trained)
    card_path, content = path.with_suffix(".json"), path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    before = json.loads(card_path.read_text()) if card_path.is_file() else {}
    scheme = scheme_of_spec(trained.spec)
    card = {
        "name": path.stem,
        "file": path.name,
        "about": before.get("about") or f"{trained.recipe.name}: {trained.recipe.summary}",
        "task": trained.spec.task,
        "size": trained.spec.size,
        "scheme": scheme.name if scheme else trained.spec.scheme,
        "sha256": sha256,
        "bytes": len(content),
        "licence": LICENCE_OF_USERS if _is_of_users(trained) else LICENCE,
        "data": _data(trained),
        "recipe": {
            "command": _command(trained),
            "steps": trained.step,
            "parameters": sum(p.numel() for p in trained.network.parameters()),
            "validation": trained.figures,
        },
        **_measured(before, sha256),
    }
    write_file(card_path, json.dumps(card, indent=1) + "\n")
    return card_path


def with_spec(path: Path, spec: Spec) -> bytes:
    """Return the content of an ``.onnx`` file with another spec."""
    import onnx

    model = onnx.load(str(path))
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = spec.to_json()
    return bytes(model.SerializeToString())


def renew_card(path: Path, calibration: Mapping[str, Any]) -> Path:
    """Update SHA-256, size and calibration in the card beside a file whose spec has changed, and return its path.

    Raises:
        NasionError: there is no card.
    """
    card, card_path, content = _read_card(path), path.with_suffix(".json"), path.read_bytes()
    card |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    card["recipe"] |= {"calibration": calibration}
    write_file(card_path, json.dumps(card, indent=1) + "\n")
    return card_path


def write_int8_card(path: Path, quantized: Path) -> Path:
    """Write the model card of the int8 version of a network, from the card of the network, and return its path.

    Figures measured earlier on the same file are kept.

    Raises:
        NasionError: the network has no card.
    """
    card, card_path, content = _read_card(path), quantized.with_suffix(".json"), quantized.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    before = json.loads(card_path.read_text()) if card_path.is_file() else {}
    card |= {
        "name": quantized.stem,
        "file": quantized.name,
        "about": f"{card['about']}, in int8",
        "sha256": sha256,
        "bytes": len(content),
        **_measured(before, sha256),
    }
    card["recipe"] |= {
        "export": f"nasion quantize {path.stem} IMAGES",
        "quantized_from": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    write_file(card_path, json.dumps(card, indent=1) + "\n")
    return card_path


def _read_card(path: Path) -> dict[str, Any]:
    """Return the model card beside a file.

    Raises:
        NasionError: there is none.
    """
    card_path = path.with_suffix(".json")
    if not card_path.is_file():
        raise NasionError(f"--card: {path} has no card {card_path}; write one with: nasion export --card")
    card: dict[str, Any] = json.loads(card_path.read_text())
    return card


def _measured(before: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Return the measured figures of an earlier card; empty ones if it describes another file."""
    same = before.get("sha256") == sha256
    return {name: before.get(name, {}) if same else {} for name in ("measured", "cost")}


def _data(trained: Trained) -> str:
    """Return a description of the training data for the model card."""
    if trained.recipe.starts_from is not None:
        begun = "random weights" if _is_of_users(trained) else f"weights of {_start(trained)}"
        return f"data of the user; {begun} to start from"
    if trained.recipe.paper is None:
        return DATA[trained.spec.task]
    return f"{trained.options.set}, its training part without every twelfth image"


def _start(trained: Trained) -> str:
    """Return the network that training started from, without the folders of this machine."""
    path = Path(trained.start)
    return str(Path(*path.parts[-2:])) if path.is_absolute() else trained.start


def _is_of_users(trained: Trained) -> bool:
    """Return True if nothing but data of the user is in the weights."""
    return trained.recipe.starts_from is not None and trained.start == NO_START


def _command(trained: Trained) -> str:
    """Return the command that trains such a network, with the options that differ from the recipe's defaults."""
    defaults = Options().described()
    chosen = {name: value for name, value in trained.options.described().items() if value != defaults.get(name)}
    if trained.start:
        chosen["start"] = _start(trained)
    words = [f"--{name.replace('_', '-')} {value}" for name, value in chosen.items()]
    return " ".join([f"nasion train {trained.recipe.name} --data DATA", *words])
