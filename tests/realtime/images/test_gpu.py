"""Images on a GPU against the same on the host: decoded of H.264, cropped by the kernel, followed by the tracker.

There is no GPU: decoder, driver and kernel are the stand-ins of fakes/nvdec.py, fakes/cuda.py and tests/emulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.gpu.device import Device
from nasion.engines.operators.bindings import Kernels
from nasion.engines.spec import Spec
from nasion.engines.tensorrt import library as tensorrt_library
from nasion.realtime.faces.drawing import draw as draw_faces
from nasion.realtime.faces.frame import DeviceFrame, Frame
from nasion.realtime.images.gpu import GpuPixels
from nasion.realtime.images.pixels import HostPixels, pixels_of
from nasion.realtime.pipeline import Pipeline
from nasion.realtime.sources import open_source
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.tracking.feeding import run_crops, run_letterbox
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.geometry import Region

from ...support.fakes import nvdec as fake_nvdec
from ...support.fakes import tensorrt as fake_tensorrt
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.networks import (
    BLUE,
    RED,
    Disc,
    DiscAligner,
    DiscDetector,
    DiscFaces,
    FakeRuntime,
    backdrop,
    draw,
)
from ...support.fakes.nvdec import FakeNvdec, OnFakeGpu, StreamKernels
from ...support.operators.native import build, build_emulated

pytestmark = pytest.mark.timeout(1500)  # the kernels may have to be compiled first

REGIONS = [Region(160, 120, 90), Region(90.3, 100.6, 41, 0.6), Region(5, 230, 120, -2.2), Region(150, 110, 230, 0.1)]


@pytest.fixture
def device(fake_gpu: FakeCuda) -> Iterator[Device]:
    with Device() as opened:
        yield opened


@pytest.fixture
def reference(device: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeNvdec, StreamKernels]]:
    """A machine whose kernels are the plain C++ references: quick, and safe in several threads."""
    kernels = Kernels(build(cuda=False).libraries["reference"], reference=True)
    with fake_nvdec.installed(monkeypatch, kernels) as machine:
        yield machine


@pytest.fixture
def emulated(device: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeNvdec, StreamKernels]]:
    """A machine with the kernels themselves, thread by thread on the CPU."""
    with fake_nvdec.installed(monkeypatch, Kernels(build_emulated())) as machine:
        yield machine


class Seeing(FakeRuntime):
    """Tells what it was shown."""

    def __init__(self, size: int = 64, **options: object) -> None:
        super().__init__(Spec("landmarks", "seeing", (size, size), stride=32, landmarks=68, **options))  # type: ignore[arg-type]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        return {"seen": images.copy()}


def discs(count: int = 12, size: tuple[int, int] = (320, 240)) -> list[np.ndarray]:
    """Two faces that move, one of which comes later."""
    room = backdrop(1, size)
    return [
        draw(Disc(RED, 90 + 3 * i, 110 + i, 60), *([Disc(BLUE, 230 - 2 * i, 120, 44)] if i > 3 else []), on=room)
        for i in range(count)
    ]


def both(path: Path) -> tuple[list[Frame], list[Frame]]:
    """The frames of a video decoded on the CPU and on the GPU."""
    with open_source(path) as on_cpu, open_source(path, decode="cuda") as on_gpu:
        assert replace(on_gpu.info, name="") == replace(on_cpu.info, name="")
        return list(on_cpu), list(on_gpu)


def alike(ours: np.ndarray, theirs: np.ndarray, *, mean: float = 2.0, most: float = 0.02) -> None:
    """Grey levels: FFmpeg rounds each step and blends chroma, the kernel does not; at coloured edges it shows."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(np.float64) - theirs)
    assert difference.mean() < mean
    assert (difference > 16).mean() < most


def test_a_frame_on_the_gpu_is_like_any_other_but_for_where_it_lies(
    reference: tuple[FakeNvdec, StreamKernels], tmp_path: Path
) -> None:
    path = fake_nvdec.clip(tmp_path / "a.mp4", discs(5))
    on_cpu, on_gpu = both(path)
    assert [(f.time, f.index, f.width, f.height) for f in on_gpu] == [
        (f.time, f.index, f.width, f.height) for f in on_cpu
    ]
    assert {frame.device for frame in on_cpu} == {"cpu"}
    assert {frame.device for frame in on_gpu} == {"cuda:0"}
    assert all(isinstance(frame, DeviceFrame) and isinstance(frame.pixels, GpuPixels) for frame in on_gpu)
    assert repr(on_gpu[2]) == f"DeviceFrame(GpuPixels(320x240 on cuda:0), time=0.08, index=2, source={str(path)!r})"
    assert on_gpu[0].pixels.nbytes * 2 == on_cpu[0].pixels.nbytes
    assert reference[0].fetched == []


def test_an_image_is_fetched_when_it_is_asked_for_and_once(
    reference: tuple[FakeNvdec, StreamKernels], tmp_path: Path
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(2)))
    first = on_gpu[0].image
    assert on_gpu[0].image is first
    assert len(reference[0].fetched) == 1
    np.testing.assert_array_equal(first, on_cpu[0].image)
    again = on_gpu[0].copy()
    assert again.image is not first
    assert len(reference[0].fetched) == 2


@pytest.mark.parametrize("options", [{}, {"channels": "bgr", "mean": (10.0, 20.0, 30.0), "std": (2.0, 3.0, 4.0)}])
def test_crops_are_those_of_the_host(
    emulated: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path, options: dict[str, object]
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(2)))
    network = Seeing(**options)
    grey = np.reshape(network.spec.std, (3, 1, 1))
    theirs = run_crops(network, [(HostPixels(on_cpu[1].image), REGIONS)])[0]["seen"]
    ours = run_crops(OnFakeGpu(network, device), [(on_gpu[1].pixels, REGIONS)])[0]["seen"]
    alike(ours * grey, theirs * grey)
    assert emulated[1].launches == 1
    assert emulated[0].fetched == []


def test_a_network_of_half_precision_gets_halves(
    emulated: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    _, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(1)))
    pixels = pixels_of(on_gpu[0].pixels)
    full, half = (
        run_crops(OnFakeGpu(Seeing(), device, dtype=dtype), [(pixels, REGIONS)])[0]["seen"]
        for dtype in ("float32", "float16")
    )
    np.testing.assert_allclose(half, full, atol=1e-3)
    assert np.any(half != full)


def test_more_crops_than_a_network_takes_go_in_parts(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    _, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(1)))
    pixels, regions = pixels_of(on_gpu[0].pixels), REGIONS + REGIONS[:3]
    whole, parts = OnFakeGpu(Seeing(), device), OnFakeGpu(Seeing(), device, most=3)
    np.testing.assert_array_equal(*(run_crops(each, [(pixels, regions)])[0]["seen"] for each in (parts, whole)))
    assert [shape[0] for shape in parts.shapes] == [3, 3, 1]


@pytest.mark.parametrize("size", [(160, 120), (97, 73), (320, 240), (64, 48)])
def test_the_whole_image_is_that_of_the_host(
    emulated: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path, size: tuple[int, int]
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(1)))
    theirs, their_ratio = run_letterbox(Seeing(), [HostPixels(on_cpu[0].image)], *size)
    ours, our_ratio = run_letterbox(OnFakeGpu(Seeing(), device), [on_gpu[0].pixels], *size)
    alike(ours["seen"] * 255, theirs["seen"] * 255)
    np.testing.assert_allclose(our_ratio, their_ratio, rtol=0.01)
    wide, high = size
    assert not ours["seen"][:, :, high:].any()
    assert not ours["seen"][:, :, :, wide:].any()


@pytest.mark.parametrize("size", [(320, 240), (130, 94)])
def test_a_thumbnail_has_the_pixels_of_the_hosts(
    emulated: tuple[FakeNvdec, StreamKernels], tmp_path: Path, size: tuple[int, int]
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(1, size)))
    ours = pixels_of(on_gpu[0].pixels).thumbnail(64, 36)
    alike(ours, HostPixels(on_cpu[0].image).thumbnail(64, 36))
    np.testing.assert_array_equal(ours, pixels_of(on_gpu[0].pixels).thumbnail(64, 36))
    assert emulated[0].fetched == []


# --- the tracker


def follow(frames: list[Frame], tracker: Tracker) -> list[list[tuple[int, np.ndarray, np.ndarray]]]:
    return [[(face.id, face.box, face.landmarks) for face in tracker.update(frame)] for frame in frames]


def agree(ours: list[list[tuple]], theirs: list[list[tuple]], *, within: float) -> None:
    assert [[face[0] for face in faces] for faces in ours] == [[face[0] for face in faces] for faces in theirs]
    assert sum(map(len, ours)) > 0.9 * len(ours)
    for our_faces, their_faces in zip(ours, theirs, strict=True):
        for (_, *our), (_, *their) in zip(our_faces, their_faces, strict=True):
            for one, other in zip(our, their, strict=True):
                assert np.abs(one - other).max() < within


def test_the_tracker_finds_the_same_and_no_image_visits_the_host(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    fake, kernels = reference
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(20)))
    options = {"detect_interval": 5 / 30, "smooth": "none"}
    theirs = follow(on_cpu, Tracker.from_networks(DiscDetector(), DiscAligner(), **options))
    networks = [OnFakeGpu(network, device) for network in (DiscDetector(), DiscAligner())]
    ours = follow(on_gpu, Tracker.from_networks(*networks, **options))
    agree(ours, theirs, within=1.0)  # the fakes find whole pixels
    assert fake.fetched == []
    assert kernels.launches >= 2 * len(on_gpu)  # thumbnail and crops


def test_a_few_frames_with_the_kernel_itself(
    emulated: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(6)[3:]))
    theirs = follow(on_cpu, Tracker.from_networks(DiscDetector(), DiscAligner(), detect_interval=1 / 30))
    networks = [OnFakeGpu(network, device) for network in (DiscDetector(), DiscAligner())]
    agree(follow(on_gpu, Tracker.from_networks(*networks, detect_interval=1 / 30)), theirs, within=1.0)
    assert emulated[0].fetched == []


def test_a_network_that_finds_faces_itself_stays_on_the_gpu(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(10)))
    theirs, ours = DiscFaces(), OnFakeGpu(DiscFaces(), device, most=2)
    options = {"detect_interval": 3 / 30, "smooth": "none"}
    expected = follow(on_cpu, Tracker.from_networks(theirs, theirs, **options))
    agree(follow(on_gpu, Tracker.from_networks(ours, ours, **options)), expected, within=1.0)
    assert reference[0].fetched == []


def test_a_cut_is_seen_on_the_gpu(reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path) -> None:
    shots = [draw(Disc(RED, 120, 110, 60), on=backdrop(seed)) for seed in (1, 1, 1, 2, 2, 2)]
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", shots))
    networks = [OnFakeGpu(network, device) for network in (DiscDetector(), DiscAligner())]
    trackers = Tracker.from_networks(DiscDetector(), DiscAligner()), Tracker.from_networks(*networks)
    cuts = [
        [t.networks.run(t.tracking.search(frame)).shot_change for frame in frames]
        for t, frames in zip(trackers, (on_cpu, on_gpu), strict=True)
    ]
    assert cuts[0] == cuts[1] == [False, False, False, True, False, False]


@pytest.mark.parametrize("elsewhere", ["cpu", "cuda:1"])
def test_networks_that_run_elsewhere_get_each_image_fetched_once(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path, elsewhere: str
) -> None:
    class Host(OnFakeGpu):
        def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
            return self._inner(images)

    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", discs(6)))
    options = {"detect_interval": 1 / 30}
    theirs = follow(on_cpu, Tracker.from_networks(DiscDetector(), DiscAligner(), **options))
    networks = [Host(network, device, name=elsewhere) for network in (DiscDetector(), DiscAligner())]
    agree(follow(on_gpu, Tracker.from_networks(*networks, **options)), theirs, within=1e-3)
    assert len(reference[0].fetched) == len(on_gpu)


def test_through_the_threads_it_is_the_same_and_drawing_fetches_each_image_once(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    fake, _ = reference
    path = fake_nvdec.clip(tmp_path / "a.mp4", discs(30))
    networks = [OnFakeGpu(network, device) for network in (DiscDetector(), DiscAligner())]

    def run() -> Iterator[tuple[Frame, list]]:
        with Pipeline(open_source(path, decode="cuda"), Tracker.from_networks(*networks)) as pipeline:
            yield from pipeline

    results = list(run())
    assert [frame.index for frame, _ in results] == list(range(30))
    assert fake.fetched == []
    tracker = Tracker.from_networks(*networks)
    for frame, faces in results:
        again = tracker.update(frame)
        assert [face.id for face in faces] == [face.id for face in again]
        for one, other in zip(faces, again, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
    for i, (frame, faces) in enumerate(results):
        assert draw_faces(frame.image, faces).shape == frame.image.shape
        assert len(fake.fetched) == i + 1
    assert all(a is not b for a, b in pairwise(fake.fetched))


def test_frames_outlive_their_source(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path
) -> None:
    with open_source(fake_nvdec.clip(tmp_path / "a.mp4", discs(3)), decode="cuda") as source:
        kept = next(source)
        before = pixels_of(kept.pixels).thumbnail(64, 36)
    np.testing.assert_array_equal(pixels_of(kept.pixels).thumbnail(64, 36), before)


def test_the_shipped_networks_on_tensorrt_find_the_same_points(
    reference: tuple[FakeNvdec, StreamKernels], device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our runtime as it is, over a TensorRT that computes by ONNX Runtime (fakes/tensorrt.py), and a real face."""
    fake, kernels = reference
    write_clip(tmp_path / "face.mp4", CameraMotion((640, 360), seconds=0.6))
    on_cpu, on_gpu = both(tmp_path / "face.mp4")
    options = {"smooth": "none", "detect_interval": 9 / 30}
    with Tracker(runtime="onnx", device="cpu", **options) as tracker:
        theirs = follow(on_cpu, tracker)
    fake_tensorrt.install("10.7.0", monkeypatch)
    with Tracker(runtime="tensorrt", **options) as tracker:
        ours = follow(on_gpu, tracker)
    tensorrt_library.tensorrt.cache_clear()
    # Pixels, of a face of 84: colours differ by a level, which decides whether a crop is kept or made again.
    agree(ours, theirs, within=1.5)
    assert fake.fetched == []
    assert kernels.launches >= 2 * len(on_gpu)
