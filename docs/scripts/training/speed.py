"""Steps a second of the trainings of the shipped networks and of data of users, and the share of the data in a step.

Measured on one thread in CPU time, so that other load of the machine does not matter. Writes
docs/bench/training-speed.json:

    python docs/scripts/training/speed.py --data DATA
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import torch
from torch.utils.data import default_collate

from nasion.tools.machine import provenance
from nasion.trainers.systems import Options, recipe_named
from nasion.trainers.training.loop import moved
from nasion.trainers.training.state import begin, update_ema

RESULT = Path(__file__).resolve().parents[2] / "bench" / "training-speed.json"
STEPS = 6


def measure(name: str, data: Path, start: str | None) -> dict[str, float]:
    """Return steps a second, milliseconds of a step, and the share of its data."""
    recipe, options = recipe_named(name), Options(start=None if start is None else Path(start))
    if recipe.survey:
        options = recipe.survey(data, options)
    schedule = recipe.schedule_for(options)
    learner = recipe.build(options)
    prepared = recipe.prepare(learner, data, options)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = begin(learner.train(), schedule, Path("no-checkpoint"), {})
    ((objective, optimiser),) = state.optimisers.items()
    collate = prepared.collate or default_collate
    batches = [range(step * schedule.batch, (step + 1) * schedule.batch) for step in range(STEPS)]
    for numbers in batches:  # afterwards the images are in memory, as in all but the first steps of a run
        for number in numbers:
            prepared.samples[number]
    of_data = of_step = 0.0
    for numbers in batches:
        begun = time.process_time()
        batch = moved(collate([prepared.samples[number] for number in numbers]), torch.device("cpu"))
        drawn = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(learner.losses(batch, objective).values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learner.trained(objective), schedule.clip or torch.inf)
        optimiser.step()
        update_ema(state, schedule.ema)
        of_data, of_step = of_data + drawn - begun, of_step + time.process_time() - begun
    return {
        "batch": schedule.batch,
        "steps_per_second": round(STEPS / of_step, 2),
        "milliseconds": round(1000 * of_step / STEPS, 1),
        "data_percent": round(100 * of_data / of_step, 1),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    own = given.data / "300w" / "afw"
    measured = {
        "landmarks-68": measure("landmarks-68", given.data, None),
        "landmarks-68-accurate": measure("landmarks-68-accurate", given.data, None),
        "face-detector": measure("face-detector", given.data, None),
        "landmarks, from landmarks-68": measure("landmarks", own, "landmarks-68"),
        "landmarks, from accurate": measure("landmarks", own, "accurate"),
        "detector": measure("detector", given.data, "face-detector"),
    }
    found = provenance("python docs/scripts/training/speed.py --data DATA") | {"measured": measured}
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
