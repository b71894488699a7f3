"""``nasion quantize``: write the int8 version of a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...engines.errors import ModelError, NasionError
from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...realtime.values.arrays import Image


def quantize(
    model: str,
    images: list[str],
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    count: int = 64,
    card: bool = False,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Write the int8 version of a detector or landmark network, which takes half the time on a CPU with VNNI.

    The convolutions compute in 8-bit integers. Their ranges are measured on training images; measure what this costs
    in accuracy with nasion evaluate. On a CPU without VNNI, the float32 network is more accurate and not slower.

    Args:
        model: .onnx file, or the name of a shipped network.
        images: training images: folders of images, or videos. For a landmark network they must show faces, which the
            shipped detector finds.
        out: .onnx file to write.
        count: number of images to take from each folder or video, spread evenly.
        card: also write a model card beside --out from that of the network, for maintainers who ship it.
        json: also write the sizes, with machine and versions, to this file; - for standard output (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
    """
    from ...engines.select import open_runtime
    from ...engines.zoo import model_path

    if count < 1:
        raise NasionError(f"--count is {count}; give at least 1")
    path = model_path(model)
    if path.suffix != ".onnx":
        raise ModelError(f"model {model!r} is a {path.suffix} file; give an .onnx file")
    check_output_paths({"--out": out}, force=force, suffixes=(".onnx",), inputs=[path])
    finder = model_path("face-detector")
    with json_results(json, force=force, inputs=[path], others={"--out": out}, silent=quiet) as to_json:
        from ...trainers.export.files import write_int8_card
        from ...trainers.export.int8 import calibration_inputs
        from ...trainers.export.int8 import quantize as quantized

        with open_runtime(path, device="cpu") as runtime, open_runtime(finder, device="cpu") as detector:
            chosen = (image for each in images for image in _spread(each, count))
            inputs = calibration_inputs(runtime, detector, chosen)
            content = quantized(path, runtime.spec, inputs)
        write_file(out, content)
        before = path.stat().st_size
        print(f"{out}: {len(content):,} bytes, {path.name}: {before:,}; ranges from {len(inputs)} images")
        if card:
            print(f"card: {write_int8_card(path, out)}")
        report = provenance(f"nasion quantize {short(model)} IMAGES --out {short(str(out))}")
        to_json.write(report | {"images": len(inputs), "bytes": len(content), "bytes_float32": before})


def _spread(source: str, count: int) -> Iterator[Image]:
    """Yield at most ``count`` images of a folder or video, evenly spread if its length is known."""
    from ...realtime.sources import open_source

    with open_source(source) as frames:
        step = max((frames.info.frames or 0) // count, 1)
        for frame in islice(frames, 0, count * step, step):
            yield frame.image
