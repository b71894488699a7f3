"""Parameters and multiply-accumulates of a network, by the conventions of the papers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

Convention = Literal["mac", "thop", "no_head"]
"""Convention for counting multiply-accumulates.

- ``mac``: those of convolutions and matrix products.
- ``thop``: the old rule of the package of that name: ``mac``, plus one for each element to which a convolution's bias
  is added and two for each element that is batch-normalised.
- ``no_head``: ``mac`` without the modules named ``head``.
"""

_Hook = Callable[[str, nn.Module, Tensor, int], None]


@dataclass(frozen=True, slots=True)
class Tally:
    """Multiply-accumulates of one forward pass, by each convention."""

    mac: int
    thop: int
    no_head: int


def parameters(network: nn.Module, *, left_out: Sequence[str] = ()) -> int:
    """Count the weights of a network; shared weights count once.

    Args:
        network: any module.
        left_out: components of parameter names (between dots); a weight whose name has one of them is not counted.
    """
    return sum(
        weight.numel() for name, weight in network.named_parameters() if not set(name.split(".")) & set(left_out)
    )


def multiply_accumulates(
    network: nn.Module,
    *shapes: Sequence[int],
    convention: Convention = "mac",
    left_out: Sequence[str] = ("head",),
) -> int:
    """Count the multiply-accumulates of one forward pass; ``tally`` counts by all conventions at once."""
    counted: int = getattr(tally(network, *shapes, left_out=left_out), convention)
    return counted


def tally(network: nn.Module, *shapes: Sequence[int], left_out: Sequence[str] = ("head",)) -> Tally:
    """Count the multiply-accumulates of one forward pass in evaluation mode, on the meta device: nothing is computed.

    Args:
        network: a module that takes as many tensors as there are shapes; it is not modified.
        shapes: shapes of the inputs, such as (1, 3, 256, 256).
        left_out: names of the submodules that ``no_head`` leaves out.
    """
    copied = copy.deepcopy(network).to("meta").eval()
    counter, extra, head = FlopCounterMode(display=False), 0, 0

    def note(name: str, module: nn.Module, output: Tensor, flops: int) -> None:
        nonlocal extra, head
        extra += _thop_extra(module) * output.numel()
        head += flops // 2 if set(name.split(".")) & set(left_out) else 0

    with torch.no_grad(), torch.device("meta"), _ShapesOnly(), counter, _watched(copied, counter, note):
        copied(*(torch.empty(*shape) for shape in shapes))
    macs = counter.get_total_flops() // 2
    return Tally(macs, macs + extra, macs - head)


class _ShapesOnly(TorchFunctionMode):
    """Mode that computes only shapes for batch normalisation and interpolation, which torch decomposes far slower."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return torch.empty_like(args[0])
        if func is functional.interpolate and kwargs.get("scale_factor"):
            factor = kwargs["scale_factor"]
            height, width = (int(size * factor) for size in args[0].shape[2:])
            return args[0].new_empty(*args[0].shape[:2], height, width)
        return func(*args, **kwargs)


def _thop_extra(module: nn.Module) -> int:
    """Return the operations that thop's old rule adds per element of the module's output."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return 2
    return int(isinstance(module, nn.modules.conv._ConvNd) and module.bias is not None)


@contextmanager
def _watched(network: nn.Module, counter: FlopCounterMode, note: _Hook) -> Iterator[None]:
    """Call ``note`` after each forward pass of a module without children, with the operations that it took."""
    before: dict[nn.Module, int] = {}

    def begin(module: nn.Module, _inputs: Any) -> None:
        before[module] = counter.get_total_flops()

    def end(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, _inputs, output: note(name, module, output, counter.get_total_flops() - before[module])

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if not list(module.children()):
                hooks.enter_context(module.register_forward_pre_hook(begin))
                hooks.enter_context(module.register_forward_hook(end(name)))
        yield
