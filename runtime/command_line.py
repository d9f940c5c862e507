"""What the commands have in common on the command line: help, and ranges of numbers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping

from runtime.shards import Shard


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the docstring as it stands, and a flag's default where it has one worth naming."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


def check_ranges(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    least: Mapping[str, float],
    shares: Iterable[str] = (),
) -> None:
    """End the command if a number is out of range; flags that were not given (None) are not.

    Args:
        parser: says so.
        args: what it parsed.
        least: the smallest value of each flag.
        shares: flags that take 0 or more and less than 1.
    """
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and not low <= value < math.inf:
            parser.error(f"--{name} is {value}, expected {low} or more")
    for name in shares:
        value = getattr(args, name)
        if not 0 <= value < 1:
            parser.error(f"--{name} is {value}, expected 0 or more and less than 1")


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1")
    return value


def shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
