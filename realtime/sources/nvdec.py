"""Decoding on an NVIDIA GPU with FFmpeg's nvdec, through PyAV.

The images stay on the GPU. Behaviour of PyAV 18 and 19, according to their sources and FFmpeg's:

- ``HWAccel(is_hw_owned=True)`` leaves frames on the GPU: ``format`` is ``cuda``, ``sw_format`` is the pixel format,
  each plane has ``__dlpack__``, and ``reformat`` copies the image to the host.
- A codec without a GPU decoder in FFmpeg is decoded on the CPU (``is_hwaccel`` is False), and so is a video that the
  GPU rejects: its frames have another format than ``cuda``.
- By default FFmpeg requests a primary context of a certain kind, and fails if CUDA is already in use. Our options make
  it use the current context, which is ours.
- Each frame is a copy in its own memory, queued in CUDA's default stream, for which FFmpeg does not wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from ...engines.errors import NasionError, SourceError
from ..values.arrays import Image
from .conversion import Converter, Orientation, colour_of, to_bgr, to_stored

if TYPE_CHECKING:
    from ..images.gpu import GpuPixels

_log = logging.getLogger(__name__)

_DEFAULT_STREAM = 0
_REMEDY = "leave it to the CPU with --decode cpu (decode='cpu')"


def decoder_for(decode: str, name: str) -> GpuDecoder | None:
    """Return a GPU decoder, or None to decode on the CPU.

    Args:
        decode: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``auto`` picks ``cuda:0`` if frames can stay there.
        name: name of the source for messages.

    Raises:
        SourceError: a GPU was given by name and cannot be used.
    """
    if decode == "cpu":
        return None
    must = decode != "auto"
    try:
        if not must:
            _check_use()
        return GpuDecoder(int(decode.partition(":")[2] or 0), name, must=must)
    except NasionError as error:
        if must:
            raise SourceError(f"{name}: cannot be decoded on the GPU: {error}; or {_REMEDY}") from error
        _log.info("%s: decoded on the CPU: %s", name, error)
        return None


def _check_use() -> None:
    """Check that a network could use images on ``cuda:0``: that this GPU and TensorRT are available.

    Raises:
        NasionError: one of them is not available; the message gives the reason.
    """
    from ...engines.gpu.driver import gpu
    from ...engines.tensorrt.library import tensorrt

    gpu(0)
    tensorrt()


class GpuDecoder:
    """GPU decoder of one source."""

    def __init__(self, number: int, name: str, *, must: bool) -> None:
        """Prepare ``cuda:number``.

        Args:
            number: number of the GPU.
            name: name of the source.
            must: if True, a video that cannot be decoded there is an error; if False, it is decoded on the CPU.

        Raises:
            NasionError: PyAV is too old, the GPU does not exist, or our kernels are not built.
        """
        from ...engines.operators.cropper import cropper

        self._cropper = cropper(number)
        if not hasattr(VideoFrame, "sw_format"):
            raise SourceError(f"PyAV {av.__version__} cannot tell how a GPU stores a frame; pip install 'av>=18'")
        self._number, self._name, self._must = number, name, must
        self._logged: set[str] = set()
        self._orientation = Orientation()

    def open(self, opener: Callable[[HWAccel | None], InputContainer]) -> InputContainer | None:
        """Open the container with this decoder; None if it has to be opened without.

        Raises:
            SourceError: the source cannot be opened, or must be decoded on the GPU and its codec cannot.
        """
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        accelerator = HWAccel("cuda", device=str(self._number), is_hw_owned=True, options=options)
        try:
            with self._cropper.device.current():
                container = opener(accelerator)
        except SourceError:
            opener(None).close()  # raises the error of the source, if the GPU is not the cause
            self._refuse("FFmpeg cannot use this GPU; see nvidia-smi for its state")
            return None
        contexts = [stream.codec_context for stream in container.streams.video if stream.codec_context is not None]
        if any(context.is_hwaccel for context in contexts):
            return container
        container.close()
        self._refuse(f"there is no GPU decoder for {' and '.join(context.name for context in contexts) or 'this'}")
        return None

    def pixels(self, frame: VideoFrame) -> GpuPixels | None:
        """Return the complete image on the GPU; None if it has to be copied to the host.

        Raises:
            SourceError: the frame must be decoded on the GPU and was not.
        """
        if frame.format.name != "cuda":
            self._refuse(
                f"its decoder does not support this video ({frame.format.name}), or is not installed: in a container "
                "NVIDIA_DRIVER_CAPABILITIES must name video"
            )
            return None
        stored = frame.sw_format.name if frame.sw_format is not None else "unknown"
        if stored != "nv12" or frame.width % 2 or frame.height % 2:
            self._log_once(
                f"decoded on the GPU, but copied to the host: images are {stored} of {frame.width}x{frame.height}, "
                "and the crop kernel needs nv12 (8 bits) of even width and height"
            )
            return None
        with self._cropper.device.current() as driver:
            driver.wait(_DEFAULT_STREAM)
        return self._pixels(frame)

    def _pixels(self, frame: VideoFrame) -> GpuPixels:
        from ...engines.gpu.dlpack import view_of
        from ...engines.operators.bindings import DeviceImage
        from ..images.gpu import GpuPixels

        luma, chroma = (view_of(plane) for plane in frame.planes)
        image = DeviceImage(
            (luma.address, chroma.address), (luma.strides[0], chroma.strides[0]), frame.width, frame.height, "nv12",
            tuple(colour_of(frame).ravel().tolist()),
        )  # fmt: skip
        matrix = self._orientation.of(frame)
        upright = None if matrix is None else to_stored(matrix, frame.width, frame.height)
        # The closure holds the frame, which keeps the planes alive.
        return GpuPixels(self._cropper, image, lambda: fetch(frame), upright=upright)

    def _refuse(self, reason: str) -> None:
        if self._must:
            raise SourceError(f"{self._name}: cannot be decoded on cuda:{self._number}: {reason}; {_REMEDY}")
        self._log_once(f"decoded on the CPU: {reason}")

    def _log_once(self, text: str) -> None:
        """Log a message once."""
        if text not in self._logged:
            self._logged.add(text)
            _log.info("%s: %s", self._name, text)


def fetch(frame: VideoFrame) -> Image:
    """Copy the image of an NV12 frame to the host, bit-identical to decoding on the CPU.

    Converts via yuv420p, the output of the CPU decoders: FFmpeg's direct conversion from nv12 to BGR rounds differently
    and takes several times as long.
    """
    return to_bgr(VideoReformatter().reformat(frame, format="yuv420p", threads=1), Converter())
