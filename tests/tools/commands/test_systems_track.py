"""The shipped networks of the papers, by name, from video to landmarks by a user's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.values.arrays import FloatArray
from nasion.tools.main import main as nasion

Faces = list[dict[str, Any]]

SYSTEMS = ("rdfn", "chs", "rht", "pwc", "sd-hrnet")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip of ``nasion demo``."""
    path = tmp_path_factory.mktemp("clip") / "demo.mp4"
    write_clip(path, CameraMotion())
    return path


@pytest.fixture(scope="module")
def by_default(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Faces]:
    return tracked(clip, tmp_path_factory.mktemp("default"))


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        nasion([str(word) for word in words])
    assert not end.value.code, end.value.code


def tracked(clip: Path, folder: Path, *options: object) -> list[Faces]:
    """The faces of each frame, by ``nasion track``."""
    lines = folder / "faces.jsonl"
    run("track", clip, *options, "--device", "cpu", "--landmarks", lines)
    return [line["faces"] for line in map(json.loads, lines.read_text().splitlines()) if "faces" in line]


def overlap(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two boxes."""
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def agree(found: Faces, expected: Faces) -> bool:
    """Return True if two networks find no face in a frame, or one face in the same place."""
    if len(found) != len(expected):
        return False
    pairs = zip(found, expected, strict=True)
    return all(overlap(*(np.array(face["box"]) for face in pair)) >= 0.5 for pair in pairs)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_network_of_a_paper_tracks_a_clip_as_the_default_one_does(
    name: str, clip: Path, by_default: list[Faces], tmp_path: Path
) -> None:
    frames = tracked(clip, tmp_path, "--model", name)
    assert len(frames) == len(by_default) == CameraMotion().frames
    assert np.mean([agree(found, expected) for found, expected in zip(frames, by_default, strict=True)]) >= 0.95
    assert {face["id"] for faces in frames for face in faces} == {1}
    pairs = [(a[0], b[0]) for a, b in zip(frames, by_default, strict=True) if a and b]
    found, expected = (np.array([pair[k]["landmarks"] for pair in pairs])[:, :, :2] for k in (0, 1))
    eyes = np.linalg.norm(expected[:, 36] - expected[:, 45], axis=1)
    assert (np.linalg.norm(found - expected, axis=2) / eyes[:, None]).mean() < 0.06


def test_bench_runs_an_exported_network_by_torch(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model, file = tmp_path / "small.pt2", tmp_path / "bench.json"
    run("export", "chs-sf", "-o", model, "--size", 64, "--width", 1 / 16)
    options = ("--frames", 10, "--device", "cpu", "--threads", 1, "--repeat", 1, "--json", file)
    run("bench", clip, "--runtime", "torch", "--model", model, *options)
    (result,) = json.loads(file.read_text())["results"]
    *_, network = result["networks"].values()
    assert network["provider"] == "torch CPU"
    assert network["calls_per_frame"] > 0
    assert list(result["costs"]) == ["detect", "align", "track", "networks", "pipeline", "end to end"]
