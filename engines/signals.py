"""The signals that ask a process to end: held back while files are written, then delivered as one exception."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main, start_new_thread
from contextlib import suppress
from time import monotonic, sleep
from weakref import ref

TYPE_CHECKING = False  # as type checkers know it: the command takes the signals before it imports anything else
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType
    from typing import Any, Self

_NAMES = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGVTALRM",
    "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGTRAP", "SIGSYS",
)  # fmt: skip
_REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if sys.platform == "linux" else range(0)
SIGNALS: tuple[int, ...] = (*(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)), *_REAL_TIME)
"""All signals of this system that end a process, can be caught and report no crash."""

PATIENCE = 10.0
"""Seconds after the first signal until another one is no longer held back."""

_PAUSE = 0.02  # seconds between two attempts to deliver a signal


def signal_name(number: int) -> str:
    """Return the name of a signal, for example ``SIGTERM`` or ``SIGRTMIN+3``."""
    try:
        return signal.Signals(number).name
    except ValueError:  # Python has no names for the real-time signals between the first and the last
        return f"SIGRTMIN+{number - _REAL_TIME.start}"


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The usual exit status: 128 and the number of the signal."""
        return 128 + self.number

    def __str__(self) -> str:
        """Return the usual name of the signal."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal_name(self.number)


class _Signal:
    """A received signal, shared by all active ``Held``.

    It counts as raised only as long as its exception exists. Python and C libraries drop some exceptions, for example
    in callbacks of weak references; the signal is then raised again.
    """

    def __init__(self, number: int) -> None:
        self.number, self.since = number, monotonic()
        self.is_taken = self.is_reminder = self.has_reminder = False
        self._raised: ref[Stopped] | None = None

    @property
    def is_raised(self) -> bool:
        """True while its exception exists: it propagates or is stored."""
        return self._raised is not None and self._raised() is not None

    @property
    def waits(self) -> bool:
        """True if it must still be raised."""
        return not self.is_taken and not self.is_raised

    def made(self) -> Stopped:
        """Return its exception to raise. The caller must not store it in a variable, which would keep it alive."""
        stopped = Stopped(self.number)
        self._raised, self.since = ref(stopped), monotonic()
        return stopped


class Held:
    """Context manager that holds signals back; at its end a received one goes to the previous handler.

    ``let`` marks the blocks in which a signal may be raised, but never within an import, which that would break: it is
    raised soon after. It is raised until it is taken: by ``take``, or when its exception leaves the outermost ``Held``.
    A second signal does not interrupt the closing of files, unless it comes more than ``PATIENCE`` seconds after the
    first.

    It has no effect outside the main thread, where Python delivers no signals, or on signals that the process ignores,
    as under ``nohup``.
    """

    _innermost: Held | None = None

    def __init__(self) -> None:
        """Prepare; signals are held back from ``__enter__`` on."""
        self._before: dict[int, Any] = {}
        self._outer: Held | None = None
        self._came: _Signal | None = None
        self._is_entered = self._is_open = False
        self._imports = 0  # under way where signals are let through
        self._hook: Callable[[sys.UnraisableHookArgs], Any] = sys.__unraisablehook__

    def __enter__(self) -> Self:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._outer = outer = Held._innermost
            try:
                for number in SIGNALS:
                    if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                        self._before[number] = handler
                        signal.signal(number, self._handle)
                if self._came is None and outer is not None and outer.is_waiting:
                    self._came = outer._came
                if outer is None:
                    self._hook = sys.unraisablehook
                    sys.unraisablehook = self._drop
                Held._innermost, self._is_entered = self, True
            except BaseException:  # a signal came meanwhile
                self._give_back()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous handlers, and deliver a pending signal."""
        if not self._is_entered:
            return
        self._is_entered = self._is_open = False
        with _reminding:  # no reminder is sent to this object any more
            Held._innermost = self._outer
        if self._outer is None and sys.unraisablehook == self._drop:
            sys.unraisablehook = self._hook
        self._give_back()
        if self._came is None or not self._came.waits:
            return
        if self._outer is None:
            self._came.is_taken = True
            signal.raise_signal(self._came.number)
        elif self._outer._is_open:
            raise self._came.made()

    @property
    def asked(self) -> bool:
        """True once a signal was received."""
        return self._came is not None

    @property
    def is_waiting(self) -> bool:
        """True if a received signal was not taken yet."""
        return self._came is not None and not self._came.is_taken

    def take(self) -> Stopped | None:
        """Return the received signal for the caller to raise; it is not delivered again."""
        if self._came is None:
            return None
        self._came.is_taken, self._is_open = True, False
        return Stopped(self._came.number)

    def let(self) -> _Let:
        """Let signals through within the ``with`` block, including one that is pending at its beginning or end.

        Raises:
            Stopped: a signal was received.
        """
        return _Let(self)

    def _open(self, imports: int) -> None:
        self._imports, self._is_open = imports, self._is_entered
        if self._is_open and self._came is not None and self._came.waits:
            raise self._came.made()

    def _shut(self, *, is_whole: bool) -> None:
        was_open, self._is_open = self._is_open, False
        if was_open and self._came is not None and (self._came.waits or (is_whole and self.is_waiting)):
            raise self._came.made()

    def _drop(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Suppress Python's report of a signal that it could not raise; keep no reference to it: it is raised again."""
        if not isinstance(unraisable.exc_value, Stopped):
            self._hook(unraisable)

    def _give_back(self) -> None:
        try:
            while self._before:
                number, handler = next(iter(self._before.items()))
                signal.signal(number, handler)
                del self._before[number]
        finally:
            if self._before:  # the previous handler has raised
                self._give_back()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        came, is_late = self._came, False
        if came is None or (came.is_taken and self._is_open):
            came = _Signal(number)
            for held in self._and_outer():
                held._came = came
        elif came.is_reminder:
            came.is_reminder = False
        else:
            is_late = monotonic() - came.since > PATIENCE
        if self._is_open:
            _start_reminding(came)
            if came.waits and _imports(frame) <= self._imports:
                raise came.made()
        if is_late:
            raise came.made()

    def _and_outer(self) -> Iterator[Held]:
        held: Held | None = self
        while held is not None:
            yield held
            held = held._outer


class _Let:
    """Block in which signals are let through; see ``Held.let``."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def __enter__(self) -> None:
        try:
            self._held._open(_imports(sys._getframe()))
        except BaseException:
            self._held._is_open = False
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held._shut(is_whole=kind is None)


def _imports(frame: FrameType | None) -> int:
    """Return how many frames of Python's import system are on the stack."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return found


_reminding = threading.Lock()  # held while a reminder is sent; a handler never takes it


def _start_reminding(came: _Signal) -> None:
    """Start the thread that makes sure a signal is raised. If no thread can be started, ``let`` still raises it."""
    if not came.has_reminder:
        came.has_reminder = True
        with suppress(RuntimeError, MemoryError):
            start_new_thread(_remind, (came,))  # threading takes locks, and this is called in a signal handler


def _remind(came: _Signal) -> None:
    """Send a signal to the main thread repeatedly until it is taken, while it could be raised but is not."""
    while True:
        sleep(_PAUSE)
        with _reminding:
            held = Held._innermost
            if held is None or held._came is not came or came.is_taken:
                return
            if held._is_open and came.waits:
                came.is_reminder = True
                _send(came.number)


def _send(number: int) -> None:
    main = threading.main_thread().ident
    if sys.platform == "win32" or main is None:
        interrupt_main(signal.Signals(number))
    else:
        signal.pthread_kill(main, number)  # wakes it if it waits


def ignore() -> None:
    """Ignore the signals from now on: the process is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
