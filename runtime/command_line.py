"""What the commands have in common on the command line: help, numbers with a range, one ending."""

from __future__ import annotations

import argparse
import errno
import io
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from runtime.interrupts import Stopped, stopping_signals

T = TypeVar("T")

# What runtime.devices chooses from, here because that loads torch.
DEVICES = ("auto", "cpu", "cuda", "mps")
AMP = ("auto", "off", "bf16", "fp16")

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or this user's share of it


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the docstring as it stands, and a flag's default where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default is not None and action.default is not False
        return super()._get_help_string(action) if shown else action.help


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line below a hint to the help, not the list of all flags."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description, formatter_class=HelpFormatter)

    def given(self, argv: Sequence[str] | None) -> dict[str, Any]:
        """The flags that stand on the command line, be their values the defaults, by name."""
        absent = object()
        blank = argparse.Namespace(**{action.dest: absent for action in self._actions})
        values = vars(self.parse_args(argv, blank))
        return {name: value for name, value in values.items() if value is not absent}

    def error(self, message: str) -> NoReturn:
        """End the command with exit code 2."""
        self.exit(2, f"usage: {self.prog} --help\n{self.prog}: error: {message}\n")


def at_least(low: int | float) -> Callable[[str], Any]:
    """A flag's type: a number from ``low`` on; whole ones if ``low`` is an int."""
    return _number(type(low), f"{low} or more", lambda value: low <= value < math.inf)


def above(low: float) -> Callable[[str], Any]:
    """A flag's type: a number larger than ``low``."""
    return _number(float, f"more than {low:g}", lambda value: low < value < math.inf)


def between(low: float, high: float) -> Callable[[str], Any]:
    """A flag's type: a number from ``low`` to ``high``, both included."""
    return _number(float, f"{low:g} to {high:g}", lambda value: low <= value <= high)


class HeightAndWidth(argparse.Action):
    """Of a flag with pixels: one number for a square, or two, which become [height, width]."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        pixels: dict[str, Any] = {"nargs": "+", "type": at_least(1), "metavar": "PIXELS"}
        super().__init__(option_strings, dest, **pixels, **options)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, _: str | None = None
    ) -> None:
        if len(values) > 2:
            parser.error(f"argument --{self.dest}: got {len(values)} numbers, expected one, or two")
        setattr(namespace, self.dest, values[0] if len(set(values)) == 1 else values)


def told_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A flag's type by a function whose ValueError says what is wrong with the flag."""

    def parse_flag(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_flag


def _number(
    kind: type[int] | type[float], wanted: str, holds: Callable[[float], bool]
) -> Callable[[str], Any]:
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not holds(value):  # not a number holds nowhere
            raise argparse.ArgumentTypeError(f"got {text}, expected {what}, {wanted}")
        return value

    return parse


# Types of flags too; of ``part``, neither side is empty.
share = _number(float, "0 or more and less than 1", lambda value: 0 <= value < 1)
part = _number(float, "more than 0 and less than 1", lambda value: 0 < value < 1)


def _explain(error: Exception) -> str | None:
    if isinstance(error, OSError | RuntimeError):
        is_full = isinstance(error, OSError) and error.errno in FULL
        cure = "make room and run the same command again: it" if is_full else "the same command"
        return f"{error}; {cure} goes on from here"
    return str(error) if isinstance(error, ValueError) else None


def run_command(
    prog: str,
    command: Callable[[], int],
    explain: Callable[[Exception], str | None] = _explain,
    go_on: str = "the same command goes on from here",
) -> int:
    """Run a command to its end; what ends it before becomes one line on the standard error.

    Args:
        prog: the command's name.
        command: gives the exit code.
        explain: the words for an error; None of one that shows its traceback, being no user's.
        go_on: what can be done after Ctrl-C or a scheduler's signal.

    Returns:
        The command's own exit code; 2 after a ValueError, which tells of flags or data that cannot
        be; 1 after any other error; 128 + the number of the signal that ended it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack letters that names have
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopping_signals():
            return command()
    except KeyboardInterrupt as stop:
        signal = stop if isinstance(stop, Stopped) else Stopped()
        print(f"\n{prog}: {signal}; {go_on}", file=sys.stderr)
        return signal.exit_code
    except Exception as error:
        if not (message := explain(error)):
            raise
        is_wrong = isinstance(error, ValueError)
        print(f"{prog}: {'error' if is_wrong else 'stopped'}: {message}", file=sys.stderr)
        return 2 if is_wrong else 1
