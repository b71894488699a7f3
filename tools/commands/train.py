"""``nasion train``: train a network by a recipe, or resume a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...engines.errors import NasionError
from ...engines.output_paths import check_output_paths
from ..machine import provenance
from ..results import Json, json_results
from .training.job import Job, spread
from .training.places import check_folder, device_named


def train(
    recipe: str,
    *,
    data: Path,
    out: Path | None = None,
    minutes: float | None = None,
    clock: Literal["wall", "cpu"] = "wall",
    brief: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    threads: int = 0,
    workers: int = 0,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    set_: Annotated[str, Parameter(name="--set")] = "300w",
    size: int | None = None,
    width: float | None = None,
    stacks: int | None = None,
    scheme: Path | None = None,
    val: Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    network: str | None = None,
    margin: float | None = None,
    negatives: Path | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    backbone_weights: Path | None = None,
    budget: float | None = None,
    skip_bad: int = 0,
    extend: bool = False,
    wait: float = 30.0,
    lr: float | None = None,
    warmup: int | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    ema: float | None = None,
    config: Path | None = None,
    preview: Path | None = None,
    dry_run: bool = False,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train a network, or resume the run in OUT.

    Ctrl-C, or another signal that ends a process, writes a checkpoint first. On several GPUs, with one process each:
    torchrun --nproc-per-node N -m -- nasion.tools.main train RECIPE ...

    Args:
        recipe: name of the recipe; an unknown name lists all recipes.
        data: folder that holds the data sets, each under its own name: 300w, wflw, wider ...
        out: folder of the run (default runs/RECIPE); receives record.jsonl, latest.pt, best.pt, curve.svg and
            scalars.csv; from the recipe landmarks also the errors of the held-out faces (faces.csv, points.csv,
            worst.jpg, error-curve.svg) and card.json.
        minutes: budget of training time; the learning rate follows it if it ends before the steps do. A recipe may
            have a faster schedule for it (default: no limit).
        clock: clock of --minutes: wall, or cpu, the CPU time of the process over all its threads, which does not
            depend on other load of the machine.
        brief: use the recipe's schedule for short runs, as --minutes does, with --steps alone.
        steps: optimiser steps of the whole run (default: the recipe's; where a paper counts epochs, that many epochs
            of the set as published).
        batch: batch size over all processes (default: the recipe's).
        seed: seed of initial weights and samples.
        seeds: train this many times, with seeds 0, 1, ..., each in its own folder; prints mean and deviation
            (default: once, with --seed).
        threads: threads of torch (default: all cores).
        workers: processes that prepare samples (default: none).
        device: auto (a GPU if there is one), cpu or cuda:N.
        precision: bf16 computes operations that are safe in bfloat16 in it.
        set_: data set to train on, for the recipes of the papers.
        size: side of the crop in pixels (default: the recipe's).
        width: number of channels relative to the paper (default: the recipe's).
        stacks: number of hourglasses, for the recipes of CHS (default: 4, the paper's).
        scheme: TOML file of the landmark scheme, for the recipe landmarks (default: the scheme that the labels name, or
            the usual one with that many landmarks).
        val: folder or file of labels for validation, for landmarks and detector (default: a part of --data).
        val_share: share of --data that is held out for validation (default: 0.1).
        group: what stays together when a part is held out: image, video (frames of one video, and images whose names
            differ in their last number only), folder, or a column of the labels (default: image).
        network: size of a network with random weights, for the recipe landmarks with --start none: landmarks-68 or
            accurate (default: landmarks-68).
        margin: side of the crop over the extent of the landmarks, for the recipe landmarks (default: estimated, so that
            crops show whole faces).
        negatives: folder of images without faces, for the recipes landmarks and detector (default: none).
        start: initial weights. For the recipes landmarks and detector: a shipped network (landmarks-68, accurate,
            face-detector), an .onnx file, a checkpoint, the folder of a run, or none for random weights (default:
            landmarks-68, face-detector). For the other shipped networks: a checkpoint (default: none). For recipes that
            have one: checkpoint of the previous stage.
        teacher: checkpoint of the teacher network, for recipes with distillation (default: none).
        backbone_weights: public weights of the backbone (default: from scratch).
        budget: cost that pruning keeps, in million multiply-accumulates (default: prune at the paper's
            threshold).
        skip_bad: number of files that may be left out because they cannot be read; each is reported. Without it, the
            run stops at the first one, after a checkpoint.
        extend: resume a run with a higher number of --steps than before; its learning rate follows the new number.
        wait: minutes that a process of torchrun waits for one that hangs, before it ends with an error.
        lr: peak learning rate (default: the recipe's).
        warmup: steps over which the learning rate rises (default: the recipe's, or a tenth of a shorter run).
        validate_every: steps between validations (default: the recipe's).
        patience: validations without improvement after which the run ends (default: none, the whole schedule is run).
        ema: decay of the moving average of the weights that is validated and saved; 0 for none (default: the
            recipe's).
        config: TOML file with any of these options by name, and recipe; those of the command line go before it. OUT
            receives the settings of the run as settings.toml, which is such a file (default: none).
        preview: only write a sheet of augmented training samples with their labels to this file, .jpg or .png
            (default: none).
        dry_run: only read the data, build the network, compute the losses of one batch, and print what would be done.
        json: also write the figures of the best checkpoint of each run to this file; - for standard output (default:
            none).
        force: replace that file, and best.pt and curves in OUT if they belong to no run that could be resumed.
        quiet: print warnings and errors only.
    """
    given = {name: value for name, value in locals().items() if name not in ("json", "force", "config", "extend")}
    import cv2
    import torch

    from ...trainers.systems import recipe_named
    from ...trainers.training.processes import joined
    from ...trainers.training.recipes import Options

    chosen = recipe_named(recipe)
    _check_numbers(seed=(seed, 0), threads=(threads, 0), workers=(workers, 0), seeds=(seeds, 1), skip_bad=(skip_bad, 0))
    if not wait > 0:
        raise NasionError(f"--wait is {wait:g}; give a number of minutes above 0")
    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    options = Options(
        set=set_,
        size=size,
        width=width,
        stacks=stacks,
        seed=seed,
        start=start,
        teacher=teacher,
        backbone_weights=backbone_weights,
        budget=budget,
        minutes=minutes,
        brief=brief,
        batch=batch,
        scheme=scheme,
        val=val,
        val_share=val_share,
        group=group,
        network=network,
        margin=margin,
        negatives=negatives,
        skip_bad=skip_bad,
    )
    chosen.check(options)
    if chosen.starts_from and start is None:
        options = replace(options, start=Path(chosen.starts_from))
        given["start"] = chosen.starts_from
    folder, inputs = out or Path("runs") / recipe, (start, teacher, backbone_weights, scheme, config)
    check_output_paths({"--preview": preview}, force=force, suffixes=(".jpg", ".png"), inputs=inputs)
    for each in [folder] if seeds is None else [folder / f"seed-{k}" for k in range(seeds)]:
        check_folder(each, force=force, inputs=inputs)
    with (
        json_results(json, force=force, inputs=inputs, silent=quiet) as to_json,
        joined(device_named(device), patience=wait) as place,
    ):
        changes = {
            "lr": lr,
            "warmup": warmup,
            "validate_every": validate_every,
            "patience": patience,
            "ema": ema,
        }
        job = Job(chosen, data, clock, steps, workers, place, precision, skip_bad, extend, changes, given, quiet)
        if dry_run or preview is not None:
            job.show(options, preview)
            return
        if seeds is None:
            runs = [job.run(options, folder)]
        else:
            runs = [job.run(replace(options, seed=k), folder / f"seed-{k}") for k in range(seeds)]
        if job.speaks:
            if seeds is not None:
                print("\n".join(spread([run["figures"] for run in runs])))
            to_json.write(provenance() | {"recipe": recipe, "runs": runs})


def _check_numbers(**given: tuple[int | None, int]) -> None:
    """Check that whole numbers are in the range that torch and the system allow."""
    for name, (value, least) in given.items():
        most = {"threads": 1024, "workers": 1024}.get(name, 2**31 - 1)
        if value is not None and not least <= value <= most:
            raise NasionError(f"--{name.replace('_', '-')} is {value}; give a whole number from {least} to {most}")
