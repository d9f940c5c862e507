"""Which part of the work is this process's: shard I of N, by flag or by the job that started it.

One rule: ``--shard`` if given; else torchrun's RANK and WORLD_SIZE; else a Slurm array's
SLURM_ARRAY_TASK_ID, counted from SLURM_ARRAY_TASK_MIN in steps of SLURM_ARRAY_TASK_STEP; else all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts, ``index`` counted from 1.

    Raises:
        ValueError: index or count is out of range.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"got shard {self}, expected I/N with 1 <= I <= N, such as 2/8")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"2/8"`` -> the second of eight.

        Raises:
            ValueError: it is not of that form.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match:
            raise ValueError(f"got shard {text!r}, expected I/N with 1 <= I <= N, such as 2/8")
        return cls(int(match[1]), int(match[2]))

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """This shard's items, neighbours; the parts of all shards in a row are ``items`` again."""
        start = len(items) * (self.index - 1) // self.count
        return items[start : len(items) * self.index // self.count]


def shard_of_environment(environment: Mapping[str, str]) -> Shard | None:
    """The shard that torchrun or a Slurm array job gave this process; None without either.

    Raises:
        ValueError: the variables are set, but not to numbers that fit together.
    """
    try:
        if "RANK" in environment and "WORLD_SIZE" in environment:
            return Shard(int(environment["RANK"]) + 1, int(environment["WORLD_SIZE"]))
        if "SLURM_ARRAY_TASK_ID" in environment:
            first = int(environment["SLURM_ARRAY_TASK_MIN"])
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
            number = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
            return Shard(number + 1, int(environment["SLURM_ARRAY_TASK_COUNT"]))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"the environment names a shard, but not a usable one ({error}); give --shard I/N, "
            "or --shard 1/1 for everything"
        ) from error
    return None
