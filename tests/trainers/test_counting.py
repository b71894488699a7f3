from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasion.trainers.counting import multiply_accumulates, parameters, tally


class Small(nn.Module):
    """A convolution, its normalisation, a transposed convolution, and a head of a pointwise one and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False)
        self.head = nn.ModuleDict({"mix": nn.Conv2d(4, 5, 1), "last": nn.Linear(5, 2)})
        self.importance = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.importance * self.head["mix"](self.up(self.body(x)))
        out: Tensor = self.head["last"](x.mean(dim=(2, 3)))
        return out


LAST = 5 * 2
SHAPE = (1, 3, 16, 32)


def test_multiply_accumulates_are_counted_by_hand() -> None:
    # 16 x 32 in, 8 x 16 after the stride, 16 x 32 after the transposed convolution
    body, up, mix = 8 * 16 * 8 * 27, 8 * 16 * 8 * 4 * 16, 16 * 32 * 4 * 5
    assert multiply_accumulates(Small(), SHAPE) == body + up + mix + LAST
    assert multiply_accumulates(Small(), (2, *SHAPE[1:])) == 2 * (body + up + mix + LAST)
    assert multiply_accumulates(Small(), SHAPE, convention="no_head") == body + up
    extra = 3 * 8 * 16 * 8 + 16 * 32 * 5  # bias and twice the normalisation, and the bias of the head
    assert multiply_accumulates(Small(), SHAPE, convention="thop") == body + up + mix + LAST + extra


def test_one_run_counts_by_all_conventions() -> None:
    counted = tally(Small(), SHAPE, left_out=("mix",))
    head = 16 * 32 * 4 * 5
    assert counted.no_head == counted.mac - head
    assert counted.mac == multiply_accumulates(Small(), SHAPE)
    assert counted.thop == multiply_accumulates(Small(), SHAPE, convention="thop")


def test_products_without_a_module_count_and_so_does_attention() -> None:
    class Attending(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(x, x, x) @ x.mT

    assert multiply_accumulates(Attending(), (1, 2, 10, 4)) == 3 * 2 * 10 * 10 * 4


def test_a_module_that_runs_twice_counts_twice() -> None:
    layer = nn.Conv2d(4, 4, 1)
    both = nn.Sequential(layer, layer)
    assert multiply_accumulates(both, (1, 4, 5, 5)) == 2 * 400
    assert multiply_accumulates(both, (1, 4, 5, 5), convention="thop") == 2 * 400 + 2 * 100
    assert parameters(both) == 20


def test_normalising_and_upsampling_are_not_computed_but_keep_their_shapes() -> None:
    class Rising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), nn.Conv2d(2, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.interpolate(self.first(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            out: Tensor = self.last(functional.interpolate(x, size=(3, 5)))
            return out

    assert multiply_accumulates(Rising(), (1, 1, 4, 6)) == 4 * 6 * 2 + 3 * 5 * 2


def test_parameters_can_leave_parts_out_by_name() -> None:
    network = Small()
    head = (4 * 5 + 5) + (5 * 2 + 2)
    everything = 3 * 8 * 9 + 8 + 16 + 8 * 4 * 16 + head + 1
    assert parameters(network) == everything
    assert parameters(network, left_out=("head", "importance")) == everything - head - 1
    assert parameters(network, left_out=("hea",)) == everything


def test_counting_leaves_the_network_where_and_as_it_was() -> None:
    network = Small().train()
    multiply_accumulates(network, SHAPE)
    assert network.training
    assert {str(weight.device) for weight in network.parameters()} == {"cpu"}
    assert not any(module._forward_hooks for module in network.modules())


def test_networks_made_on_the_meta_device_can_be_counted() -> None:
    with torch.device("meta"):
        network = nn.Linear(50_000, 50_000)
    assert parameters(network) == 50_000 * 50_001
    assert multiply_accumulates(network, (1, 50_000)) == 50_000**2
