"""Compare our speed with MediaPipe Face Mesh and YuNet in one run, side after side. Writes docs/bench/peers.json.

Usage: python docs/scripts/peers.py CLIP --mediapipe-python PYTHON [--yunet FILE.onnx] [--rounds 5]

PYTHON is an interpreter with ``mediapipe==0.10.21`` and ``av``, for example of a virtual environment of Python 3.11.
Both trackers get the same 300 decoded frames, each in a process of its own on one core with one thread; the figure is
CPU time per frame, without decoding. FILE is YuNet-n as ONNX with variable input size; it and our detector run in ONNX
Runtime on the same noise of 640 x 384 pixels. The sides take turns, and the ratio is that of the fastest rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

FRAMES, WARM_UP = 300, 20
WIDTH, HEIGHT, PASSES = 640, 384, 40
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SIDES = ("nasion", "mediapipe", "detector", "yunet")


def side(name: str, file: str) -> float:
    """Return the CPU milliseconds that one side takes per frame or pass. Runs in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return per_frame(name, file) if name in ("nasion", "mediapipe") else per_pass(name, file)


def per_frame(name: str, clip: str) -> float:
    """Return the CPU milliseconds per frame of a tracker."""
    import av
    import cv2

    cv2.setNumThreads(1)
    with av.open(clip) as container:
        shown = islice(container.decode(video=0), FRAMES)
        frames = [(frame.to_ndarray(format="bgr24"), frame.time) for frame in shown]
    if name == "nasion":
        import nasion

        tracker = nasion.Tracker()

        def show(image: Any, at: float, index: int) -> None:
            tracker.update(nasion.Frame(image.copy(), at, index))  # a copy, as from a decoder: no image is seen twice

    else:
        import mediapipe

        mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1)

        def show(image: Any, at: float, index: int) -> None:
            mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    later = frames[-1][1] + 1 - frames[0][1]
    for index, (image, at) in enumerate(frames[:WARM_UP]):
        show(image, at, index)
    begun = time.process_time()
    for index, (image, at) in enumerate(frames, WARM_UP):
        show(image, at + later, index)
    return 1000 * (time.process_time() - begun) / len(frames)


def per_pass(name: str, model: str) -> float:
    """Return the CPU milliseconds of one pass of a detector network."""
    import numpy as np

    noise = np.random.default_rng(0).random((1, 3, HEIGHT, WIDTH), np.float32)
    if name == "yunet":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run() -> object:
            return session.run(None, {session.get_inputs()[0].name: noise * 255})

    else:
        from nasion.engines.select import open_runtime
        from nasion.engines.zoo import model_path

        runtime = open_runtime(model_path(model), threads=1)

        def run() -> object:
            return runtime(noise)

    for _ in range(5):
        run()
    begun = time.process_time()
    for _ in range(PASSES):
        run()
    return 1000 * (time.process_time() - begun) / PASSES


def measured(python: str, name: str, file: str) -> float:
    """Return what one side measures in a new process."""
    command = [python, __file__, "--side", name, file]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} with {python} failed:\n{done.stderr.strip()}")
    return float(done.stdout.split()[-1])


def compared(rounds: int, ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> dict[str, Any]:
    """Return the rounds of two sides in turn, the fastest of each, and their ratio."""
    pairs = [(measured(*ours), measured(*theirs)) for _ in range(rounds)]
    fastest = [min(each) for each in zip(*pairs, strict=True)]
    return {
        ours[1]: round(fastest[0], 3),
        theirs[1]: round(fastest[1], 3),
        "ratio": round(fastest[0] / fastest[1], 3),
        "rounds": [[round(value, 3) for value in pair] for pair in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("--mediapipe-python")
    parser.add_argument("--yunet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(side(given.side, given.clip))
        return
    from reports import BENCH

    from nasion.tools.machine import provenance

    clip, here = str(Path(given.clip).resolve()), sys.executable
    report: dict[str, Any] = provenance(f"python docs/scripts/peers.py {Path(clip).name} --rounds {given.rounds}")
    if given.mediapipe_python:
        theirs = (given.mediapipe_python, "mediapipe", clip)
        report["tracker"] = compared(given.rounds, (here, "nasion", clip), theirs)
    if given.yunet:
        yunet = (here, "yunet", str(Path(given.yunet).resolve()))
        for model in ("face-detector", "face-detector-int8"):
            report[model] = compared(given.rounds, (here, "detector", model), yunet)
    (BENCH / "peers.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: value for name, value in report.items() if isinstance(value, dict)}, indent=1))


if __name__ == "__main__":
    main()
