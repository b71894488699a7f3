"""The command ``nasion``: finds the subcommand, and turns what a user can mend into one clear message."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence

from .. import __version__
from ..engines.errors import NasionError, printable

TYPE_CHECKING = False  # as type checkers know it; until main() is called, nobody catches Ctrl-C
if TYPE_CHECKING:
    from cyclopts import App

_COMMANDS = {
    "track": "Track the faces of a video, camera or stream.",
    "demo": "Make a short clip, track it and show what comes out.",
    "bench": "Measure the speed of the tracker on a clip.",
    "doctor": "Say what is installed, what works here and what to do about the rest.",
    "data": "Look at data sets as they were downloaded (needs the extra train).",
    "train": "Train a network (needs the extra train).",
    "evaluate": "Measure the error of a network on a test set (needs the extra train).",
    "networks": "Count the networks of the papers and compare with what the papers print (needs the extra train).",
    "export": "Write a trained network to a file that the tracker runs (needs the extra train).",
    "compile": "Build the TensorRT plan of a model for the GPU here (needs the extra tensorrt).",
    "rtx": "Build networks with TensorRT-RTX, which needs no GPU for that.",
    "plugins": "Compile the CUDA kernels and TensorRT plugins, and say where they are.",
}

# system library -> Debian package
_LIBRARIES = {"libGL": "libgl1", "libglib": "libglib2.0-0", "libgthread": "libglib2.0-0", "libEGL": "libegl1"}


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
        app.command(f"nasion.tools.{name}:{name}", name=name, help=text)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 an error that was explained, 130 stopped by Ctrl-C."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Plain())
    try:
        _check_dependencies(sys.argv[1:] if arguments is None else arguments)
        application()(arguments)  # what takes time is imported in here, where Ctrl-C is caught
    except KeyboardInterrupt:
        print("nasion: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    except NasionError as error:
        sys.exit(f"nasion: {printable(error, lines=True)}")
    except ImportError as error:
        remedy = import_remedy(error)
        if remedy is None:
            raise
        sys.exit(f"nasion: {printable(remedy)}")


class Plain(logging.Formatter):
    """Warnings without characters that can control a terminal: they name files and entries of files."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(super().format(record), lines=True)


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


def import_remedy(error: ImportError) -> str | None:
    """What to install after a failed import, or None where the defect is ours."""
    from .dependencies import EXTRAS

    for cause in _causes(error):
        library = re.search(r"(lib[\w+-]+)[\w.]*\.so[\w.]*: cannot open shared object", str(cause))
        if library:
            return _library_remedy(library[1], library[0].split(":")[0])
        package = (cause.name or "nasion").split(".")[0]
        if isinstance(cause, ModuleNotFoundError) and package != "nasion":
            if package in EXTRAS:
                return f"the package {package} is not installed: pip install 'nasion[{EXTRAS[package]}]'"
            return f"the package {package} is not installed; 'nasion doctor' says what to install"
    return None


def _library_remedy(library: str, file: str) -> str:
    package = next((package for start, package in _LIBRARIES.items() if library.startswith(start)), None)
    install = f"apt-get install {package}" if package else f"install the system package that holds {file}"
    return (
        f"OpenCV needs the system library {file}, which is not installed: {install}; or, without a display, "
        "pip uninstall -y opencv-python && pip install opencv-python-headless"
    )


def _causes(error: ImportError) -> Iterator[ImportError]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            yield cause
        cause = cause.__cause__ or cause.__context__


if __name__ == "__main__":
    main()
