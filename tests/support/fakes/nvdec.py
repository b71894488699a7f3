"""NVIDIA's video decoder without a GPU: frames that are like those of PyAV with ``HWAccel('cuda', is_hw_owned=True)``.

They are decoded on the CPU and laid out as the real ones are, NV12; the memory is that of the host, which is the
"GPU" of the fake driver as well (cuda.py). Their planes say by DLPack that they lie on a GPU. PyAV's own types cannot
be made to say so without one; that what is used of them exists is checked in test_nvdec.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from nasion.engines.gpu import dlpack, driver
from nasion.engines.operators import cropper
from nasion.engines.operators.bindings import Kernels
from nasion.engines.runtime import Runtime
from nasion.engines.spec import Outputs
from nasion.realtime.sources import conversion, media, nvdec
from nasion.realtime.values.arrays import Image

CUDA = 2  # DLPack's number for it
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class FakePlane:
    """A plane of a frame on the GPU."""

    def __init__(self, plane: Any, gpu: int) -> None:
        self._plane, self._gpu = plane, gpu

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        assert stream is None, "PyAV refuses any other"
        capsule = self._plane.__dlpack__()
        tensor = dlpack.pointed(capsule)
        tensor.device_type, tensor.device_id = CUDA, self._gpu
        return capsule


class FakeCudaFrame:
    """A frame on the GPU."""

    def __init__(self, frame: VideoFrame, gpu: int, stored: str) -> None:
        self.on_host = frame.reformat(format=stored)
        self.format, self.sw_format = SimpleNamespace(name="cuda"), SimpleNamespace(name=stored)
        self.width, self.height, self.pts, self.dts = frame.width, frame.height, frame.pts, frame.dts
        self.colorspace, self.color_range, self.side_data = frame.colorspace, frame.color_range, frame.side_data
        self.rotation = frame.rotation
        self.color_primaries, self.color_trc = frame.color_primaries, frame.color_trc
        self.interlaced_frame = frame.interlaced_frame
        self._gpu = gpu

    @property
    def planes(self) -> tuple[FakePlane, ...]:
        return tuple(FakePlane(plane, self._gpu) for plane in self.on_host.planes)


class _Proxy:
    """Passes everything on that a subclass does not have."""

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)


class _Context(_Proxy):
    is_hwaccel = True


class _Stream(_Proxy):
    def __init__(self, real: Any, fake: FakeNvdec, gpu: int) -> None:
        super().__init__(real)
        object.__setattr__(self, "codec_context", _Context(real.codec_context) if fake.knows else real.codec_context)
        object.__setattr__(self, "_convert", lambda frame: fake.frame(frame, gpu))

    def decode(self, packet: Any) -> list[Any]:
        return [self._convert(frame) for frame in self.real.decode(packet)]


class _Container(_Proxy):
    def __init__(self, real: Any, fake: FakeNvdec, gpu: int) -> None:
        super().__init__(real)
        videos = [_Stream(stream, fake, gpu) for stream in real.streams.video]
        streams = _Streams(real.streams)
        object.__setattr__(streams, "video", videos)
        object.__setattr__(streams, "best", lambda kind, related: real.streams.best(kind, related=related.real))
        object.__setattr__(self, "streams", streams)

    def seek(self, offset: int, *, stream: _Stream) -> None:
        self.real.seek(offset, stream=stream.real)


class _Streams(_Proxy):
    def __getitem__(self, index: int) -> Any:
        return self.real[index]


class FakeNvdec:
    """A machine that decodes on its GPU.

    Attributes:
        works: FFmpeg can use the GPU at all.
        knows: there is a decoder for the codec.
        takes: the decoder takes these videos; else FFmpeg goes on with its own.
        stored: how the decoder stores pixels.
        opened: options of each accelerator that was used.
        fetched: frames that came to the host.
    """

    def __init__(self) -> None:
        self.works = self.knows = self.takes = True
        self.stored = "nv12"
        self.opened: list[dict[str, str]] = []
        self.fetched: list[FakeCudaFrame] = []

    def frame(self, frame: VideoFrame, gpu: int) -> Any:
        return FakeCudaFrame(frame, gpu, self.stored) if self.knows and self.takes else frame

    def open(self, location: str, *arguments: Any, hwaccel: Any = None, **options: Any) -> Any:
        """``av.open``."""
        if hwaccel is None:
            return _open(location, *arguments, **options)
        assert hwaccel.is_hw_owned
        assert _current_context(), "FFmpeg is to take the current context"
        self.opened.append(hwaccel.options)
        if not self.works:
            raise av.PermissionError(1, "Operation not permitted", location)
        return _Container(_open(location, **options), self, hwaccel.device_id)

    def to_bgr(self, frame: Any, convert: conversion.Converter, *, exact: bool = True) -> Image:
        """Convert an image that must be on the host at once."""
        if not isinstance(frame, FakeCudaFrame):
            return conversion.to_bgr(frame, convert, exact=exact)
        self.fetched.append(frame)
        return conversion.to_bgr(frame.on_host, convert, exact=exact)

    def fetch(self, frame: FakeCudaFrame) -> Image:
        self.fetched.append(frame)
        return _fetch(frame.on_host)


_open, _fetch = av.open, nvdec.fetch


def _current_context() -> bool:
    handle = ctypes.c_void_p()
    ctypes.CDLL(driver.LIBRARY).cuCtxGetCurrent(ctypes.byref(handle))
    return bool(handle.value)


class StreamKernels(Kernels):
    """Kernels that work on host memory, put into the streams of the fake driver: done when somebody waits."""

    def __init__(self, inner: Kernels) -> None:
        self._inner = inner
        self._waiting: list[Any] = []  # functions must live until they have run
        self.launches = 0
        self.errors: list[Exception] = []

    def crop(self, *arguments: Any, stream: int = 0, **options: Any) -> None:
        assert _current_context(), "a kernel is launched in a context"

        def run(_: object) -> None:
            try:
                self._inner.crop(*arguments, **options)
            except Exception as error:  # noqa: BLE001 - ctypes would only print it
                self.errors.append(error)

        function = _HOST_FUNCTION(run)
        self._waiting.append(function)
        self.launches += 1
        launch = ctypes.CDLL(driver.LIBRARY).cuLaunchHostFunc
        launch.argtypes = (ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p)
        assert launch(stream, function, None) == 0


class OnFakeGpu:
    """A network of the host as one on the GPU (``engines.runtime.GpuRuntime``): it never sees an array of the host."""

    def __init__(self, inner: Runtime, device: Any, *, most: int = 32, dtype: str = "float32", name: str = "") -> None:
        self._inner, self._gpu, self._dtype = inner, device, np.dtype(dtype)
        self.spec, self.provider, self.threads, self.reason = inner.spec, "fake", 1, "a fake"
        self.device, self.most_on_gpu = name or f"cuda:{device.gpu.number}", most
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray) -> Outputs:
        raise AssertionError("images came by way of the host")

    def run(self, shape: tuple[int, ...], fill: Callable[[Any, Any], None]) -> Outputs:
        assert 0 < shape[0] <= self.most_on_gpu
        self.shapes.append(shape)
        room = (shape[0] + 1, *shape[1:])  # as in a batch that is filled up
        with (
            self._gpu.current(),
            self._gpu.memory(room, self._dtype) as there,
            self._gpu.pinned(room, self._dtype) as here,
            self._gpu.stream() as stream,
        ):
            fill(there, stream)
            stream.download(there, here.array)
            stream.wait()
            return self._inner(here.array[: shape[0]].astype(np.float32))

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> OnFakeGpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def installed(patch: pytest.MonkeyPatch, kernels: Kernels) -> Iterator[tuple[FakeNvdec, StreamKernels]]:
    """A machine with such a decoder, over the fake driver, and these kernels."""
    if not hasattr(VideoFrame, "sw_format"):
        pytest.skip(f"PyAV {av.__version__} cannot decode on a GPU as we need it; 18 can")
    fake, streamed = FakeNvdec(), StreamKernels(kernels)
    patch.setattr(av, "open", fake.open)
    patch.setattr(media, "to_bgr", fake.to_bgr)
    patch.setattr(nvdec, "fetch", fake.fetch)
    patch.setattr(cropper, "Kernels", lambda: streamed)
    croppers: dict[int, cropper.Cropper] = {}

    def keep(number: int) -> cropper.Cropper:
        if number not in croppers:
            croppers[number] = cropper.Cropper(number)
        return croppers[number]

    patch.setattr(cropper, "cropper", keep)
    try:
        yield fake, streamed
    finally:
        for each in croppers.values():
            each.close()
    assert not streamed.errors


def clip(path: Path, images: list[Image], **tags: int) -> Path:
    """Write an H.264 video of 25 frames a second; ``tags`` are colorspace and color_range of the stream."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for image in images:
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path
