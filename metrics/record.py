"""The numbers and pictures of a run, as they are written down epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from metrics.confusion_picture import draw_confusion
from metrics.curves import draw_run
from metrics.history import overfitting_remark
from metrics.plot import save_picture
from metrics.report import report_dict
from runtime.files import replacing, write_json
from runtime.run_folder import RunFolder


class Record:
    """Writes metrics.csv, report.json, TensorBoard events and pictures of one run.

    Args:
        folder: of the run.
        names: of the labels.
        settings: the flags of the run.
        done: whole epochs; what is on record of later ones will be computed again.
        background: whether label 0 is the background.
    """

    def __init__(
        self,
        folder: RunFolder,
        names: Sequence[str],
        settings: Mapping[str, Any],
        done: int,
        *,
        background: bool = True,
    ) -> None:
        self.folder = folder
        self.names = names
        self.background = background
        folder.keep_rows(done)
        folder.create(settings)
        self._board = SummaryWriter(str(folder.path), purge_step=done + 1)
        rows = (f"| {name} | {json.dumps(value)} |" for name, value in settings.items())
        self._board.add_text("flags", "\n".join(("| flag | value |", "|---|---|", *rows)), done)

    def close(self) -> None:
        self._board.close()

    def add_epoch(self, row: Mapping[str, float]) -> str | None:
        """Write the numbers of an epoch; gives a remark, if they call for one.

        They are on the disk before this returns, so that a checkpoint written next never knows
        of an epoch that they lack.
        """
        self.folder.add_row(row)
        for name, value in row.items():
            self._board.add_scalar(name, value, int(row["epoch"]))
        self._board.flush()
        return overfitting_remark(self.folder.rows)

    def draw_curves(self, best: int) -> None:
        """Draw curves.png anew, with the best epoch marked."""
        name, rows = self.folder.path.absolute().name, self.folder.rows
        save_picture(self.folder.curves, lambda: draw_run(name, rows, best))

    def add_picture(self, epoch: int, picture: npt.NDArray[np.uint8]) -> None:
        """Write the predictions of an epoch, (H, W, 3) uint8."""
        self._board.add_image("predictions", picture, epoch, dataformats="HWC")
        with replacing(self.folder.predictions / f"epoch_{epoch:04d}.png") as temporary:
            Image.fromarray(picture).save(temporary, "PNG")

    def report_best(self, epoch: int, splits: Mapping[str, Tensor]) -> None:
        """Write report.json and confusion.png: the scores of the best epoch, from its counts."""
        scores = {
            split: report_dict(counts, self.names, background=self.background)
            for split, counts in splits.items()
        }
        write_json(self.folder.report, {"format_version": 1, "best_epoch": epoch, **scores})
        counts, title = splits["val"].tolist(), f"validation images, epoch {epoch}"
        path = self.folder.path / "confusion.png"
        save_picture(path, lambda: draw_confusion(counts, self.names, title))
