"""The networks of the papers, trained, from their checkpoints to landmarks on video, by a user's commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from nasion.engines.tensorrt.photograph import FACE, PHOTOGRAPH
from nasion.tools.main import main as nasion

from ..conftest import ROOT

Faces = list[dict[str, Any]]

STUDIES = ROOT / "docs" / "bench" / "studies"
BESIDE = ("--detector", "face-detector")
SIDE, FRAMES = 256, 12
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that fills most of the picture, under a camera that pans, turns and comes nearer."""
    path, photograph = tmp_path_factory.mktemp("clip") / "close-up.mkv", cv2.imread(str(PHOTOGRAPH))
    x, y = (FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, width=SIDE, height=SIDE, pix_fmt="yuv420p")
        for i in range(FRAMES):
            motion = cv2.getRotationMatrix2D((x, y), -4 + i, 1.55 + 0.01 * i)
            motion[:, 2] += SIDE / 2 - np.array([x + 6 - i, y - 10 + i])
            picture = cv2.warpAffine(photograph, motion, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def shipped(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Faces]:
    return tracked(clip, tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The file of a checkpoint that is kept, by ``nasion export``."""
    pytest.importorskip("torch")

    @cache
    def write(weights: str, suffix: str, *options: str) -> Path:
        path = tmp_path_factory.mktemp(weights) / f"model.{suffix}"
        run("export", STUDIES / f"{weights}.pt", *options, "-o", path)
        return path

    return write


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        nasion([str(word) for word in words])
    assert not end.value.code, end.value.code


def tracked(clip: Path, folder: Path, *options: object) -> list[Faces]:
    """The faces of each frame, by ``nasion track``, which also draws them into a video."""
    lines, video = folder / "faces.jsonl", folder / "seen.mp4"
    run("track", clip, *options, "--device", "cpu", "--landmarks", lines, "--out", video)
    with av.open(video) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    return [line["faces"] for line in map(json.loads, lines.read_text().splitlines()) if "faces" in line]


def benched(clip: Path, folder: Path, *options: object) -> dict[str, Any]:
    """The figures of ``nasion bench``."""
    file = folder / "bench.json"
    run("bench", clip, *options, "--device", "cpu", "--threads", 1, "--repeat", 1, "--json", file, "--force")
    (result,) = json.loads(file.read_text())["results"]
    return dict(result)


def apart(frames: Sequence[Faces], others: Sequence[Faces]) -> float:
    """Mean distance of points, in parts of the distance of the others' outer eye corners."""
    mine, other = (np.array([faces[0]["landmarks"] for faces in each])[:, :, :2] for each in (frames, others))
    eyes = np.linalg.norm(other[:, 36] - other[:, 45], axis=1)
    return float((np.linalg.norm(mine - other, axis=2) / eyes[:, None]).mean())


@pytest.mark.parametrize(
    ("weights", "options", "beside"),
    [
        ("rdfn", (), ()),  # it finds the face by itself
        ("rdfn", (), BESIDE),
        ("rdfn", ("--head",), ()),
        ("chs-sf", (), ()),
        ("rht-r-on", (), ()),
        ("pwc-distribution", (), ()),
        ("sd-hrnet-256", (), ()),
    ],
    ids=["rdfn", "rdfn-beside-a-detector", "rdfn-head", "chs", "rht", "pwc", "sd-hrnet"],
)
def test_a_trained_network_follows_the_face_where_the_shipped_one_sees_it(
    weights: str,
    options: tuple[str, ...],
    beside: tuple[str, ...],
    exported: Callable[..., Path],
    clip: Path,
    shipped: list[Faces],
    tmp_path: Path,
) -> None:
    model = exported(weights, "onnx", *options)
    frames = tracked(clip, tmp_path, "--model", model, *beside)
    assert [[face["id"] for face in faces] for faces in frames] == [[1]] * FRAMES
    assert apart(frames, shipped) < 0.06


@pytest.mark.parametrize("weights", ["rdfn", "chs-sf", "rht-r-on", "pwc-distribution", "sd-hrnet-none"])
def test_bench_tells_the_same_of_a_trained_network_by_torch(
    weights: str, exported: Callable[..., Path], clip: Path, tmp_path: Path
) -> None:
    result = benched(clip, tmp_path, "--runtime", "torch", "--model", exported(weights, "pt2"))
    *_, network = result["networks"].values()
    assert (network["provider"], result["found"]) == ("torch CPU", 1)
    assert list(result["costs"]) == ["detect", "align", "track", "networks", "pipeline", "end to end"]
