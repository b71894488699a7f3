"""Folder and interpreter of ``first_run.py``, and the commands that its parts run there.

Standard library only: nothing need be installed to start it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]


class Unfit(Exception):
    """Reason why a part has failed."""


class Lacking(Unfit):
    """Lack of something on the machine that a part needs; the part is skipped."""


@dataclass(slots=True)
class Place:
    """Folder and interpreter of a run.

    Attributes:
        out: folder of the report.
        python: interpreter that all parts use.
        end: when the current part is to be over, by ``monotonic``.
        path: folders of programs that come before the usual ones.
    """

    out: Path
    python: str
    end: float
    path: list[str] = field(default_factory=list)

    def run(self, log: str, command: Sequence[str], *, most: float, **variables: str) -> str:
        """Run a command, its output in a log of the report; returns that.

        Raises:
            Lacking: no time is left.
            Unfit: it failed, or took more than ``most`` seconds or all that were left; says its last words.
        """
        seconds = min(most, self.end - monotonic())
        if seconds <= 0:
            raise Lacking("no time was left; give more --minutes, or fewer --parts")
        file = self.out / f"{log}.log"
        with file.open("w") as stream:
            try:
                process = subprocess.Popen(
                    command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                    env=self._environment(variables), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise Unfit(f"{command[0]} cannot be started: {error}") from error
            try:
                status = process.wait(seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Unfit(f"ended after {seconds:.0f} s, see {file.name}: {last_words(file)}") from None
                raise
        if status:
            raise Unfit(f"exit status {status}, see {file.name}: {last_words(file)}")
        return file.read_text(errors="replace")

    def nasion(self, log: str, *words: str, most: float) -> str:
        """Run the command ``nasion``."""
        return self.run(log, [self.python, "-m", "nasion.tools.main", *words], most=most)

    def code(self, log: str, text: str, *, most: float) -> str:
        """Run a line of Python."""
        return self.run(log, [self.python, "-c", text], most=most)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        sources = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sources),
            "PATH": os.pathsep.join([*self.path, os.environ.get("PATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "NASION_PLUGINS": str(self.out / "native"),
            "NASION_PLANS": str(self.out / "plans"),
            **variables,
        }


def last_words(file: Path) -> str:
    """The end of a log, on one line."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip(" ^~=")]
    return " | ".join(lines[-2:])[-500:] or "it said nothing"
