"""Maps of one Gaussian a landmark: both readings of them, and how wide they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasion.engines.errors import NasionError
from nasion.trainers.learner import Learner
from nasion.trainers.systems.heat_maps import read_by, read_maps
from nasion.trainers.systems.sd_hrnet.distilling import SlimLearner
from nasion.trainers.systems.sd_hrnet.recipes import sigma_of, spec_of
from nasion.trainers.targets import gaussian_maps
from nasion.trainers.training.recipes import Options

from ...support.training.tiny_sd_hrnet import SIZE, tiny


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_the_soft_reading_finds_a_gaussians_centre_where_the_other_is_a_quarter_off(sigma: float) -> None:
    cells = torch.tensor(np.random.default_rng(0).uniform(5, 26, (1, 200, 2)), dtype=torch.float32)
    window = 2 * int(np.ceil(3 * sigma)) + 1
    maps = gaussian_maps(cells, 32, 32, sigma=sigma, window=window)
    crop = (cells + 0.5) * 4 - 0.5
    hard, peak = read_maps(maps, "arg_max", reach=3)
    soft, _ = read_maps(maps, "soft_arg_max", reach=int(np.ceil(3 * sigma)))
    assert 0.4 < float((hard - crop).norm(dim=2).mean()) < 1.0, "pixels"
    assert float((soft - crop).norm(dim=2).max()) < 0.1
    assert ((peak > 0.7) & (peak <= 1)).all()


def test_targets_are_as_large_on_the_face_at_256_pixels_and_never_narrower_than_a_cell() -> None:
    def cells(of_set: str, size: int) -> float:
        options = Options(set=of_set, size=size)
        return sigma_of(options, spec_of("x", options))

    assert [cells("300w", 256), cells("wflw", 256), cells("wflw", 192), cells("300w", 128)] == [1.0, 1.5, 1.125, 1.0]


def test_a_learner_decodes_its_maps_as_its_options_say() -> None:
    learner, images = SlimLearner(tiny(), spec_of("x", SIZE), sigma=1.0).eval(), torch.rand(2, 3, 64, 64)
    soft = learner(images)["points"]
    read_by(learner, "arg_max")
    hard = learner(images)["points"]
    assert ((hard + 0.5) % 1).abs().max() < 1e-4, "quarters of a cell are pixels"
    assert (hard - soft).abs().max() > 0.1
    torch.testing.assert_close(learner.exported()(images)["points"], hard)
    with pytest.raises(NasionError, match="the decoding of a Learner cannot be chosen"):
        read_by(Learner(), "arg_max")
