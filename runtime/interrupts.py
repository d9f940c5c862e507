"""Signals that ask to stop: obeyed as Ctrl-C is, or noted and acted on between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """Raised where ``signal`` asks to stop."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.signal = signal.Signals(number)
        interrupted = self.signal == signal.SIGINT
        super().__init__("interrupted" if interrupted else f"stopped by {self.signal.name}")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count."""
        return 128 + self.signal


def stopping_signals() -> AbstractContextManager[None]:
    """Within, SIGTERM (schedulers) and SIGHUP (closed terminals) raise Stopped, as Ctrl-C does.

    A signal that is ignored (nohup) stays so.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)
    return _handled([n for n in numbers if signal.getsignal(n) == signal.SIG_DFL], _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def _handled(numbers: Sequence[int], handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no other can listen
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class StopRequest:
    """While entered, Ctrl-C, SIGTERM and SIGHUP are noted instead of obeyed.

    A second SIGINT ends the process at once: it raises KeyboardInterrupt.

    Args:
        told: what the first SIGINT writes to the standard error, at once.

    Attributes:
        signal: the signal that asked to stop; None while none did.
    """

    def __init__(self, told: str = "") -> None:
        self.told = told
        self.signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; 0 without a signal."""
        return 128 + self.signal if self.signal else 0

    def __enter__(self) -> StopRequest:
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = (signal.SIGINT, signal.SIGTERM, *(() if nohup else (signal.SIGHUP,)))
        self._noting = _handled(heard, self._note)
        self._noting.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._noting.__exit__(None, None, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.told and number == signal.SIGINT:
            with suppress(OSError):  # not by a stream, whose lock the main program may hold
                os.write(2, f"\n{self.told}\n".encode())
        self.signal = signal.Signals(number)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let what asks to stop come after the block instead of in it.

    Not by a signal mask: another thread would take the signal for this one.
    """
    with StopRequest() as request:
        yield
    if request.signal:
        signal.raise_signal(request.signal)


def leave_stopping_to_parent(worker: int = 0) -> None:
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
