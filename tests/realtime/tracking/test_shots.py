from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest

from nasion.realtime.tracking.shots import ShotChangeDetector

WIDTH, HEIGHT = 320, 180


@lru_cache
def scene(seed):
    """An image with the spectrum of a photograph, larger than the frame."""
    random = np.random.default_rng(seed)
    size = (2 * WIDTH, 2 * HEIGHT)
    image = np.full((size[1], size[0], 3), 128, np.float32)
    for cells, contrast in ((4, 60), (9, 40), (20, 25), (60, 15), (200, 8)):
        coarse = random.uniform(-contrast, contrast, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def view(image, x=0.0, y=0.0, zoom=1.0, degrees=0.0):
    """View of a camera over the image, x, y pixels away from its middle."""
    centre = (WIDTH - 0.5 + x, HEIGHT - 0.5 + y)
    matrix = cv2.getRotationMatrix2D(centre, degrees, zoom)
    matrix[:, 2] += np.array([WIDTH / 2, HEIGHT / 2]) - centre
    return cv2.warpAffine(image, matrix, (WIDTH, HEIGHT))


def cuts(frames):
    """Numbers of the frames that begin a shot."""
    detector = ShotChangeDetector()
    return [i for i, image in enumerate(frames) if detector.update(image)]


def test_a_cut_between_two_images_is_found_on_the_very_frame():
    for seed in range(12):
        a, b = view(scene(seed)), view(scene(seed + 100))
        assert cuts([a, a, a, b, b, a, b]) == [3, 5, 6]


def test_a_jump_within_one_image_is_a_cut():
    found = [cuts([view(scene(seed), -150, -75), view(scene(seed), 150, 75, 1.4)]) for seed in range(12)]
    assert found.count([1]) >= 11


@pytest.mark.parametrize(
    "motion",
    [
        {"x": 20.0},  # a width in half a second
        {"x": -12.0, "y": 6.0},
        {"zoom": 0.06},
        {"degrees": 5.0},
        {"x": 6.0, "y": 2.5, "zoom": 0.02, "degrees": 1.5},
    ],
    ids=str,
)
def test_a_fast_camera_makes_no_cuts(motion):
    for seed in range(3):
        steps = [{name: (name == "zoom") + i * v for name, v in motion.items()} for i in range(8)]
        assert cuts(view(scene(seed), **step) for step in steps) == []


def test_light_that_changes_makes_no_cuts(rng):
    image = view(scene(1))
    lit = [
        cv2.convertScaleAbs(image, alpha=gain, beta=shift)
        for gain, shift in ((1, 0), (0.5, 0), (1.6, 0), (1, 40), (0.3, 5), (1, 0))
    ]
    assert cuts(lit) == []


def test_noise_makes_no_cuts(rng):
    image = view(scene(2)).astype(np.float32)
    noisy = [np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    assert cuts(noisy) == []


def test_a_hand_that_comes_before_nearly_half_of_the_image_makes_no_cut():
    for seed in range(8):
        image = view(scene(seed))
        covered = image.copy()
        covered[30:, 90:250] = (90, 120, 190)
        assert cuts([image, covered, covered, image]) == []


def test_a_flash_a_fade_and_black_frames_within_a_shot_make_no_cuts():
    image = view(scene(3))
    black, white = np.zeros_like(image), np.full_like(image, 255)
    fade = [cv2.convertScaleAbs(image, alpha=share) for share in (0.7, 0.4, 0.15, 0.04, 0, 0.04, 0.3, 1)]
    assert cuts([image, white, image, black, black, image, *fade]) == []


def test_a_cut_through_black_is_found_when_the_new_shot_is_there():
    a, b = view(scene(4)), view(scene(5))
    assert cuts([a, np.zeros_like(a), np.zeros_like(a), b, b]) == [3]


def test_a_small_thing_that_moves_before_a_plain_wall_makes_no_cuts():
    frames = []
    for x in range(30, 280, 35):
        wall = np.full((HEIGHT, WIDTH, 3), 130, np.uint8)
        cv2.circle(wall, (x, 90), 30, (40, 60, 220), -1)
        frames.append(wall)
    assert cuts(frames) == []


def test_an_image_of_another_size_begins_a_shot_and_the_first_does_not():
    image = view(scene(6))
    assert cuts([image, image[:100], image[:100], image]) == [1, 3]


def test_after_reset_the_next_image_is_the_first():
    detector = ShotChangeDetector()
    detector.update(view(scene(7)))
    detector.reset()
    assert not detector.update(view(scene(8)))


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (35, 63), (36, 64), (37, 129)])
def test_images_smaller_than_a_thumbnail_do_no_harm(size, rng):
    detector = ShotChangeDetector()
    for _ in range(3):
        assert detector.update(rng.integers(0, 256, (*size, 3)).astype(np.uint8)) in (True, False)
