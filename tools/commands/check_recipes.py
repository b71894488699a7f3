"""``nasion check-recipes``: train each recipe of a system briefly and compare it with the mean shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ...engines.errors import NasionError
from ..machine import provenance
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...trainers.systems.trials import Trial
    from ...trainers.training.recipes import Recipe

System = Literal["pwc", "rdfn", "chs", "rht", "sd-hrnet"]


def check_recipes(
    system: System,
    recipes: list[str] | None = None,
    *,
    data: Path,
    out: Path | None = None,
    steps: int = 300,
    size: int = 64,
    width: float = 0.125,
    batch: int = 8,
    stacks: int | None = 1,
    seed: int = 0,
    threads: int = 1,
    set_: Annotated[str, Parameter(name="--set")] = "300w",
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train each recipe of a paper's system for a few steps at a small size, and compare it with the mean shape.

    A recipe has learned if its error on held-out faces is below that of the mean shape of the training faces. All are
    trained by their schedules for brief runs, with as many steps of the network. A stopped check is resumed.

    Args:
        system: system whose recipes are trained.
        recipes: names of some of its recipes (default: all); those whose checkpoints they need are trained as well.
        data: folder that holds the data sets, each under its own name.
        out: folder of the runs (default runs/check-SYSTEM).
        steps: steps of each network.
        size: side of the crop in pixels.
        width: number of channels relative to the paper.
        batch: samples per step.
        stacks: number of hourglasses of CHS.
        seed: seed of initial weights and samples.
        threads: threads of torch.
        set_: data set.
        json: also write all figures, with machine and versions, to this file; - for standard output (default: none).
        force: replace that file.
        quiet: print warnings and errors only.
    """
    import cv2
    import torch

    from ...trainers.data import training_faces
    from ...trainers.systems.trials import in_order, run_trial
    from ...trainers.training.recipes import Options

    if steps < 1:
        raise NasionError(f"--steps is {steps}; give a whole number from 1")
    chosen = list(in_order(_chosen(system, recipes)))
    folder = out or Path("runs") / f"check-{system}"
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    with json_results(json, force=force, silent=quiet) as to_json:
        faces = training_faces(set_, data)
        options = Options(set=set_, size=size, width=width, stacks=stacks, seed=seed, batch=batch, faces=faces)
        trials, skipped = [], {}
        for recipe in chosen:
            try:
                trial = run_trial(recipe, options, data, folder, steps=steps)
            except NasionError as error:
                skipped[recipe.name] = str(error)
                print(f"{recipe.name}: not trained: {error}", flush=True)
                continue
            trials.append(trial)
            print(line(trial), flush=True)
        to_json.write(provenance() | report(trials, skipped))
    if failed := [trial.recipe for trial in trials if not trial.learned and trial.caveat is None]:
        raise NasionError(
            f"not better than the mean shape: {', '.join(failed)}; give more --steps, or a larger --width"
        )


def _chosen(system: System, names: Sequence[str] | None) -> list[Recipe]:
    """Return the recipes of ``system`` with these names, and those that they need."""
    from ...trainers.systems import all_recipes

    own = {name: recipe for name, recipe in all_recipes().items() if recipe.paper == system}
    if unknown := [name for name in names or () if name not in own]:
        raise NasionError(f"{system} has no recipe {', '.join(unknown)}; allowed: {', '.join(own)}")
    wanted = list(names or own)
    for name in wanted:  # grows
        wanted += [need for need in (own[name].after, own[name].taught_by) if need and need not in wanted]
    return [own[name] for name in wanted]


def report(trials: Sequence[Trial], skipped: dict[str, str]) -> dict[str, Any]:
    """Return the results for the JSON file."""
    return {"recipes": [{**asdict(trial), "learned": trial.learned} for trial in trials], "not_trained": skipped}


def line(trial: Trial) -> str:
    """Return the line that is printed for a trial."""
    verdict = "better than" if trial.learned else "NOT better than"
    blind = "the mean box" if trial.measure == "missed_precision" else "the mean shape"
    told = (
        f"{trial.recipe:24} {trial.measure} {100 * trial.value:6.2f} %, {verdict} {blind} ({100 * trial.blind:.2f} %)"
    )
    return told + (f"; {trial.caveat}" if trial.caveat else "")
