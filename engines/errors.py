"""The errors a user can mend.

Each message says what was given, what is allowed and what to do next. The command line prints it without a
traceback, and so what the system says of files and memory (``tools/mending.py``); everything else is a defect of ours
and keeps its traceback.
"""


class NasionError(Exception):
    """Something the user can mend: a wrong path, a missing extra, a damaged file."""


class SourceError(NasionError):
    """A video, camera, stream or image that cannot be read."""


class SinkError(NasionError):
    """An output that cannot be written."""


class ModelError(NasionError):
    """A model file that is missing, damaged or of the wrong kind."""


class RuntimeUnavailable(NasionError):
    """A runtime that was asked for by name and does not work here."""


class DeviceError(NasionError):
    """A GPU that is not there, or that failed."""


class MissingExtra(NasionError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing ``package``, the ``extra`` that brings it and what it is needed for."""
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'nasion[{extra}]'")
