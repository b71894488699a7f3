"""``nasion train``: run a recipe, or go on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path


def train(
    recipe: str,
    *,
    data: Path,
    out: Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    threads: int = 0,
    workers: int = 0,
) -> None:
    """Train a network, or go on where the run in OUT stopped.

    Args:
        recipe: name of the recipe; a wrong one lists them all.
        data: folder that holds 300w, aflw68, ytf68, wider and negatives.
        out: folder of the run (default runs/RECIPE); receives record.jsonl, latest.pt and best.pt.
        minutes: budget of training time; the learning rate follows it where it ends before the steps.
        steps: optimiser steps of the whole run (default: the recipe's).
        batch: samples a step (default: the recipe's).
        seed: of initial weights and samples.
        threads: for torch (default: all cores).
        workers: processes that prepare samples (default: none).
    """
    import logging

    import cv2
    import torch

    from ..trainers.loop import train as run
    from ..trainers.recipes import recipe_named

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = recipe_named(recipe)
    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    changes = {name: value for name, value in (("steps", steps), ("batch", batch)) if value is not None}
    schedule = replace(chosen.schedule, seed=seed, **changes)
    folder = out or Path("runs") / recipe
    prepared = chosen.prepare(data, seed)
    network = chosen.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = run(
        network,
        prepared.samples,
        prepared.losses,
        schedule,
        folder,
        collate=prepared.collate,
        validate=prepared.validate,
        criterion=chosen.criterion,
        minutes=minutes,
        workers=workers,
        description={"recipe": recipe},
    )
    print(f"{folder}: {state.step} steps, {state.seconds / 60:.1f} minutes, best {chosen.criterion} {state.best:.4f}")
