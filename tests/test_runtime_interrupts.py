"""Signals are noted and acted on later; workers leave them to their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from runtime.interrupts import StopRequest, leave_stopping_to_parent

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_gives_the_exit_code(number: int, code: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert (request.signal, request.exit_code) == (None, 0)
        os.kill(os.getpid(), number)
        assert (request.signal, request.exit_code) == (number, code)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_is_obeyed_at_once_and_a_second_sigterm_is_not() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_answered_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest("stopping after this step"):
        os.kill(os.getpid(), signal.SIGTERM)
        assert capfd.readouterr().err == ""
    with StopRequest("stopping after this step"):
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err == "\nstopping after this step\n"


def _work(ready: object) -> None:
    leave_stopping_to_parent()
    ready.set()  # type: ignore[attr-defined]
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="senders cannot be told apart")
def test_a_worker_ends_by_its_parents_sigterm_alone() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=_work, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(20)
    for name in ("TERM", "INT"):  # from another process, as a scheduler's or a terminal's
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    worker.join(0.3)
    assert worker.is_alive()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
