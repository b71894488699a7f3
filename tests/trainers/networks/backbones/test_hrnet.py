from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasion.engines.errors import ModelError
from nasion.trainers.networks.backbones.hrnet import (
    W18,
    W48_STAGE3,
    HRNet,
    HRNetConfig,
    HRNetTrunk,
    load_public_weights,
)

TINY = HRNetConfig(landmarks=5, widths=(4, 6, 8, 10), modules=(1, 1, 1), blocks=1, stem=4, bottlenecks=1)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_teacher_has_the_parameters_of_hrnet_v2_w18() -> None:
    network = HRNet(W18)
    assert count(network) == 9_654_398
    assert count(network.trunk) == 9_562_260


def test_w48_through_stage_3_gives_the_backbone_of_rht_h() -> None:
    trunk = HRNetTrunk(W48_STAGE3).eval()
    (finest,) = trunk(torch.rand(1, 3, 64, 32))
    assert count(trunk) == 16_842_784 - 48 * 64 - 4 * 33_472, "less the 1x1 and the transformer"
    assert finest.shape == (1, 48, 16, 8)


def test_one_map_a_landmark_at_stride_4() -> None:
    maps = HRNet(TINY).eval()(torch.rand(2, 3, 64, 64))
    assert maps.shape == (2, 5, 16, 16)
    assert float(maps.detach().abs().max()) < 0.1, "maps start near zero"


def test_the_reordered_head_equals_the_published_one() -> None:
    torch.manual_seed(0)
    network, images = HRNet(TINY).eval(), torch.rand(2, 3, 64, 64)
    published = network(images)
    network.reordered = True
    torch.testing.assert_close(network(images), published, atol=1e-6, rtol=1e-4)


def public_weights(trunk: HRNetTrunk) -> dict[str, torch.Tensor]:
    """A state dict as the public code saves it: other tasks' layers beside, the module's prefix before."""
    weights = {f"module.{name}": torch.rand_like(value.float()) for name, value in trunk.state_dict().items()}
    return {
        **weights,
        "module.classifier.weight": torch.rand(3, 3),
        "module.incre_modules.0.0.conv1.weight": torch.rand(1),
    }


def test_public_weights_load_by_name(tmp_path: Path) -> None:
    trunk, path = HRNetTrunk(TINY), tmp_path / "hrnet.pth"
    saved = public_weights(trunk)
    torch.save({"state_dict": saved}, path)
    load_public_weights(trunk, path)
    for name, value in trunk.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, saved[f"module.{name}"])


def test_the_names_are_those_of_the_public_code() -> None:
    names = set(HRNetTrunk(W18).state_dict())
    assert {
        "layer1.0.downsample.0.weight",
        "transition1.1.0.0.weight",
        "transition3.3.0.1.running_mean",
        "stage2.0.fuse_layers.0.1.0.weight",
        "stage4.2.fuse_layers.3.0.2.1.bias",
        "stage4.2.branches.3.3.conv2.weight",
    } <= names


def test_a_backbone_through_stage_3_takes_the_weights_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "hrnet.pth"
    torch.save(public_weights(HRNetTrunk(TINY)), path)
    load_public_weights(HRNetTrunk(replace(TINY, widths=TINY.widths[:3], modules=(1, 1), single=True)), path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(public_weights(HRNetTrunk(replace(TINY, stem=6))), path)
    with pytest.raises(ModelError, match=r"other.pth: not the weights of this HRNet; \d+ do not fit \['conv1.weight'"):
        load_public_weights(HRNetTrunk(TINY), path)
    torch.save({"conv1.weight": torch.rand(4, 3, 3, 3), "fc.weight": torch.rand(1)}, path)
    with pytest.raises(ModelError, match=r"1 do not fit \['fc.weight'\], \d+ are missing .*; give the state dict"):
        load_public_weights(HRNetTrunk(TINY), path)
    path.write_text("no weights")
    with pytest.raises(ModelError, match=r"is not a file of torch.save"):
        load_public_weights(HRNetTrunk(TINY), path)
