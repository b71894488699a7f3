from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.images.inputs import bgr_of, in_order_of
from nasion.realtime.values.arrays import Image


@pytest.fixture
def bgr(rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (6, 8, 3), np.uint8)


def test_a_bgr_array_is_not_copied(bgr: Image) -> None:
    assert bgr_of(bgr) is bgr


def test_all_orders_of_the_colours_give_the_same_image(bgr: Image) -> None:
    alpha = np.full((6, 8, 1), 255, np.uint8)
    rgb = bgr[..., ::-1]
    for array, channels in (
        (np.concatenate([bgr, alpha], 2), "bgr"),
        (rgb, "rgb"),
        (np.concatenate([rgb, alpha], 2), "rgb"),
        (bgr.transpose(2, 0, 1), "bgr"),
        (rgb.transpose(2, 0, 1), "rgb"),
    ):
        found = bgr_of(array, channels)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, bgr)


@pytest.mark.parametrize("opacity", [0, 64, 255])
def test_transparent_images_are_shown_over_white(bgr: Image, opacity: int) -> None:
    expected = bgr * (opacity / 255) + 255 - opacity
    alpha = np.full((6, 8, 1), opacity, np.uint8)
    rgba = np.concatenate([bgr[..., ::-1], alpha], 2)
    for found in (
        bgr_of(np.concatenate([bgr, alpha], 2)),
        bgr_of(rgba, "rgb"),
        bgr_of(pytest.importorskip("PIL.Image").fromarray(rgba)),
    ):
        assert np.abs(found - expected).max() <= 1


def test_grey_arrays_have_three_equal_channels(bgr: Image) -> None:
    grey = bgr[..., 0]
    for array in (grey, grey[..., None], grey[None], grey.astype(np.float32) / 255):
        np.testing.assert_array_equal(bgr_of(array), np.repeat(grey[..., None], 3, axis=2))
        np.testing.assert_array_equal(bgr_of(array, "rgb"), bgr_of(array))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_become_bytes(bgr: Image, dtype: type) -> None:
    np.testing.assert_array_equal(bgr_of((bgr / 255).astype(dtype)), bgr)


def test_arrays_may_have_gaps_run_backwards_and_be_read_only(bgr: Image) -> None:
    bgr.flags.writeable = False
    for array in (bgr, bgr[::-1], bgr[:, ::2], np.asfortranarray(bgr)):
        found = bgr_of(array)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, array)


def test_the_result_has_the_order_of_the_image(bgr: Image) -> None:
    np.testing.assert_array_equal(in_order_of(bgr, "bgr", bgr), bgr)
    np.testing.assert_array_equal(in_order_of(bgr, "rgb", bgr), bgr[..., ::-1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_pillow_images_know_their_order(bgr: Image, mode: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.fromarray(np.ascontiguousarray(bgr[..., ::-1])).convert(mode)
    for channels in ("bgr", "rgb"):
        np.testing.assert_array_equal(bgr_of(image, channels)[..., ::-1], np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(in_order_of(image, "bgr", bgr), bgr[..., ::-1])


def test_pillow_images_of_16_bits_are_refused_with_what_to_do() -> None:
    pillow = pytest.importorskip("PIL.Image")
    with pytest.raises(NasionError, match=r"mode 'I;16', whose range .* give 8 bits a channel, such as np\.uint8"):
        bgr_of(pillow.fromarray(np.zeros((4, 4), np.uint16)))


def test_torch_tensors_are_read_by_dlpack(bgr: Image) -> None:
    torch = pytest.importorskip("torch")
    rgb = torch.from_numpy(bgr[..., ::-1].copy()).permute(2, 0, 1)  # as torchvision and torchcodec give it
    for tensor in (rgb, rgb.contiguous(), rgb.float() / 255, rgb.permute(1, 2, 0)):
        np.testing.assert_array_equal(bgr_of(tensor, "rgb"), bgr)


def test_a_tensor_that_cannot_be_read_is_refused_with_what_to_do() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(NasionError, match=r"the Tensor cannot be read as an image \(.*require gradient.*\.detach\(\)"):
        bgr_of(torch.zeros(3, 4, 4, requires_grad=True))


class OnGpu:
    """An array that claims to be on a GPU; like torch and CuPy, it exports a copy on the CPU if asked."""

    def __init__(self, array: np.ndarray, *, copies: bool = True) -> None:
        self._array, self._copies = array, copies

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, dl_device: Any = None, copy: Any = None, **_: Any) -> Any:
        if not self._copies or dl_device != (1, 0) or copy is not True:
            raise BufferError("this array is on cuda:0")
        return self._array.copy().__dlpack__()


def test_an_array_on_a_gpu_is_copied(bgr: Image) -> None:
    np.testing.assert_array_equal(bgr_of(OnGpu(bgr)), bgr)


def test_an_array_on_a_gpu_that_cannot_be_copied_is_refused_with_what_to_do(bgr: Image) -> None:
    with pytest.raises(NasionError, match=r"OnGpu cannot be read .*on cuda:0.* tensor\.detach\(\)\.cpu\(\) of torch"):
        bgr_of(OnGpu(bgr, copies=False))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, r"image is None; cv2\.imread returns None"),
        (b"\x89PNG", r"bytes of a file; give PIL\.Image\.open\(io\.BytesIO\(data\)\)"),
        (Frame(np.zeros((4, 4, 3), np.uint8), 0.0, 0), r"a whole frame; give its array, frame\.image"),
        ("a.png", "the image is a str; give a NumPy array"),
        (3.0, "the image is of type float; give a NumPy array, a Pillow image, or an array that supports DLPack"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\); .* give a list of its images: list\(batch\)"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\); allowed: .* with 1, 3 or 4 channels"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((4, 4, 3), np.uint16), r"values of uint16; .* give np\.uint8\(image / 257\)"),
        (np.zeros((4, 4), bool), r"values of bool; .* give np\.uint8\(image\) \* 255"),
        (np.zeros((4, 4, 3), np.int64), r"values of int64; .* image\.astype\(np\.uint8\)"),
        (np.full((4, 4, 3), 128.0), r"float64 values from 128 to 128; .* image / 255; undo the normalisation"),
        (np.full((4, 4, 3), -1.0), r"values from -1 to -1; floats are allowed from 0 to 1"),
        (np.full((4, 4, 3), np.nan, np.float32), "values from nan to nan"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_do(image: Any, message: str) -> None:
    with pytest.raises(NasionError, match=message):
        bgr_of(image)


def test_an_unknown_order_is_refused_with_those_allowed(bgr: Image) -> None:
    with pytest.raises(NasionError, match="channels='RGB' is not allowed; choose from bgr, rgb, with or without alpha"):
        bgr_of(bgr, "RGB")  # type: ignore[arg-type]


def test_opencv_and_pillow_read_the_same_pixels(tmp_path: Any, bgr: Image) -> None:
    pillow = pytest.importorskip("PIL.Image")
    cv2.imwrite(str(tmp_path / "image.png"), bgr)
    with pillow.open(tmp_path / "image.png") as image:
        np.testing.assert_array_equal(bgr_of(image), bgr)
