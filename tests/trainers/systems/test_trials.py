"""Brief trainings of recipes by their own losses and schedules, compared with the mean shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasion.engines.errors import NasionError
from nasion.tools.commands.check_recipes import check_recipes
from nasion.trainers.systems import all_recipes
from nasion.trainers.systems.trials import in_order, run_trial
from nasion.trainers.training.recipes import Options

from ...support.data_sets.labelled import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), each=24)


pytestmark = pytest.mark.timeout(1200)

# Steps, side of the crop and width within which a kind of learner beats the mean shape of cartoons. The other kinds
# take minutes: ``nasion check-recipes``. That they learn at all is checked on eight faces, beside their other tests.
KINDS = {"pwc-direct": (120, 64, 1 / 8), "pwc-hybrid-disc": (120, 64, 1 / 8)}


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_beats_the_mean_shape(name: str, data: Path, tmp_path: Path) -> None:
    steps, size, width = KINDS[name]
    options = Options(size=size, width=width, batch=8, faces=72)
    trial = run_trial(all_recipes()[name], options, data, tmp_path, steps=steps)
    assert trial.learned, trial


def test_recipes_come_after_those_whose_checkpoints_they_need() -> None:
    names = [recipe.name for recipe in in_order(r for r in all_recipes().values() if r.paper)]
    assert len(names) == len(set(names)) == len([r for r in all_recipes().values() if r.paper])
    for recipe in all_recipes().values():
        for needed in filter(None, (recipe.after, recipe.taught_by)):
            assert names.index(needed) < names.index(recipe.name)


def test_the_command_trains_what_a_recipe_needs_and_writes_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, names = tmp_path / "check.json", ["sd-hrnet-masks-only"]
    settings = {"data": data, "out": tmp_path / "runs", "steps": 2, "size": 64, "width": 0.1, "json": report}
    with pytest.raises(NasionError, match="not better than the mean shape: sd-hrnet-supernet, sd-hrnet-slim, sd-hrnet"):
        check_recipes("sd-hrnet", names, **settings)  # type: ignore[arg-type]
    written = json.loads(report.read_text())
    trained = {each["recipe"]: each for each in written["recipes"]}
    assert list(trained) == ["sd-hrnet-supernet", "sd-hrnet-slim", "sd-hrnet-masks-only"]
    assert trained["sd-hrnet-supernet"]["steps"] == 6, "four of the factors come first"
    assert trained["sd-hrnet-masks-only"]["steps"] == 2
    assert all(each["value"] > each["blind"] > 0 for each in trained.values())
    assert "NOT better than the mean shape" in capsys.readouterr().out
    with pytest.raises(NasionError, match="pwc has no recipe chs; allowed: pwc-direct"):
        check_recipes("pwc", ["chs"], data=data)
