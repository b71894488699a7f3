"""Weights of exported networks, rebuilt from their ONNX files so that training can start from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....engines.errors import ModelError
from ....engines.spec import METADATA_KEY, Spec
from ...networks.encoder_decoder import EncoderDecoderConfig

_NETWORK = re.compile(r"^(network|detector)\.")
_BIAS_OF_NORM = ".weight_bias"  # bias of a convolution into which the exporter has folded a normalisation


def read_weights(path: Path) -> tuple[dict[str, Tensor], Spec]:
    """Return the weights of an ONNX file of ours, by the names of the network in training, and its spec.

    The exporter folds batch normalisation into the convolution before it. The rebuilt convolution has the folded
    weights, and its normalisation, with mean 0 and variance 1, has the folded bias: in evaluation it computes the same.
    Weights that are stored as float16 become float32.

    Raises:
        ModelError: the file is not an ONNX file of nasion.
    """
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's own types
        raise ModelError(
            f"{path}: is not an ONNX file ({type(error).__name__}); give an .onnx of nasion export"
        ) from error
    entry = next((each.value for each in model.metadata_props if each.key == METADATA_KEY), None)
    if entry is None:
        raise ModelError(f"{path}: has no spec of nasion; give an .onnx of nasion export")
    spec = Spec.from_json(entry, origin=str(path))
    arrays = {
        each.name.removesuffix(".fp16"): onnx.numpy_helper.to_array(each).astype(np.float32)
        for each in model.graph.initializer
        if each.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    _name_transposed(model.graph, arrays)
    weights = {_NETWORK.sub("", name): torch.from_numpy(value.copy()) for name, value in arrays.items() if "." in name}
    if not weights:
        raise ModelError(
            f"{path}: its weights have no names; give an .onnx of nasion export, not an int8 version of it"
        )
    return weights, spec


def _name_transposed(graph: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Give linear layers that the exporter has transposed their names, which only their biases keep."""
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        bias = next((name for name in node.input if name.endswith(".bias") and node.op_type == "Add"), None)
        product = next((made_by[name] for name in node.input if name in made_by and bias), None)
        if bias and product is not None and product.op_type == "MatMul" and product.input[1] in arrays:
            arrays[f"{bias.removesuffix('.bias')}.weight"] = arrays[product.input[1]].T


def fill_network(network: nn.Module, weights: Mapping[str, Tensor], spec: Spec) -> list[str]:
    """Load weights of ``read_weights`` into a network in training and return the names of those it has elsewhere.

    Parameters whose sizes differ, such as heads of another scheme, or that the file lacks, keep their values; their
    names are returned.

    Args:
        network: the network, for pixels of 0..1.
        weights: see ``read_weights``.
        spec: spec of the file. If it takes pixels of 0..255, the first convolution is scaled.
    """
    own, fresh = network.state_dict(), []
    for name, value in own.items():
        found = _weight(name, weights, network)
        if found is None or found.shape != value.shape:
            if not name.endswith("num_batches_tracked"):
                fresh.append(name)
            continue
        own[name] = found
    first = next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    if set(spec.std) == {1.0} and f"{first}.weight" not in fresh:
        own[f"{first}.weight"] = own[f"{first}.weight"] * 255
    network.load_state_dict(own)
    return fresh


def _weight(name: str, weights: Mapping[str, Tensor], network: nn.Module) -> Tensor | None:
    """Return the value of a parameter or buffer; for a folded normalisation, the one that computes the same."""
    if name in weights:
        return weights[name]
    owner, _, kind = name.rpartition(".")
    module = network.get_submodule(owner)
    if not isinstance(module, nn.BatchNorm2d):
        return None
    folded = weights.get(f"{owner.rpartition('.')[0]}.0{_BIAS_OF_NORM}")
    if folded is None or not owner.endswith(".1"):
        return None
    ones = torch.ones_like(folded)
    values = {"weight": ones * (1 + module.eps) ** 0.5, "bias": folded, "running_mean": 0 * ones, "running_var": ones}
    return values.get(kind)


def config_of(weights: Mapping[str, Tensor], spec: Spec, *, landmarks: int) -> EncoderDecoderConfig:
    """Return the size of our landmark network with these weights, for another number of ``landmarks``.

    Raises:
        ModelError: the weights are those of another kind of network.
    """
    try:
        widths = (len(weights["stem.0.weight"]), *(len(weights[f"stages.{k}.0.0.weight"]) for k in range(4)))
        blocks = tuple(
            sum(bool(re.fullmatch(rf"stages\.{k}\.\d+\.body\.0\.0\.weight", name)) for name in weights)
            for k in range(4)
        )
        lifts = sum(bool(re.fullmatch(r"lifts\.\d+\.weight", name)) for name in weights)
        return EncoderDecoderConfig(
            landmarks=landmarks,
            size=spec.size[0],
            widths=widths,  # type: ignore[arg-type]  # one for each of five strides
            map_stride={3: 4, 2: 8}[lifts],
            blocks=blocks,  # type: ignore[arg-type]  # one for each of four stages
            refined=len(weights["refine.0.weight"]) if "refine.0.weight" in weights else 0,
            visibility=spec.visibility and spec.landmarks == landmarks,
        )
    except KeyError as error:
        raise ModelError(
            f"model {spec.name!r} is not a landmark network that can be fine-tuned (no {error}); give landmarks-68, "
            "accurate, or a network that was fine-tuned from them"
        ) from error


def config_values(config: EncoderDecoderConfig) -> dict[str, Any]:
    """Return a config as plain data for a checkpoint."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def config_from(values: Mapping[str, Any]) -> EncoderDecoderConfig:
    """Return the config of ``config_values``."""
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return EncoderDecoderConfig(**given)


@torch.no_grad()
def restore_statistics(network: nn.Module, images: Tensor) -> None:
    """Give folded normalisations their mean and variance back, so that training normalises as it did before.

    Mean and variance are measured on ``images``; weight and bias are changed so that the network computes the same in
    evaluation as before.

    Args:
        network: network with weights of ``fill_network``.
        images: (B, 3, H, W) typical inputs in 0..1.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(_measure) for norm in norms if _is_folded(norm)]
    was_training = network.training
    network.eval()(images)
    network.train(was_training)
    for handle in handles:
        handle.remove()


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())


def _measure(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
    scale = (norm.running_var + norm.eps).rsqrt() * norm.weight
    shift = norm.bias - norm.running_mean * scale
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean * scale)
