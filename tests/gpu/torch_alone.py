"""Networks on a GPU with nothing but torch and NumPy: compared with the CPU, and timed.

    python tests/gpu/torch_alone.py FILE.json

The networks have random weights, which changes neither what is computed nor how long it takes. Without a GPU, and with
``--cpu``, everything runs on the CPU: that tests this program, not a GPU.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from nasion.trainers.networks.encoder_decoder import ACCURATE, EncoderDecoder
from nasion.trainers.networks.face_detector import FaceDetector

WORST = 1e-3  # largest difference from the CPU in float32, relative to the largest value
SECONDS = 0.5  # of each measurement


def networks() -> dict[str, tuple[nn.Module, tuple[int, int], tuple[int, ...]]]:
    """Networks with (height, width) of their images and the batch sizes to time."""
    torch.manual_seed(0)
    return {
        "landmarks-68": (EncoderDecoder(), (112, 112), (1, 8, 64)),
        "landmarks-68-accurate": (EncoderDecoder(ACCURATE), (160, 160), (1, 8, 64)),
        "face-detector": (FaceDetector(), (384, 384), (1, 8)),
    }


def measured(device: str, most: int = 64, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Compare each network with the CPU, and time it in float32 and float16."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    results = []
    for name, (network, size, batches) in networks().items():
        network.eval()
        images = torch.rand(max(each for each in batches if each <= most), 3, *size)
        with torch.inference_mode():
            worst = difference(flat(network(images[:2])), flat(network.to(device)(images[:2].to(device))))
        if worst > WORST:
            raise SystemExit(f"{name}: differs from the CPU by {worst:.1e} of its largest value; at most {WORST:.0e}")
        for half in (False, True):
            for count in (each for each in batches if each <= most):
                given = images[:count].to(device)
                milliseconds = timed(network, given, half=half, seconds=seconds)
                precision = "fp16" if half else "fp32"
                row = {"network": name, "precision": precision, "batch": count, "ms": milliseconds, "worst": worst}
                results.append(row)
    return results


def flat(outputs: Any) -> torch.Tensor:
    """Return all outputs of a network as one vector on the CPU."""
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return torch.cat([each.flatten().float().cpu() for each in values])


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float((expected - found).abs().max() / expected.abs().max())


def timed(network: nn.Module, images: torch.Tensor, *, half: bool, seconds: float) -> float:
    """Return the mean milliseconds of a call, with the copy of nothing: images and results stay on the device."""
    device = images.device.type
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    dtype = torch.float16 if device == "cuda" else torch.bfloat16  # CPUs have no fast float16
    with torch.inference_mode(), torch.autocast(device, dtype) if half else nullcontext():
        network(images)
        wait()
        calls, begin = 0, perf_counter()
        while perf_counter() - begin < seconds:
            network(images)
            wait()
            calls += 1
        return round(1000 * (perf_counter() - begin) / calls, 4)


def main() -> None:
    """Write the results to the file that the command line names."""
    cpu = "--cpu" in sys.argv
    if not cpu and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} finds no GPU")
    device = "cpu" if cpu else "cuda"
    name = "CPU" if cpu else torch.cuda.get_device_name()
    results = measured(device, most=1 if cpu else 64, seconds=0.02 if cpu else SECONDS)
    report = {"device": name, "torch": torch.__version__, "results": results}
    Path(sys.argv[1]).write_text(json.dumps(report, indent=1) + "\n")
    print(*(f"{each['network']} {each['precision']} x{each['batch']}: {each['ms']} ms" for each in results), sep="\n")


if __name__ == "__main__":
    main()
