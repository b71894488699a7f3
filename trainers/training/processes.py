"""Data-parallel training under torchrun; with one process every function is trivial."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

PATIENCE = 30.0
"""Minutes that a process waits for the others. They wait while the first one validates, which may take minutes."""
_LAST_WAIT = 60.0  # seconds from the end of torchrun until its processes end without a checkpoint


@contextmanager
def joined(device: torch.device, *, patience: float = PATIENCE) -> Iterator[torch.device]:
    """Join the process group that torchrun started; yields the device of this process.

    If torchrun is killed, the process gets SIGTERM, as from torchrun itself.

    Args:
        device: device to train on; with several GPUs each process takes its own.
        patience: minutes after which a process gives up waiting for another one that hangs.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=patience))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process once its parent is gone: by SIGTERM, and without it if it hangs."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_WAIT)
    os._exit(128 + signal.SIGTERM)


def size() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the index of this process, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def shared(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap ``module`` so that its gradients are averaged over all processes."""
    if size() == 1:
        return module
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def agreed(seconds: float, stop: bool, device: torch.device) -> tuple[float, bool]:
    """Return the largest ``seconds`` of all processes, and True if any of them is to stop, so that all act alike."""
    if size() == 1:
        return seconds, stop
    values = torch.tensor([seconds, float(stop)], dtype=torch.float64, device=device)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return float(values[0]), bool(values[1])


def broadcast(value: T) -> T:
    """Broadcast ``value`` of the first process to all processes and return it."""
    if size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def seed(run: int, step: int) -> None:
    """Seed torch's random generator (dropout, random masks) from the run's seed, the step and the process only.

    A resumed run then draws the same numbers as an uninterrupted one, whatever validation drew in between.
    """
    mixed = np.random.SeedSequence([run, step, rank()]).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))
