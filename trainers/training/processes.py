"""One process or many: what torchrun started, joined; alone, every function does the obvious."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

# The others wait while the first one validates, which on a large set takes longer than the usual ten minutes.
_PATIENCE = timedelta(hours=2)


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started beside this one; yields the device of this one."""
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def shared(module: nn.Module, device: torch.device) -> nn.Module:
    """``module`` such that its gradients are the mean over all processes."""
    if size() == 1:
        return module
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def agreed(seconds: float, stop: bool, device: torch.device) -> tuple[float, bool]:
    """The largest ``seconds`` of all processes, and whether any of them is to stop: so that all do the same."""
    if size() == 1:
        return seconds, stop
    values = torch.tensor([seconds, float(stop)], dtype=torch.float64, device=device)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return float(values[0]), bool(values[1])


def told(value: T) -> T:
    """The first process's ``value``, on all of them."""
    if size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def seed(run: int, step: int) -> None:
    """Make torch's chance (dropout, random masks) in a step depend on run, step and process only.

    So a run that was stopped draws what an unbroken one would, whatever validation drew in between.
    """
    mixed = np.random.SeedSequence([run, step, rank()]).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))
