from __future__ import annotations

import numpy as np
import pytest

from nasion.engines.errors import ModelError, NasionError
from nasion.engines.spec import Spec
from nasion.realtime.tracking.detector import Detector

from ...support.fakes.networks import RED, Constant, Disc, DiscAligner, DiscDetector, FakeRuntime, backdrop, draw

SPEC = Spec("detector", "constant", (320, 320), stride=32, threshold=0.5)


def constant(boxes, scores, spec=SPEC):
    return Constant(spec, boxes=np.reshape(boxes, (-1, 4)), scores=scores)


class Keep(FakeRuntime):
    """Keeps what it is given to see, and sees nothing in it."""

    def __call__(self, images):
        self.batches.append(images.copy())
        return {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0), np.float32)}


def blank(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((640, 360), (192, 320)),  # halved, and filled up to whole strides
        ((1920, 1080), (192, 320)),
        ((360, 640), (320, 192)),
        ((320, 200), (224, 320)),
        ((100, 50), (64, 128)),  # small images keep their size
        ((10, 10), (64, 64)),  # tiny ones are enlarged
        ((1, 1), (64, 64)),
        ((5000, 3), (32, 320)),
    ],
)
def test_the_network_sees_the_image_fitted_into_its_size_in_whole_strides(size, seen):
    network = Keep(SPEC)
    assert len(Detector(network).detect(blank(*size))) == 0
    assert network.batches[0].shape == (1, 3, *seen)


def test_a_chosen_size_is_the_longer_side_that_the_network_sees():
    network = Keep(SPEC)
    Detector(network, size=160).detect(blank(640, 480))
    Detector(network, size=640).detect(blank(640, 480))
    assert [batch.shape[2:] for batch in network.batches] == [(128, 160), (480, 640)]


def test_what_is_filled_up_is_black_and_planes_are_as_the_spec_says():
    image = np.full((100, 100, 3), (10, 20, 30), np.uint8)
    rgb, bgr = Keep(SPEC), Keep(Spec("detector", "b", (64, 64), "bgr", (1, 2, 3), (2.0, 4.0, 8.0), stride=32))
    Detector(rgb).detect(image)
    Detector(bgr, size=100).detect(image)
    seen = rgb.batches[0][0]
    np.testing.assert_allclose(seen[:, 0, 0], np.array([30, 20, 10]) / 255, rtol=1e-6)
    assert (seen[:, 100:] == 0).all()
    assert (seen[:, :, 100:] == 0).all()
    np.testing.assert_allclose(bgr.batches[0][0][:, 0, 0], [9 / 2, 18 / 4, 27 / 8], rtol=1e-6)


def test_boxes_come_back_in_pixels_of_the_frame_to_the_half_pixel():
    detector = Detector(constant([0, 0, 10, 20], [0.9]))
    np.testing.assert_allclose(detector.detect(blank(320, 200)).boxes, [[0, 0, 10, 20]], atol=1e-5)
    np.testing.assert_allclose(detector.detect(blank(640, 400)).boxes, [[0.5, 0.5, 20.5, 40.5]], atol=1e-5)
    np.testing.assert_allclose(detector.detect(blank(960, 600)).boxes, [[1, 1, 31, 61]], atol=1e-5)
    np.testing.assert_allclose(detector.detect(blank(32, 32)).boxes, [[-0.25, -0.25, 4.75, 9.75]], atol=1e-5)


@pytest.mark.parametrize("size", [(320, 240), (333, 777), (641, 479), (1280, 720), (1919, 1079), (90, 90)])
def test_a_face_is_found_where_it_is_whatever_the_size_of_the_image(size):
    width, height = size
    across = min(size) / 2
    x, y = width * 0.6 - 0.3, height * 0.45
    image = draw(Disc(RED, x, y, across), on=backdrop(size=size))
    (box,) = Detector(DiscDetector()).detect(image).boxes
    pixel = max(max(size) / 320, 1.0)
    wanted = [x - across / 2, y - across * 0.74, x + across / 2, y + across / 2]
    np.testing.assert_allclose(box, wanted, atol=1.5 * pixel)


def test_fine_texture_is_blended_not_sampled(rng):
    noise = rng.integers(0, 256, (720, 1280, 3)).astype(np.uint8)
    network = Keep(SPEC)
    Detector(network).detect(noise)
    seen = network.batches[0][0, :, :180]
    assert seen.std() < 0.3 * noise.std() / 255, "each pixel is the mean of sixteen"


def test_faces_come_best_first_above_the_threshold_and_each_once():
    boxes = [[0, 0, 40, 40], [100, 0, 140, 40], [2, 2, 42, 42], [200, 0, 240, 40], [20, 0, 60, 40]]
    found = Detector(constant(boxes, [0.6, 0.9, 0.8, 0.49, 0.5])).detect(blank(320, 320))
    np.testing.assert_allclose(found.boxes, [boxes[1], boxes[2], boxes[4]])  # the last overlaps by a third only
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.5])
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_a_threshold_of_ones_own_goes_before_that_of_the_network():
    network = constant([[0, 0, 9, 9], [50, 0, 59, 9]], [0.3, 0.7])
    assert [len(Detector(network, threshold=t).detect(blank(64, 64))) for t in (0.2, None, 0.9)] == [2, 1, 0]


def test_where_nothing_is_found_the_arrays_are_empty_and_of_the_usual_shape():
    found = Detector(constant([], [])).detect(blank(64, 64))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert len(found) == 0


def test_boxes_that_are_no_numbers_are_left_out():
    found = Detector(constant([[0, 0, np.nan, 9], [0, 0, 9, np.inf], [0, 0, 9, 9]], [0.9] * 3))
    assert len(found.detect(blank(64, 64))) == 1


def test_a_network_or_number_that_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="'disc-68' finds landmarks, not faces; give a detector"):
        Detector(DiscAligner())
    with pytest.raises(NasionError, match="size 16 is too small; at least 32 pixels"):
        Detector(DiscDetector(), size=16)
    with pytest.raises(NasionError, match=r"threshold 1\.5 is not within 0\.\.1"):
        Detector(DiscDetector(), threshold=1.5)
