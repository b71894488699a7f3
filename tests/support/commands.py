"""The command line in a process of its own, and a tracker that finds one face in every frame."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nasion.realtime.faces.face import Face
from nasion.realtime.tracking import tracker
from nasion.realtime.tracking.options import TrackerOptions
from nasion.tools.main import _COMMANDS, application

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "200"}


def run(*arguments, script="from nasion.tools.main import main; main()", **options):
    """The command in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 120, "env": ENVIRONMENT, **options}
    return subprocess.run(command, check=False, **options)


def functions():
    """Every command by name with its function."""
    app = application()
    for name in _COMMANDS:
        found = app[name]
        if found.default_command is not None:
            yield name, found.default_command
        for part in found:
            if not part.startswith("-"):
                yield f"{name} {part}", found[part].default_command


class FakeTracker:
    """A face in the middle of every frame, without networks."""

    runtimes = {}  # noqa: RUF012
    timings = None
    networks = SimpleNamespace(aligner=SimpleNamespace(scheme="ibug-68", landmarks=68, visibility=False))
    options = TrackerOptions()

    def update(self, frame):
        import numpy as np

        points = np.full((68, 2), 20, np.float32) + np.arange(68, dtype=np.float32)[:, None] / 2
        box = np.array([20, 20, 54, 54], np.float32)
        return [Face(1, box, 0.9, points, np.ones(68, np.float32))]

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def fake_tracker(monkeypatch):
    monkeypatch.setattr(tracker, "Tracker", lambda options: FakeTracker())
