"""Find the presence threshold of networks on crops.

Usage: python docs/scripts/training/thresholds.py --data DATA MODEL.onnx …

Compares held-out faces of 300W, in crops shifted and rotated as in training, with squares of training images without
faces. Networks without a presence output are judged by their mean confidence, as in the tracker.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nasion.engines.runtime import Runtime
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.realtime.values.geometry import to_tensor, warp
from nasion.trainers.data import read_image, read_negatives, read_set, split_validation
from nasion.trainers.data.augment import jitter_region, random_region

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="Find presence thresholds.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("models", nargs="+")
    given = parser.parse_args()
    for model in given.models:
        with open_runtime(Path(model)) as network:
            rng = np.random.default_rng(0)
            faces = presence(network, list(face_crops(given.data, network.spec, rng)))
            nothing = presence(network, list(empty_crops(given.data, network.spec, rng)))
        best = max(np.concatenate([faces, nothing]), key=lambda at: (faces >= at).mean() - (nothing >= at).mean())
        kept, left = (100 * (each >= best).mean() for each in (faces, nothing))
        print(f"{model}: threshold {best:.3f} keeps {kept:.1f} % of the faces and {left:.1f} % of the squares")
        for name, values in (("faces", faces), ("squares", nothing)):
            print(f"  {name:8} 1 / 5 / 50 / 95 / 99 %:", *np.percentile(values, [1, 5, 50, 95, 99]).round(3))


def face_crops(data: Path, spec: Spec, rng: np.random.Generator) -> Iterator[np.ndarray]:
    faces = read_set("300w", data, part="train")
    held = faces.pick(split_validation(len(faces))[1])
    for file, points in zip(held.files, held.points, strict=True):
        region = jitter_region(rng, points, margin=spec.crop_margin)
        yield warp(read_image(file), region.to_crop(spec.size[0]), spec.size[0])


def empty_crops(data: Path, spec: Spec, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for file in read_negatives(data)[::3]:
        image = read_image(file)
        yield warp(image, random_region(rng, image).to_crop(spec.size[0]), spec.size[0])


def presence(network: Runtime, crops: list[np.ndarray]) -> np.ndarray:
    found, spec = [], network.spec
    for start in range(0, len(crops), BATCH):
        batch = to_tensor(crops[start : start + BATCH], spec.mean, spec.std, rgb=spec.channels == "rgb")
        outputs = network(batch)
        found.append(outputs["presence"] if "presence" in outputs else outputs["confidence"].mean(axis=1))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
