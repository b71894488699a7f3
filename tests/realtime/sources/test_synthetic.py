from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.engines.tensorrt.photograph import FACE, PHOTOGRAPH
from nasion.realtime.sources import open_source
from nasion.realtime.sources.image_files.reading import read_image
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.values.arrays import FloatArray, Image
from nasion.realtime.values.geometry import transform

CORNERS = np.array([(x, y) for x in FACE[::2] for y in FACE[1::2]], np.float32)
DOTS = np.array([(x, y) for x in (180, 230, 280) for y in (80, 135, 190)], np.float32)


def dotted() -> Image:
    """A black photograph with soft dots, whose centres are known to a small part of a pixel."""
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    blobs = [np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * 3.0**2)) for dx, dy in DOTS]
    return np.repeat((200 * np.sum(blobs, axis=0))[:, :, None], 3, axis=2).astype(np.uint8)


def centre_of_mass(image: Image, near: FloatArray, reach: int) -> FloatArray:
    left, top = (near - reach).round().astype(int)
    part = image[top : top + 2 * reach + 1, left : left + 2 * reach + 1].mean(axis=2) - 30
    weight = np.clip(part, 0, None)
    y, x = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]]
    return np.array([left + (x * weight).sum() / weight.sum(), top + (y * weight).sum() / weight.sum()])


@pytest.mark.parametrize(("size", "limit"), [((640, 360), 0.15), ((1280, 720), 0.2), ((320, 180), 0.15)])
def test_the_true_motion_is_that_of_the_pixels(size: tuple[int, int], limit: float) -> None:
    motion = CameraMotion(size, photograph=dotted())
    unit = size[0] / 640
    for index in (0, 70, 120, 160, 260):
        image = motion.render(index)
        for expected in transform(DOTS, motion.transform(index)):
            found = centre_of_mass(image, expected, round(10 * unit))
            assert np.abs(found - expected).max() < limit


def test_a_smaller_frame_shows_the_same_motion_by_the_half_pixel_rule() -> None:
    large, small = CameraMotion((640, 360)), CameraMotion((320, 180))
    for index in (0, 100, 299):
        points = transform(CORNERS, large.transform(index))
        assert transform(CORNERS, small.transform(index)) == pytest.approx((points + 0.5) / 2 - 0.5, abs=1e-3)


def test_the_same_seed_gives_the_same_frames_and_another_gives_others() -> None:
    one, same, other = CameraMotion(seed=3), CameraMotion(seed=3), CameraMotion(seed=4)
    assert np.array_equal(one.render(50), same.render(50))
    assert np.array_equal(one.render(50), one.render(50))
    assert not np.array_equal(one.render(50), other.render(50))
    assert not np.array_equal(one.transform(50), other.transform(50))


@pytest.mark.parametrize("seed", range(5))
def test_the_face_stays_in_view_at_a_trackable_size(seed: int) -> None:
    motion = CameraMotion(seed=seed)
    for index in range(motion.frames):
        matrix = motion.transform(index)
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        assert 90 <= scale * (FACE[2] - FACE[0]) <= 200
        assert 90 <= scale * (FACE[3] - FACE[1]) <= 200
        corners = transform(CORNERS, matrix)
        assert (corners > -0.5).all()
        assert (corners < (639.5, 359.5)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_camera_moves_smoothly_dashes_and_stands_still(seed: int) -> None:
    motion = CameraMotion(seed=seed)
    centres = np.array([transform(CORNERS, motion.transform(i)).mean(axis=0) for i in range(motion.frames)])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    turns = np.linalg.norm(np.diff(centres, n=2, axis=0), axis=1)
    assert 6 < steps.max() < 20
    assert steps.max() > 2.5 * np.median(steps[:90])
    assert turns.max() < 4
    longest = max(len(run) for run in "".join("." if s < 1e-4 else "|" for s in steps).split("|"))
    assert longest >= 30  # a second to measure jitter in


def test_where_the_camera_stands_still_only_noise_moves() -> None:
    motion = CameraMotion()
    steps = [np.abs(motion.transform(i) - motion.transform(i + 1)).max() for i in range(motion.frames - 1)]
    still = [i for i, step in enumerate(steps) if step < 1e-6]
    assert still
    difference = motion.render(still[10]).astype(int) - motion.render(still[11])
    assert 3 < difference.std() < 8
    assert abs(difference.mean()) < 0.3


def test_light_changes_over_the_clip() -> None:
    motion = CameraMotion((160, 90))
    means = [motion.render(i).mean() for i in range(0, motion.frames, 15)]
    assert max(means) > 1.3 * min(means)


def covered_share(motion: CameraMotion, index: int, face: Image) -> float:
    """Share of the face's area in the frame that does not look like the face any more."""
    back = cv2.invertAffineTransform(motion.transform(index))
    seen = cv2.warpAffine(motion.render(index), back, (512, 512))
    x0, y0, x1, y1 = (int(value) for value in FACE)
    inside = cv2.GaussianBlur(seen, (0, 0), 2)[y0:y1, x0:x1].astype(float)
    known = face[y0:y1, x0:x1].astype(float)
    known *= inside.mean() / known.mean()
    return float((np.abs(inside - known).max(axis=2) > 30).mean())


def test_once_for_seven_tenths_of_a_second_the_whole_face_is_covered() -> None:
    motion = CameraMotion()
    covered = [i for i in range(motion.frames) if motion.occluded(i)]
    assert covered == list(range(covered[0], covered[-1] + 1))
    assert 0.65 <= len(covered) / 30 <= 0.75
    face = cv2.GaussianBlur(read_image(PHOTOGRAPH), (0, 0), 2)
    assert all(covered_share(motion, i, face) > 0.6 for i in (covered[0], covered[10], covered[-1]))
    assert all(covered_share(motion, i, face) < 0.2 for i in (covered[0] - 15, covered[-1] + 15))


def test_a_short_clip_has_the_whole_show_in_less_time() -> None:
    motion = CameraMotion(seconds=2.0)
    covered = [i for i in range(motion.frames) if motion.occluded(i)]
    assert motion.frames == 60
    assert 2 <= len(covered) <= 6


@pytest.mark.parametrize("size", [(1, 1), (1, 7680), (7680, 1)])
def test_the_narrowest_images_can_be_made(size: tuple[int, int]) -> None:
    assert CameraMotion(size, seconds=0.1).render(0).shape == (size[1], size[0], 3)


def test_numbers_that_make_no_clip_are_refused() -> None:
    for size in ((0, 360), (100_000, 100_000), (640, 7681)):
        with pytest.raises(SourceError, match=r"a pattern of \d+x\d+ pixels is not possible; give .* from 1 to 7680"):
            CameraMotion(size)
    for rate, seconds in ((30, 0), (0, 10), (30, math.nan), (30, math.inf), (10**9, 10)):
        with pytest.raises(SourceError, match=r"above 0, and together at most 10000000 frames"):
            CameraMotion(rate=Fraction(rate), seconds=seconds)
    with pytest.raises(IndexError, match="frame 300 does not exist; the clip has frames 0 to 299"):
        CameraMotion((64, 36)).render(300)
    with pytest.raises(SourceError, match="a clip of 65x36 cannot be written; both sides must be even"):
        write_clip("never.mp4", CameraMotion((65, 36)))


def test_the_clip_on_disk_has_every_frame_and_sound_of_the_same_length(tmp_path: Path) -> None:
    motion = CameraMotion((160, 90), rate=Fraction(30000, 1001), seconds=1.0)
    write_clip(tmp_path / "clip.mp4", motion)
    with open_source(tmp_path / "clip.mp4") as source:
        assert source.info.rate == Fraction(30000, 1001)
        frames = list(source)
    assert len(frames) == motion.frames == 30
    assert frames[-1].time == pytest.approx(29 * 1001 / 30000, abs=1e-4)
    assert np.abs(frames[9].image.astype(int) - motion.render(9)).mean() < 8
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        sound = list(container.decode(audio=0))
    assert sum(frame.samples for frame in sound) / 48000 == pytest.approx(30 * 1001 / 30000, abs=0.05)
    assert max(float(np.abs(frame.to_ndarray()).max()) for frame in sound) > 0.05


def test_the_photograph_has_its_origin_beside_it() -> None:
    note = (PHOTOGRAPH.parent / "SOURCE.txt").read_text()
    assert "NASA" in note
    assert "public domain" in note
    assert PHOTOGRAPH.stat().st_size < 800_000
