"""The command ``nasion``: finds the subcommand, and turns what a user can mend into one clear message."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from signal import SIGINT

from .. import __version__
from ..engines.errors import NasionError, printable
from ..engines.signals import Held, Stopped, ignore
from .streams import Streams, tell

TYPE_CHECKING = False  # as type checkers know it; until main() is called, nobody catches a signal
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
_LIBRARIES = {
    "libGL": "libgl1", "libglib": "libglib2.0-0", "libgthread": "libglib2.0-0", "libEGL": "libegl1",
    "libxcb": "libxcb1", "libX11": "libx11-6", "libXext": "libxext6", "libSM": "libsm6", "libXrender": "libxrender1",
}  # fmt: skip


_MISSING = re.compile(
    r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|Error loading shared library (lib[\w.+-]+\.so[\w.]*)"
)


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
        app.command(f"nasion.tools.commands.{name}:{name}", name=name, help=text)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 an error that was explained, 128 + n stopped by signal n."""
    try:
        with Held() as signals, signals.let(), Streams():
            from .plain_logging import make_plain

            make_plain()
            _check_dependencies(sys.argv[1:] if arguments is None else arguments)
            application()(arguments)  # what takes time is imported in here, where signals are caught
    except KeyboardInterrupt as interrupt:
        ignore()  # the process ends: another signal would only spoil that
        stopped = interrupt if isinstance(interrupt, Stopped) else Stopped(SIGINT)
        tell(f"nasion: stopped by {stopped}")
        sys.exit(stopped.status)
    except NasionError as error:
        sys.exit(f"nasion: {printable(error, lines=True)}")
    except Exception as error:
        text = explanation(error)
        if text is None:
            raise
        sys.exit(f"nasion: {printable(text)}")


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


def explanation(error: Exception) -> str | None:
    """Return what a user can do about an error of the system or of a library; None where the defect is ours."""
    from .mending import explained

    return explained(error) or (import_remedy(error) if isinstance(error, ImportError) else None)


def import_remedy(error: ImportError) -> str | None:
    """What to install after a failed import, or None where the defect is ours."""
    from .dependencies import EXTRAS

    for cause in _causes(error):
        package = (cause.name or "").split(".")[0]
        if library := _MISSING.search(str(cause)):  # as glibc, then as musl says it
            file = library[1] or library[2]
            return _library_remedy(file, package or "cv2")
        if package in ("", "nasion"):
            continue
        if isinstance(cause, ModuleNotFoundError):
            if package in EXTRAS:
                return f"the package {package} is not installed: pip install 'nasion[{EXTRAS[package]}]'"
            return f"the package {package} is not installed; 'nasion doctor' says what to install"
        said = str(cause).strip().splitlines()[0]
        return (
            f"the package {package} cannot be loaded ({said}); pip install --force-reinstall {_distribution(package)}"
        )
    return None


def _library_remedy(file: str, package: str) -> str:
    name = "OpenCV" if package == "cv2" else f"the package {package}"
    if re.search(r"-[0-9a-f]{8}\.", file) or "-r0-" in file:  # as wheels call the libraries that they bring
        return f"{name} lacks its own library {file}; pip install --force-reinstall {_distribution(package)}"
    debian = next((debian for start, debian in _LIBRARIES.items() if file.startswith(start)), None)
    install = f"apt-get install {debian}" if debian else f"install the system package that holds {file}"
    without = "; or, without a display, pip uninstall -y opencv-python && pip install opencv-python-headless"
    return f"{name} needs the system library {file}, which is not installed: {install}{without * (package == 'cv2')}"


def _distribution(package: str) -> str:
    """Return what pip calls the package of an import name."""
    from importlib.metadata import packages_distributions

    return next(iter(packages_distributions().get(package, [package])))


def _causes(error: ImportError) -> Iterator[ImportError]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            yield cause
        cause = cause.__cause__ or cause.__context__


if __name__ == "__main__":
    main()
