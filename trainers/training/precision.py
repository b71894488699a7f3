"""Cost of bfloat16 on the machine that trains."""

from __future__ import annotations

import logging
import time

import torch
from torch.nn import functional

log = logging.getLogger(__name__)

_WORTH_SAYING = 1.2  # times the duration in float32


def slowdown_of_bf16() -> float:
    """Return the duration of a convolution in bfloat16 over that in float32 on the CPU, forward and backward."""
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(kind: torch.dtype) -> float:
    """Return the shortest of three measurements."""
    image = torch.rand(4, 32, 28, 28).to(memory_format=torch.channels_last)
    weight = torch.rand(32, 32, 3, 3, requires_grad=True)
    taken = []
    for _ in range(4):  # the first one prepares
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            loss = functional.conv2d(image, weight, padding=1).float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def warn_of_slow_bf16(device: torch.device) -> None:
    """Warn if bfloat16 is slower than float32 on this CPU, with the measured ratio."""
    if device.type != "cpu":
        return
    ratio = slowdown_of_bf16()
    if ratio > _WORTH_SAYING:
        log.warning(
            "bf16 is %.1f times slower than fp32 on this CPU, measured on one convolution; leave --precision bf16 out",
            ratio,
        )
