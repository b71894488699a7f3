"""A short clip, with chunks short enough that it has several."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from nasion.realtime.annotate import job
from nasion.realtime.sources.synthetic import CameraMotion, write_clip

CHUNK = 16
FRAMES = 45


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 1.5 s with one face, at 30 frames a second, with sound."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, CameraMotion(seconds=FRAMES / 30))
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six images with one face, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    motion = CameraMotion(seconds=1.0)
    for number in range(5):
        cv2.imwrite(str(folder / f"photo{number}.jpg"), motion.render(2 * number))
    (folder / "photo5.jpg").write_bytes(b"\xff\xd8\xff damaged")
    return folder


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few frames."""
    monkeypatch.setattr(job, "CHUNK", CHUNK)
