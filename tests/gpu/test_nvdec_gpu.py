"""Videos decoded on a GPU against the same decoded on the CPU: pixels, crops, and what the tracker finds.

H.264 leaves a decoder no freedom: what is fetched must be what the CPU decodes, to the bit. The networks are the fakes
of the tests, which see what the kernel has written on the GPU; with TensorRT installed the shipped ones as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.engines.gpu.device import Device
from nasion.engines.operators import library as plugins
from nasion.realtime.faces.frame import Frame
from nasion.realtime.images.pixels import HostPixels, pixels_of
from nasion.realtime.pipeline import Pipeline
from nasion.realtime.sources import open_source
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.tracking.feeding import run_crops, run_letterbox
from nasion.realtime.tracking.tracker import Tracker

from ..realtime.images.test_gpu import REGIONS, Seeing, agree, alike, discs, follow
from ..support.fakes.networks import DiscAligner, DiscDetector
from ..support.fakes.nvdec import OnFakeGpu, clip
from ..support.media.media_samples import number_of, write_video
from .conftest import library

pytestmark = pytest.mark.timeout(900)  # the kernels may have to be compiled first


@pytest.fixture(autouse=True)
def _ready(device: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels, and a decoder. CUDA is in use already, as it is when networks were loaded first."""
    monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(library("kernels").parent))
    try:
        open_source(write_video(tmp_path / "first.mp4", frames=1, size=(256, 192)), decode="cuda").close()
    except SourceError as error:
        pytest.skip(str(error))


def both(path: Path) -> tuple[list[Frame], list[Frame]]:
    with open_source(path) as on_cpu, open_source(path, decode="cuda") as on_gpu:
        assert (on_gpu.info.width, on_gpu.info.height) == (on_cpu.info.width, on_cpu.info.height)
        cpu, gpu = list(on_cpu), list(on_gpu)
    assert {frame.device for frame in gpu} == {"cuda:0"}
    assert [(frame.time, frame.index) for frame in gpu] == [(frame.time, frame.index) for frame in cpu]
    return cpu, gpu


def test_the_pixels_are_those_of_the_cpu_and_many_frames_are_kept_at_once(tmp_path: Path) -> None:
    on_cpu, on_gpu = both(clip(tmp_path / "a.mp4", discs(80)))
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_crops_whole_images_and_thumbnails_are_those_of_the_host(device: Device, tmp_path: Path) -> None:
    on_cpu, on_gpu = both(clip(tmp_path / "a.mp4", discs(6)))
    network = OnFakeGpu(Seeing(), device)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        pixels, host = pixels_of(ours.pixels), HostPixels(theirs.image)
        ours_cropped, theirs_cropped = (
            run_crops(each, [(image, REGIONS)])[0] for each, image in ((network, pixels), (Seeing(), host))
        )
        alike(ours_cropped["seen"] * 255, theirs_cropped["seen"] * 255)
        ours_whole, _ = run_letterbox(network, [pixels], 160, 120)
        theirs_whole, _ = run_letterbox(Seeing(), [host], 160, 120)
        alike(ours_whole["seen"] * 255, theirs_whole["seen"] * 255)
        alike(pixels.thumbnail(64, 36), host.thumbnail(64, 36))


@pytest.mark.parametrize("full", [False, True], ids=["16..235", "0..255"])
@pytest.mark.parametrize("number", [1, 6, 9, 2])
def test_colours_are_those_that_ffmpeg_makes(device: Device, tmp_path: Path, number: int, full: bool) -> None:
    on_cpu, on_gpu = both(clip(tmp_path / "a.mp4", discs(2), colorspace=number, color_range=2 if full else 1))
    theirs = run_letterbox(Seeing(), [HostPixels(on_cpu[1].image)], 320, 240)[0]["seen"]
    ours = run_letterbox(OnFakeGpu(Seeing(), device), [pixels_of(on_gpu[1].pixels)], 320, 240)[0]["seen"]
    assert np.abs(ours - theirs)[:, :, :240].max() * 255 < 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_are_upright(device: Device, tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "turned.mp4", frames=2, size=(256, 192), matrix=(degrees, False, True))
    on_cpu, on_gpu = both(path)
    alike(pixels_of(on_gpu[1].pixels).thumbnail(64, 36), HostPixels(on_cpu[1].image).thumbnail(64, 36))
    np.testing.assert_array_equal(on_gpu[1].image, on_cpu[1].image)


def test_a_part_of_a_video_is_entered(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", frames=60, size=(256, 192), codec_options={"g": "10"})
    with open_source(path, start=1.3, end=1.8, decode="cuda") as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [i % 20 for i in range(33, 45)]


def test_ten_bits_are_decoded_there_and_fetched(tmp_path: Path) -> None:
    path = write_video(tmp_path / "deep.mp4", frames=6, size=(256, 192), codec="libx265", pix_fmt="yuv420p10le")
    with open_source(path, decode="cuda") as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(6))
    assert {frame.device for frame in frames} == {"cpu"}


def test_a_video_that_no_gpu_decodes_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", frames=2, size=(256, 192), codec="ffv1")
    with pytest.raises(SourceError, match="there is no GPU decoder for ffv1"):
        open_source(path, decode="cuda")


def test_the_tracker_finds_the_same_in_a_loop_and_through_the_threads(device: Device, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", discs(40))
    on_cpu, on_gpu = both(path)
    options = {"detect_interval": 5 / 30, "smooth": "none"}
    theirs = follow(on_cpu, Tracker.from_networks(DiscDetector(), DiscAligner(), **options))
    networks = [OnFakeGpu(network, device) for network in (DiscDetector(), DiscAligner())]
    agree(follow(on_gpu, Tracker.from_networks(*networks, **options)), theirs, within=1.0)
    with Pipeline(open_source(path, decode="cuda"), Tracker.from_networks(*networks, **options)) as pipeline:
        ours = [[(face.id, face.box, face.landmarks) for face in faces] for _, faces in pipeline]
    agree(ours, theirs, within=1.0)


@pytest.mark.usefixtures("plans")
def test_the_shipped_networks_on_tensorrt_find_the_same_points(tmp_path: Path) -> None:
    write_clip(tmp_path / "face.mp4", CameraMotion((640, 360), seconds=2))
    on_cpu, on_gpu = both(tmp_path / "face.mp4")
    options = {"smooth": "none", "detect_interval": 9 / 30}
    with Tracker(runtime="onnx", device="cpu", **options) as tracker:
        theirs = follow(on_cpu, tracker)
    with Tracker(runtime="tensorrt", **options) as tracker:
        agree(follow(on_gpu, tracker), theirs, within=0.5)
