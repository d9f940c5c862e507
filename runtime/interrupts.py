"""Signals that ask to stop: obeyed as Ctrl-C is, or noted and acted on between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Stopped(KeyboardInterrupt):
    """A signal asks to stop.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.signal = signal.Signals(number)
        interrupted = self.signal == signal.SIGINT
        super().__init__("interrupted" if interrupted else f"stopped by {self.signal.name}")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count."""
        return 128 + self.signal


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Within, SIGTERM (schedulers) and SIGHUP (closed terminals) raise Stopped, as Ctrl-C does.

    A signal that is ignored (nohup) stays so, and only the main thread can listen.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in _SIGNALS[1:] if signal.getsignal(number) == signal.SIG_DFL]
    before = {number: signal.signal(number, _raise) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


class StopRequest:
    """While entered, Ctrl-C, SIGTERM and SIGHUP are noted instead of obeyed.

    A second SIGINT ends the process at once: it raises KeyboardInterrupt. Only the main thread
    may enter, as only it can set signal handlers.

    Attributes:
        signal: the signal that asked to stop; None while none did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; 0 without a signal."""
        return 128 + self.signal if self.signal else 0

    def __enter__(self) -> StopRequest:
        heard = [  # nohup ignores SIGHUP, and means it
            number
            for number in _SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


def leave_stopping_to_parent() -> None:
    """For a worker process: Ctrl-C and schedulers signal the whole group; the parent decides.

    Only a SIGTERM that the parent sent ends it: Python ends what is left of its workers so.
    Where senders cannot be told apart (macOS), any SIGTERM does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        # Blocked in this thread and those it starts, so the waiting one receives it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_if_parent_says, daemon=True).start()


def _end_if_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
