"""The command ``nasion``: runs the subcommand and turns errors that the user can fix into one clear message."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from signal import SIGINT

from .. import __version__
from ..engines.errors import NasionError, printable
from ..engines.signals import Held, Stopped, ignore
from .terminal.streams import Streams, tell

TYPE_CHECKING = False  # as type checkers know it; until main() is called, signals are not caught
if TYPE_CHECKING:
    from cyclopts import App

_COMMANDS = {
    "track": "Track the faces of a video, camera or stream.",
    "live": "Track the faces of many cameras and streams at once, and keep them running.",
    "annotate": "Annotate every frame of files, resumable, in the formats of the field.",
    "convert": "Write annotations, or corrected ones, in other formats.",
    "blinks": "List the blinks of the faces in a landmark file.",
    "demo": "Make a short clip, track it and print the results.",
    "bench": "Measure the speed of the tracker on a clip, with one thread and with all, or with --threads.",
    "doctor": "Report what is installed, what works here and how to fix the rest.",
    "models": "List the networks that can be given by name, with error, cost and licence.",
    "data": "Check data sets in their published layouts (needs the extra train).",
    "train": "Train a network (needs the extra train).",
    "head": "Fit the generic head of the head pose to labelled faces (needs the extra train).",
    "evaluate": "Measure the tracker, or your networks in it, on test sets (needs the extra train).",
    "evaluate-papers": "Compare networks with the figures of their papers (needs the extra train).",
    "check-recipes": "Train each recipe of a paper briefly, next to the mean shape (needs the extra train).",
    "networks": "Count parameters and MACs of networks, next to the papers' figures (needs the extra train).",
    "calibrate": "Make the score of a landmark network a probability (needs the extra train).",
    "export": "Write a trained network to a file that the tracker runs (needs the extra train).",
    "quantize": "Write the int8 version of a network (needs the extra train).",
    "compile": "Build the TensorRT plan of a model for the local GPU (needs the extra tensorrt).",
    "rtx": "Build networks with TensorRT-RTX, without a GPU.",
    "plugins": "Compile, locate and time the CUDA kernels and TensorRT plugins.",
}


_OF_PAPERS = (
    "--paper",
    "--decoding",
    "--masks",
    "--plot",
    "--device",
)  # options of evaluate-papers, which evaluate refuses
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):\d+")  # HOST:PORT; a number alone is a camera
_TAKE_DASH = ("--json", "--landmarks", "--out")  # options for which - is a value
_ENOUGH = 1 << 30  # bytes of address space in which every library can be loaded


def application() -> App:
    """The command line with its subcommands, each named by path and so imported only when it is called."""
    from cyclopts import App, Parameter

    app = App(
        name="nasion",
        help="Real-time facial-landmark tracking for video.",
        version=f"nasion {__version__}",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
    )
    for name, text in _COMMANDS.items():
        function = name.replace("-", "_")
        app.command(f"nasion.tools.commands.{function}:{function}", name=name, help=text)
    app.register_install_completion_command(add_to_startup=True)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with 0, with 1 after a reported error, or with 128 + n after signal n."""
    signals = Held()
    try:
        with signals, signals.let(), Streams():
            from .terminal.plain_logging import make_plain

            make_plain()
            words = sys.argv[1:] if arguments is None else arguments
            _check_options(words)
            _check_dependencies(words)
            _check_memory(words)
            if words[:1] == ["train"] and any(word.partition("=")[0] == "--config" for word in words):
                from .commands.train import train
                from .commands.training.config_file import words_of_config

                words = words_of_config(words, train)
            application()(_with_default_address(_plain(words)))  # slow imports are here, where signals are caught
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or signals.is_waiting:  # even if it was wrapped in another exception
            ignore()  # the process ends, which another signal would disturb
            stopped = error if isinstance(error, Stopped) else signals.take() or Stopped(SIGINT)
            tell(f"nasion: stopped by {stopped}")
            sys.exit(stopped.status)
        if isinstance(error, NasionError):
            sys.exit(f"nasion: {printable(error, lines=True)}")
        text = explanation(error) if isinstance(error, Exception) else None
        if text is None:
            raise
        sys.exit(f"nasion: {printable(text)}")


def _plain(words: Sequence[str]) -> list[str]:
    """Return the words with the source ``-``, which cyclopts would take for an option, replaced by ``/dev/stdin``."""
    before = ("", *words[:-1])
    pairs = zip(before, words, strict=True)
    return ["/dev/stdin" if word == "-" and option not in _TAKE_DASH else word for option, word in pairs]


def _with_default_address(words: Sequence[str]) -> list[str]:
    """Return the words with a value after ``--serve`` of ``nasion live``, which may be given without one."""
    if not words or words[0] != "live":
        return list(words)
    given: list[str] = []
    for word, following in zip(words, (*words[1:], ""), strict=True):
        is_bare = word == "--serve" and not _ADDRESS.fullmatch(following)
        given.append("--serve=" if is_bare else word)
    return given


def _check_options(words: Sequence[str]) -> None:
    """Refuse options of another command, and ``--json`` without a value.

    Raises:
        NasionError: with the new command, or the values that are allowed.
    """
    moved = [word for word in words if word.partition("=")[0] in _OF_PAPERS]
    if words and words[0] == "evaluate" and moved:
        raise NasionError(f"nasion evaluate has no option {moved[0]}; it is one of nasion evaluate-papers")
    if words and words[0] in _COMMANDS and any(word.partition("=")[0] == "--detect-every" for word in words):
        from ..realtime.values.names import renamed

        raise NasionError(renamed("--detect-every", "--detect-interval"))
    if words and words[-1] == "--json":
        raise NasionError("--json needs a value: give the name of a file, or - for standard output")


def _check_dependencies(words: Sequence[str]) -> None:
    """Refuse to run a command with a dependency that is too old or too new; ``doctor`` reports it in its table.

    Raises:
        NasionError: with the version that is installed and those that are supported.
    """
    from .dependencies import unsupported

    if words and words[0] in _COMMANDS:
        problem = unsupported("cyclopts") if words[0] == "doctor" else unsupported()
        if problem:
            raise NasionError(problem)


def _check_memory(words: Sequence[str]) -> None:
    """Refuse to run a command if OpenCV would crash, as it does when it is loaded under a low memory limit.

    Raises:
        NasionError: with the limit.
    """
    if not words or words[0] not in _COMMANDS or sys.platform == "win32":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH:
        return
    import subprocess

    trial = [sys.executable, "-c", "import numpy, cv2"]  # what it needs depends on how it was built
    if subprocess.run(trial, capture_output=True, check=False).returncode < 0:
        raise NasionError(
            f"there is not enough memory: OpenCV cannot be loaded in the {limit >> 20} MB that are allowed; raise the "
            f"limit on it (ulimit -v) to {_ENOUGH >> 20} MB or more"
        )


def explanation(error: Exception) -> str | None:
    """Return the remedy for an error of the system or of a library; None if the defect is ours."""
    from .error_messages import explained, import_remedy

    return explained(error) or (import_remedy(error) if isinstance(error, ImportError) else None)


if __name__ == "__main__":
    main()
