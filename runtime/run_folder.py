"""The folder of one training run: where everything is, and its small files.

args.json        the settings
metrics.csv      a row an epoch
report.json      the scores of the best epoch
curves.png       metrics.csv as a picture
confusion.png    what the best epoch takes for what
checkpoints/     last.pt, best.pt, epoch_0010.pt, ...
predictions/     epoch_0010.png, ...
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.files import write_csv, write_json

logger = logging.getLogger("train")


def find_checkpoint(path: Path, name: str) -> Path:
    """``path`` if it is a file, else the checkpoint ``name`` of the run folder ``path``.

    Raises:
        ValueError: there is no such file, or it may not be read.
    """
    try:
        checkpoint = path / "checkpoints" / name if path.is_dir() else path
        is_there, allowed = checkpoint.is_file(), os.access(checkpoint, os.R_OK)
    except PermissionError:  # of a folder on the way
        checkpoint, is_there, allowed = path, True, False
    if not is_there:
        patterns = ("*.pt", "checkpoints/*.pt", "*/checkpoints/*.pt")
        others = [other for pattern in patterns for other in sorted(path.glob(pattern))]
        raise ValueError(
            f"{checkpoint}: no such file, expected a checkpoint or the folder of a training run"
            + (f"; there is {shlex.quote(str(others[0]))}" if others else "")
        )
    if not allowed:
        raise ValueError(f"{checkpoint}: this checkpoint may not be read; change its permissions")
    return checkpoint


class RunFolder:
    """Paths and small files of a run; nothing is made before ``create``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.predictions = path / "predictions"
        self._args = path / "args.json"
        self._metrics = path / "metrics.csv"
        self.report = path / "report.json"
        self.curves = path / "curves.png"
        self.rows: list[Mapping[str, Any]] = []  # of metrics.csv; text in those read from it

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunFolder:
        """The run that wrote a checkpoint file."""
        return cls(checkpoint.absolute().parent.parent)

    @classmethod
    def named_by_time(cls, parent: Path) -> RunFolder:
        """A new folder in ``parent``; runs that start in the same second get one each."""
        name, number = time.strftime("%Y-%m-%d_%H-%M-%S"), 1
        while True:
            path = parent / (name if number == 1 else f"{name}_{number}")
            with suppress(FileExistsError):
                path.mkdir(parents=True)
                return cls(path)
            number += 1

    def check_is_free(self) -> None:
        """A ValueError if there is a file that training would replace.

        An args.json alone, if it is ours, is of a run that ended before its first checkpoint.
        """
        files = ("metrics.csv", "report.json", "curves.png", "confusion.png", "args.json")
        patterns = ("checkpoints/*.pt", "predictions/epoch_*.png", *files)
        found = [path for each in patterns for path in sorted(self.path.glob(each))]
        with suppress(ValueError):
            ours = {"train_images", "epochs", "loss"} <= self.settings().keys()
            if ours and found == [self._args]:
                return
        if found:
            raise ValueError(
                f"--run_dir {self.path}: {found[0]} is there and would be replaced; go on with "
                f"that run (--resume {shlex.quote(str(self.path))}), or choose another folder"
            )

    def create(self, settings: Mapping[str, Any]) -> None:
        """Make the folders and write args.json."""
        for folder in (self.checkpoints, self.predictions):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(self._args, settings)

    def settings(self) -> dict[str, Any]:
        """What ``create`` was given; a ValueError if there is no args.json, or a damaged one."""
        try:
            settings: dict[str, Any] = json.loads(self._args.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self._args}: not the settings of a run: {error}") from error
        if not isinstance(settings, dict):
            raise ValueError(f"{self._args}: not the settings of a run: expected a JSON object")
        return settings

    def keep_rows(self, last_epoch: int) -> None:
        """Go on after ``last_epoch``: later rows of metrics.csv will be computed again."""
        self.rows = [row for row in self._rows() if int(row["epoch"]) <= last_epoch]

    def last_epoch(self) -> int:
        """Of metrics.csv; 0 if there is none."""
        return max((int(row["epoch"]) for row in self._rows()), default=0)

    def _rows(self) -> list[dict[str, str]]:
        if not self._metrics.is_file():
            return []
        with self._metrics.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows, start=2):
            if not (row.get("epoch") or "").isdecimal():
                raise ValueError(
                    f"{self._metrics}: line {number} has no epoch, expected comma-separated rows "
                    "as train.py wrote them; mend the file, or move it away"
                )
        return rows

    def add_row(self, row: Mapping[str, float]) -> None:
        """Add an epoch to metrics.csv; ``row`` has the epoch and the same columns each time."""
        self.rows.append(row)
        write_csv(self._metrics, self.rows)

    def prune_checkpoints(self, keep: int) -> None:
        """Remove the networks of all epochs but the newest ``keep``, best.pt and last.pt."""
        # Not a copy that somebody made of one, such as epoch_0010_good.pt.
        kept = [p for p in self.checkpoints.iterdir() if re.fullmatch(r"epoch_\d{4,}\.pt", p.name)]
        kept.sort(key=lambda path: int(path.stem[6:]))
        for path in kept[: max(0, len(kept) - keep)]:
            path.unlink()


def check_last(checkpoint: Path, epoch: int) -> None:
    """Refuse to go on from a checkpoint, of ``epoch``, if its run went on after it.

    best.pt and later checkpoints would be those of another history than its numbers.
    """
    folder = RunFolder.of_checkpoint(checkpoint)
    last = folder.last_epoch()
    if checkpoint.name == "last.pt" or epoch >= last:
        return
    files = (folder.path / "args.json", folder.path / "metrics.csv", checkpoint)
    args, metrics, last_pt = (shlex.quote(str(path)) for path in files)
    raise ValueError(
        f"{checkpoint} is of epoch {epoch}, but the run went on to epoch {last}. To go on "
        f"from there as a run of its own: mkdir -p NEW/checkpoints; cp {args} {metrics} NEW; "
        f"cp {last_pt} NEW/checkpoints/last.pt; --resume NEW"
    )


def has_best(checkpoint_path: Path) -> bool:
    """Whether the run of a checkpoint still has its best.pt; says so if not."""
    best = RunFolder.of_checkpoint(checkpoint_path).checkpoints / "best.pt"
    if not best.is_file():
        logger.warning("%s is missing: the best of the epochs to come will be it", best)
    return best.is_file()
