"""A lock on a file: one at a time, and nothing is left of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.locks import locked

ROOT = Path(__file__).parents[1]


def test_one_waits_for_the_other_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []

    def second() -> None:
        with locked(tmp_path / "lock", wait=True):
            events.append("second")

    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=second)
        with locked(tmp_path / "lock"):
            thread.start()
            thread.join(0.2)
            events.append("first")
        thread.join()
    assert events == ["first", "second"]
    assert f"{tmp_path} is in use by process {os.getpid()} on " in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_holds_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, runtime.locks\n"
        f"with runtime.locks.locked(pathlib.Path({str(tmp_path)!r}, 'lock')):"
        " os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
    with locked(tmp_path / "lock"):
        pass


def test_a_worker_that_outlives_its_killed_parent_holds_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, time, runtime.locks\n"
        f"with runtime.locks.locked(pathlib.Path({str(tmp_path)!r}, 'lock')):\n"
        "    if not os.fork():\n"
        "        print('alive', flush=True)\n"
        "        time.sleep(30)\n"
        "        os._exit(0)\n"
        "    time.sleep(30)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        try:
            parent.kill()
            parent.wait()
            with locked(tmp_path / "lock"):
                pass
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_without_locks_nobody_waits_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, os.strerror(9))

    monkeypatch.setattr("runtime.locks.fcntl.flock", refuse)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
        pass
    told = f"{tmp_path} has no locks ({os.strerror(9)}): see to it that nothing else writes there"
    assert caplog.text.count(told) == 2


def test_a_command_line_that_the_locale_cannot_spell_is_no_obstacle(tmp_path: Path) -> None:
    program = (
        "import pathlib, runtime.locks\n"
        f"with runtime.locks.locked(pathlib.Path({str(tmp_path)!r}, 'lock')) as held: print('held')"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, "\u00fc", "\u732b"],
        cwd=ROOT, env={**os.environ, **locale}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("held\n", "")
    assert list(tmp_path.iterdir()) == []
