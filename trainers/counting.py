"""What a network costs: parameters and multiply-accumulates, by the conventions under which papers print them."""

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
"""How multiply-accumulates are counted.

- ``mac``: those of convolutions and matrix products.
- ``thop``: the old rule of the package of that name: the same, plus one for each element that a convolution's bias is
  added to and two for each element that is batch-normalised.
- ``no_head``: ``mac``, but what modules named ``head`` compute is left out.
"""

_Hook = Callable[[str, nn.Module, Tensor, int], None]


@dataclass(frozen=True, slots=True)
class Tally:
    """Multiply-accumulates of one run, by each convention."""

    mac: int
    thop: int
    no_head: int


def parameters(network: nn.Module, *, left_out: Sequence[str] = ()) -> int:
    """Number of weights, each once.

    Args:
        network: any module.
        left_out: parts of parameter names, between dots; a weight that has one of them in its name is not counted.
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
    """Multiply-accumulates of one run; see ``tally``, which counts by all conventions at once."""
    counted: int = getattr(tally(network, *shapes, left_out=left_out), convention)
    return counted


def tally(network: nn.Module, *shapes: Sequence[int], left_out: Sequence[str] = ("head",)) -> Tally:
    """Multiply-accumulates of one run in evaluation mode, on the meta device: nothing is computed.

    Args:
        network: a module that takes as many tensors as there are shapes; stays as it is.
        shapes: of the inputs, such as (1, 3, 256, 256).
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
    """Answer what multiplies no matrices by its shape alone: torch works these two out step by step, far slower."""

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
    """What the old rule adds for every element of the module's output."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return 2
    return int(isinstance(module, nn.modules.conv._ConvNd) and module.bias is not None)


@contextmanager
def _watched(network: nn.Module, counter: FlopCounterMode, note: _Hook) -> Iterator[None]:
    """Call ``note`` after every run of a module without children, with the operations that it took."""
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
