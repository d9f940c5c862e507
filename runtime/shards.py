"""Which part of the work is this process's, and how the reports of all parts become one.

One rule: ``--shard`` if given; else torchrun's RANK and WORLD_SIZE; else a Slurm array's variables;
else Kubernetes' JOB_COMPLETION_INDEX, of the JOB_COMPLETIONS that the manifest sets; else all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts, ``index`` counted from 1; out of range it is a ValueError."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"got shard {self}, expected I/N with 1 <= I <= N, such as 2/8")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"2/8"`` -> the second of eight; a ValueError if it is not of that form."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match:
            raise ValueError(f"got shard {text!r}, expected I/N with 1 <= I <= N, such as 2/8")
        return cls(int(match[1]), int(match[2]))

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """This shard's items, neighbours; the parts of all shards in a row are ``items`` again."""
        start = len(items) * (self.index - 1) // self.count
        return items[start : len(items) * self.index // self.count]


def shard_of_environment(environment: Mapping[str, str]) -> Shard:
    """The shard that torchrun, Slurm or Kubernetes gave this process; everything without them.

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
        if index := environment.get("JOB_COMPLETION_INDEX"):
            return Shard(int(index) + 1, int(environment["JOB_COMPLETIONS"]))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"the environment names a shard, but not a usable one ({error}); give --shard I/N, "
            "or --shard 1/1 for everything"
        ) from error
    return Shard()


def report_path(whole: Path, shard: Shard) -> Path:
    """Where a shard reports: in ``whole`` itself if it is everything, else in a file beside it.

    ``masks.json`` -> ``masks.shard-2-of-8.json``.
    """
    if shard.count == 1:
        return whole
    return whole.with_name(f"{whole.stem}.shard-{shard.index}-of-{shard.count}{whole.suffix}")


def shard_pattern(whole: Path) -> str:
    """The glob of what ``report_path`` names for shards."""
    return f"{whole.stem}.shard-*-of-*{whole.suffix}"


def read_report(path: Path, is_ours: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """A report as it stands, finished or not; None if there is none.

    Raises:
        ValueError: it is no JSON object for which ``is_ours`` holds, and must not be replaced.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and is_ours(value):
            return value
        reason = "another format, or of another program"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error)
    raise ValueError(
        f"{path}: not a report of this command, or damaged; it is not replaced: move it away or "
        f"choose a new folder ({reason})"
    )


def reports_of_shards(
    whole: Path,
    is_ours: Callable[[dict[str, Any]], bool],
    identity: Callable[[dict[str, Any]], Mapping[str, Any]],
    cure: str,
) -> dict[Path, dict[str, Any]]:
    """The reports of all shards of one run, in order, all of them there and finished.

    Args:
        whole: the report that they make together.
        is_ours: see ``read_report``.
        identity: what a report says that is the same for all shards of one run.
        cure: what to do about shards of which it is not.

    Raises:
        ValueError: there are none, one is missing or unfinished, or they are not of one run.
    """
    found = sorted(whole.parent.glob(shard_pattern(whole)))
    counts = {path.stem.rsplit("-", 1)[1] for path in found}
    if len(counts) != 1 or not (count := counts.pop()).isdigit():
        raise ValueError(
            f"{whole.parent}: expected the reports of one run's shards, {whole.stem}.shard-I-of-N"
            f"{whole.suffix}, got {', '.join(path.name for path in found) or 'none'}"
        )
    reports: dict[Path, dict[str, Any]] = {}
    for index in range(1, int(count) + 1):
        path = report_path(whole, Shard(index, int(count)))
        report = read_report(path, is_ours)
        if report is None or not report["complete"]:
            state = "is missing" if report is None else "is of a run that did not finish"
            raise ValueError(f"{path}: {state}; run that shard again before merging")
        reports[path] = report
        first, ours = (identity(one) for one in (next(iter(reports.values())), report))
        if keys := [key for key in {**first, **ours} if first.get(key) != ours.get(key)]:
            raise ValueError(
                f"{next(iter(reports))} and {path.name} are not of one run: they differ in "
                f"{', '.join(keys)}; {cure}"
            )
    return reports
