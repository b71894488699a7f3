"""Decoding on a GPU: where it is asked for, what is refused and why, colours, turned videos, images of other kinds.

There is no GPU: see fakes/nvdec.py. tests/gpu has the same with a real one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.plane import VideoPlane

from nasion.engines.errors import NasionError, RuntimeUnavailable, SourceError
from nasion.engines.gpu import nvrtc
from nasion.engines.gpu.device import Device
from nasion.engines.operators import library as plugins
from nasion.engines.operators.bindings import Kernels
from nasion.engines.tensorrt import library as tensorrt_library
from nasion.realtime.faces.frame import DeviceFrame, Frame
from nasion.realtime.images.pixels import HostPixels, pixels_of
from nasion.realtime.pipeline import track
from nasion.realtime.sources import nvdec, open_source
from nasion.realtime.tracking import tracker
from nasion.realtime.tracking.feeding import run_crops, run_letterbox
from nasion.realtime.tracking.options import TrackerOptions
from nasion.tools.main import main as nasion
from nasion.tools.measurement import load, measure

from ...support.fakes import nvdec as fake_nvdec
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.networks import RED, Disc, DiscAligner, DiscDetector, backdrop, draw
from ...support.fakes.nvdec import FakeNvdec
from ...support.media.media_samples import number_of, write_sound, write_video
from ...support.operators.native import build
from ..images.test_gpu import REGIONS, OnFakeGpu, Seeing, alike, both, device, discs

__all__ = ["device"]  # a fixture

pytestmark = pytest.mark.timeout(1500)  # the references may have to be compiled first


@pytest.fixture
def fake(fake_gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvdec]:
    """A machine that decodes on its GPU, and has kernels."""
    kernels = Kernels(build(cuda=False).libraries["reference"], reference=True)
    with fake_nvdec.installed(monkeypatch, kernels) as (machine, _):
        yield machine


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", frames=8)


def frames_of(path: Path, decode: str, **options: object) -> list[Frame]:
    with open_source(path, decode=decode, **options) as source:  # type: ignore[arg-type]
        return list(source)


# --- what PyAV has


@pytest.mark.usefixtures("fake")
def test_a_pyav_too_old_for_the_gpu_says_which_is_needed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "VideoFrame", object)
    with pytest.raises(SourceError, match=r"PyAV [\d.]+ cannot tell .* pip install 'av>=18'"):
        frames_of(clip, "cuda")
    assert len(frames_of(clip, "auto")) == 8


@pytest.mark.skipif(
    not hasattr(av.VideoFrame, "sw_format"), reason=f"PyAV {av.__version__} is too old for GPU decoding"
)
def test_pyav_offers_what_is_used_of_it() -> None:
    assert "cuda" in hwdevices_available()
    accelerator = HWAccel("cuda", device="1", is_hw_owned=True, options={"primary_ctx": "0", "current_ctx": "1"})
    assert accelerator.is_hw_owned
    assert accelerator.device_id == 1
    assert accelerator.options == {"primary_ctx": "0", "current_ctx": "1"}, "PyAV adds none of its own"
    assert HWAccel("cuda", is_hw_owned=True).options == {"primary_ctx": "1"}, "else it would"
    assert av.VideoFrame(64, 48, "nv12").sw_format is None
    assert hasattr(VideoPlane, "__dlpack__")
    assert hasattr(av.CodecContext, "is_hwaccel")
    for codec in ("h264", "hevc", "vp9", "av1"):
        assert any(config.format.name == "cuda" for config in av.Codec(codec).hardware_configs)


def test_without_a_driver_pyav_itself_fails_even_if_it_may_fall_back(clip: Path) -> None:
    try:
        av.open(str(clip), hwaccel=HWAccel("cuda", is_hw_owned=True)).close()
    except av.PermissionError:
        return
    pytest.skip("there is a driver of NVIDIA here")


# --- where


def test_decoding_on_the_gpu_by_name(fake: FakeNvdec, fake_gpu: FakeCuda, clip: Path) -> None:
    fake_gpu.reset(gpus=2)
    for decode, place in (("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")):
        frames = frames_of(clip, decode)
        assert [frame.device for frame in frames] == [place] * 8
        assert [number_of(frame.image) for frame in frames] == list(range(8))
    assert fake.opened == [{"primary_ctx": "0", "current_ctx": "1"}] * 3


def test_a_part_of_a_video_is_entered_on_the_gpu(fake: FakeNvdec, tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", frames=60, codec_options={"g": "10"})
    on_gpu, on_cpu = (frames_of(path, where, start=1.3, end=1.8) for where in ("cuda", "cpu"))
    assert [(f.time, f.index) for f in on_gpu] == [(f.time, f.index) for f in on_cpu]
    assert all(isinstance(frame, DeviceFrame) for frame in on_gpu)
    np.testing.assert_array_equal(on_gpu[0].image, on_cpu[0].image)


@pytest.mark.parametrize("decode", ["gpu", "cuda:", "cuda:x", "", "CUDA"])
def test_a_place_that_is_none_is_refused(clip: Path, decode: str) -> None:
    with pytest.raises(SourceError, match=r"decode is '.*'; allowed: auto, cpu, cuda, or cuda:N"):
        open_source(clip, decode=decode)


@pytest.mark.parametrize("source", [0, "pattern:", "folder", "image.png"])
def test_what_is_not_decoded_cannot_be_decoded_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("image.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="only video files and streams are decoded; leave it out"):
        open_source(source, decode="cuda")


def test_auto_leaves_a_machine_without_a_gpu_as_it_is(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert {frame.device for frame in frames_of(clip, "auto")} == {"cpu"}
    assert "clip.mp4: decoded on the CPU: " in caplog.text


def test_auto_takes_the_gpu_where_tensorrt_can_use_the_images(
    fake: FakeNvdec, clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tensorrt_library, "tensorrt", _no_tensorrt)
    assert {frame.device for frame in frames_of(clip, "auto")} == {"cpu"}
    assert "decoded on the CPU: no TensorRT" in caplog.text
    monkeypatch.setattr(tensorrt_library, "tensorrt", lambda: "TensorRT")
    assert {frame.device for frame in frames_of(clip, "auto")} == {"cuda:0"}


def _no_tensorrt() -> None:
    raise RuntimeUnavailable("no TensorRT")


@pytest.mark.parametrize(
    ("options", "asked", "where"),
    [
        ({}, "auto", "auto"),
        ({"runtime": "tensorrt"}, "auto", "auto"),
        ({"device": "cuda:0"}, "auto", "auto"),
        ({"device": "cuda:1"}, "auto", "cpu"),
        ({"device": "cpu"}, "auto", "cpu"),
        ({"runtime": "onnx"}, "auto", "cpu"),
        ({"runtime": "onnx"}, "cuda", "cuda"),
        ({}, "cpu", "cpu"),
    ],
)
def test_auto_is_the_cpu_where_networks_do_not_take_images_on_the_gpu(
    options: dict[str, str], asked: str, where: str
) -> None:
    assert TrackerOptions(**options).where_to_decode(asked) == where  # type: ignore[arg-type]


# --- what cannot be


@pytest.mark.parametrize("way", ["open_source", "track", "command", "bench"])
def test_without_a_gpu_the_one_asked_for_is_an_error_and_never_the_cpu(clip: Path, way: str) -> None:
    _needs_no_gpu()
    text = r"clip\.mp4: cannot be decoded on the GPU: .*; or leave it to the CPU with --decode cpu"
    if way == "open_source":
        with pytest.raises(SourceError, match=text):
            open_source(clip, decode="cuda")
    elif way == "track":
        with pytest.raises(SourceError, match=text):
            track(clip, decode="cuda:0")
    else:
        command = "track" if way == "command" else "bench"
        with pytest.raises(SystemExit, match=text):
            nasion([command, str(clip), "--decode", "cuda"])


def _needs_no_gpu() -> None:
    from nasion.engines.gpu.driver import gpus

    try:
        gpus()
    except NasionError:
        return
    pytest.skip("there is a GPU here")


def test_a_gpu_that_is_not_there_is_named(fake: FakeNvdec, clip: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no GPU cuda:3; allowed: cuda:0 \(Fake GPU\); or leave it"):
        open_source(clip, decode="cuda:3")


def test_without_kernels_it_says_how_to_build_them(
    fake_gpu: FakeCuda, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(tmp_path / "nothing"))
    monkeypatch.setattr(nvrtc, "nvrtc", nvrtc.nvrtc.__wrapped__)
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(()))
    wanted = (
        r"NVRTC, .* is not installed: pip install .* kernels library is not built .* nasion plugins build\); or leave"
    )
    with pytest.raises(SourceError, match=wanted):
        open_source(clip, decode="cuda")


FAULTS = {
    "works": "FFmpeg cannot use this GPU",
    "knows": "there is no GPU decoder for h264",
    "takes": r"its decoder does not support this video \(yuv420p\), or is not installed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_video_that_the_gpu_does_not_decode_is_an_error_by_name_and_left_to_the_cpu_by_auto(
    fake: FakeNvdec, clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.INFO)
    setattr(fake, fault, False)
    with pytest.raises(SourceError, match=rf"cannot be decoded on cuda:0: {FAULTS[fault]}.*; leave it to the CPU"):
        open_source(clip, decode="cuda")
    monkeypatch.setattr(nvdec, "_check_use", lambda: None)
    frames = frames_of(clip, "auto")
    assert [number_of(frame.image) for frame in frames] == list(range(8))
    assert {frame.device for frame in frames} == {"cpu"}
    (told,) = [each.message for each in caplog.records if "decoded on the CPU" in each.message]
    assert told.startswith(str(clip))


def test_what_is_not_a_video_gives_the_usual_message(fake: FakeNvdec, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it has sound but no video"):
        open_source(write_sound(tmp_path / "sound.mp4"), decode="cpu")
    (tmp_path / "text.mp4").write_text("no video")
    fake.works = False
    with pytest.raises(SourceError, match="cannot be read as a video"):
        open_source(tmp_path / "text.mp4", decode="cuda")


@pytest.mark.parametrize("stored", ["p010le", "yuv444p"])
def test_images_that_the_kernel_does_not_take_are_fetched_and_the_reason_is_reported_once(
    fake: FakeNvdec, clip: Path, caplog: pytest.LogCaptureFixture, stored: str
) -> None:
    caplog.set_level(logging.INFO)
    fake.stored = stored
    frames = frames_of(clip, "cuda")
    assert [number_of(frame.image) for frame in frames] == list(range(8))
    assert [type(frame) for frame in frames] == [Frame] * 8
    assert len(fake.fetched) == 8
    (told,) = [each.message for each in caplog.records if "copied to the host" in each.message]
    assert f"images are {stored} of 64x48, and the crop kernel needs nv12 (8 bits) of even width" in told


def test_an_image_of_odd_height_is_fetched(fake: FakeNvdec, tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mkv", frames=2, size=(64, 47), codec="libvpx-vp9", codec_options={"crf": "10"})
    frames = frames_of(path, "cuda")
    assert [frame.device for frame in frames] == ["cpu"] * 2
    assert frames[0].image.shape == (47, 64, 3)


# --- which pixels


@pytest.mark.parametrize("full", [False, True], ids=["16..235", "0..255"])
@pytest.mark.parametrize("standard", ["bt601", "bt709", "bt2020", "unknown"])
def test_colours_are_those_that_ffmpeg_makes(
    fake: FakeNvdec, device: Device, tmp_path: Path, standard: str, full: bool
) -> None:
    numbers = {"bt601": 6, "bt709": 1, "bt2020": 9, "unknown": 2}
    image = draw(*(Disc(RED, x, y, 70) for x, y in ((70, 60), (240, 180))), on=backdrop(3) // 2)
    image[100:140] = (200, 90, 20)
    tags = {"colorspace": numbers[standard], "color_range": 2 if full else 1}
    on_cpu, on_gpu = both(fake_nvdec.clip(tmp_path / "a.mp4", [image], **tags))
    theirs = run_letterbox(Seeing(), [HostPixels(on_cpu[0].image)], 320, 240)[0]["seen"]
    ours = run_letterbox(OnFakeGpu(Seeing(), device), [on_gpu[0].pixels], 320, 240)[0]["seen"]
    assert np.abs(ours - theirs)[:, :, :240].max() * 255 < 4  # FFmpeg rounds on the way


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_videos_are_upright_on_the_gpu(
    fake: FakeNvdec, device: Device, tmp_path: Path, degrees: int, mirrored: tuple[bool, bool]
) -> None:
    path = write_video(tmp_path / "turned.mp4", frames=2, size=(160, 96), matrix=(degrees, *mirrored))
    on_cpu, on_gpu = both(path)
    pixels, host = pixels_of(on_gpu[1].pixels), HostPixels(on_cpu[1].image)
    assert pixels.shape == host.shape == ((96, 160, 3) if degrees % 180 == 0 else (160, 96, 3))
    network = OnFakeGpu(Seeing(), device)
    height, width, _ = host.shape
    for ours, theirs in (
        (
            run_letterbox(network, [pixels], width // 2, height // 2)[0],
            run_letterbox(Seeing(), [host], width // 2, height // 2)[0],
        ),
        (run_crops(network, [(pixels, REGIONS[1:2])])[0], run_crops(Seeing(), [(host, REGIONS[1:2])])[0]),
    ):
        alike(ours["seen"] * 255, theirs["seen"] * 255)
    alike(pixels.thumbnail(64, 36), host.thumbnail(64, 36))
    assert fake.fetched == []
    np.testing.assert_array_equal(on_gpu[1].image, on_cpu[1].image)


# --- bench


def test_a_clip_for_the_benchmark_waits_on_the_gpu(fake: FakeNvdec, clip: Path) -> None:
    loaded = load(clip, decode="cuda")
    assert str(loaded) == "8 frames of 64x48 decoded into 0 MB on cuda:0"
    assert (loaded.device, loaded.bytes) == ("cuda:0", 8 * 64 * 48 * 3 // 2)
    assert fake.fetched == []


def test_the_benchmark_measures_on_the_gpu(
    fake: FakeNvdec, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake_nvdec.clip(tmp_path / "discs.mp4", discs(6))
    networks = {"face-detector": DiscDetector(), "landmarks-68": DiscAligner()}
    monkeypatch.setattr(tracker, "_open", lambda model, shipped, options: OnFakeGpu(networks[shipped], device))
    result = measure(load(path, decode="cuda"), TrackerOptions(), repeat=1)
    assert result.found == 1
    assert result.networks["landmarks"]["calls_per_frame"] >= 1
    assert result.networks["landmarks"]["device"] == "cuda:0"
    assert fake.fetched == []
