"""What the commands have in common: numbers with a range, help, and one ending."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from runtime.command_line import (
    CommandParser,
    HeightAndWidth,
    above,
    at_least,
    between,
    part,
    run_command,
    share,
)


@pytest.mark.parametrize(
    ("kind", "good", "bad", "expected"),
    [
        (
            at_least(1),
            {"1": 1, " 7": 7},
            ["0", "-3", "1.5", "many", "", "nan"],
            "whole number, 1 or",
        ),
        (
            at_least(0.0),
            {"0": 0.0, "2.5": 2.5},
            ["-0.1", "inf", "nan", "x"],
            "a number, 0.0 or more",
        ),
        (above(0), {"1e-9": 1e-9}, ["0", "-1", "inf", "nan"], "more than 0"),
        (between(0, 0.9), {"0": 0, "0.9": 0.9}, ["0.91", "-0.1", "nan"], "0 to 0.9"),
        (share, {"0": 0, "0.99": 0.99}, ["1", "-0.1", "nan"], "0 or more and less than 1"),
        (part, {"0.5": 0.5}, ["0", "1", "nan"], "more than 0 and less than 1"),
    ],
)
def test_a_number_is_taken_in_its_range_alone(
    kind: Callable[[str], Any], good: dict[str, float], bad: list[str], expected: str
) -> None:
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"got {text}, expected.*{expected}"):
            kind(text)


def test_whole_numbers_stay_whole() -> None:
    assert type(at_least(1)("3")) is int
    assert type(at_least(1.0)("3")) is float


def test_help_shows_every_default_but_none_and_off() -> None:
    parser = CommandParser("do.py", "What it does.")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of chance")
    parser.add_argument("--rate", type=at_least(0.0), default=0.0, metavar="N", help="how fast")
    parser.add_argument("--name", metavar="NAME", help="of it")
    parser.add_argument("--quick", action="store_true", help="hurry")
    lines = " ".join(parser.format_help().split())
    assert "--seed N of chance (default: 0)" in lines
    assert "--rate N how fast (default: 0.0)" in lines
    assert "--name NAME of it --quick hurry" in lines


def test_a_bad_flag_is_told_below_one_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser("do.py", None)
    parser.add_argument("--epochs", type=at_least(1))
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--epochs", "0"])
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "usage: do.py --help",
        "do.py: error: argument --epochs: got 0, expected a whole number, 1 or more",
    ]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("got a, expected b"), 2, "do.py: error: got a, expected b\n"),
        (
            OSError(28, "No space left", "x"),
            1,
            "do.py: stopped: [Errno 28] No space left: 'x'",
        ),
        (RuntimeError("a worker died"), 1, "do.py: stopped: a worker died; the same command goes"),
        (KeyboardInterrupt(), 130, "\ndo.py: interrupted; the same command goes on from here\n"),
    ],
)
def test_whatever_ends_a_command_is_one_line_and_an_exit_code(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert run_command("do.py", command) == code
    assert capsys.readouterr().err.startswith(told)


def test_an_error_that_nobody_can_explain_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("do.py", lambda: 1 // 0)
    assert run_command("do.py", lambda: 7) == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_scheduler_and_a_closed_terminal_end_a_command_as_ctrl_c_does(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def command() -> int:
        try:
            os.kill(os.getpid(), number)
        finally:
            cleaned.append("up")
        return 0

    before = signal.getsignal(number)
    assert run_command("do.py", command) == code
    assert cleaned == ["up"]
    assert f"stopped by {number.name}; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_nohup_keeps_a_command_running_when_its_terminal_closes() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command("do.py", lambda: os.kill(os.getpid(), signal.SIGHUP) or 5) == 5
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_size_is_one_number_or_height_and_width(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser("prog", "")
    parser.add_argument("--size", action=HeightAndWidth, default=9)
    given = ([], ["--size", "5"], ["--size", "5", "5"], ["--size", "5", "6"])
    assert [parser.parse_args(words).size for words in given] == [9, 5, 5, [5, 6]]
    with pytest.raises(SystemExit):
        parser.parse_args(["--size", "5", "6", "7"])
    assert "--size: got 3 numbers, expected one, or two" in capsys.readouterr().err
