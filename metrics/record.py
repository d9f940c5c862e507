"""The numbers and pictures of a run, as they are written down and told epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from metrics.curves import draw_run
from metrics.evaluation import Evaluation
from metrics.plot import draw_confusion, save_picture
from metrics.scores import numbers, report_dict, scores_of_labels
from runtime.files import replacing, write_json
from runtime.run_folder import RunFolder

SPLITS = ("train", "val")
GAP_EPOCHS = 3  # since the lowest validation loss, before a rise is more than chance
GAP_RISE = 1.05  # times the lowest validation loss
SLOW_DATA = 0.15  # share of the time spent waiting for images that is worth a remark


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

    def add_epoch(self, row: Mapping[str, float]) -> list[str]:
        """Write the numbers of an epoch; gives the remarks that they call for.

        They are on the disk before this returns, so that a checkpoint written next never knows
        of an epoch that they lack.
        """
        self.folder.add_row(row)
        for name, value in row.items():
            self._board.add_scalar(name, value, int(row["epoch"]))
        self._board.flush()
        return remarks_on(self.folder.rows)

    def draw_curves(self, best: int, select: str) -> None:
        """Draw curves.png anew, with the best epoch marked."""
        name, rows = self.folder.path.absolute().name, self.folder.rows
        save_picture(self.folder.curves, lambda: draw_run(name, rows, best, select))

    def add_picture(self, epoch: int, picture: npt.NDArray[np.uint8]) -> None:
        """Write the predictions of an epoch, (H, W, 3) uint8."""
        self._board.add_image("predictions", picture, epoch, dataformats="HWC")
        with replacing(self.folder.predictions / f"epoch_{epoch:04d}.png") as temporary:
            Image.fromarray(picture).save(temporary, "PNG")

    def report_best(self, epoch: int, select: str, splits: Mapping[str, Tensor]) -> None:
        """Write report.json and confusion.png: the scores of the best epoch, from its counts."""
        scores = {
            split: report_dict(counts, self.names, background=self.background)
            for split, counts in splits.items()
        }
        about = {"format_version": 1, "best_epoch": epoch, "best_by": select}
        write_json(self.folder.report, {**about, **scores})
        counts, title = splits["val"].tolist(), f"validation images, epoch {epoch}"
        path = self.folder.path / "confusion.png"
        save_picture(path, lambda: draw_confusion(counts, self.names, title))


def metrics_row(
    epoch: int,
    lr: float,
    speed: tuple[float, float],
    train_loss: float,
    train: Evaluation,
    val: Evaluation,
    names: Sequence[str],
    *,
    background: bool = True,
) -> dict[str, float]:
    """The numbers of an epoch, by their column in metrics.csv and their name in TensorBoard.

    Args:
        epoch: counted from 1; ``lr`` is the learning rate at its start.
        speed: images per second, and the share of time spent waiting for them.
        train_loss: mean over its steps, of augmented images and changing weights.
        train, val: of images as they are, by the weights at its end; "loss" and "cross_entropy".
        names: of the labels; ``background`` says whether the first is the background.
    """
    row = {"epoch": epoch, "lr": lr, "images_per_second": speed[0], "data_wait": speed[1]}
    row |= {"loss/train": train_loss, "loss/val": val.losses["loss"]}
    for split, found in zip(SPLITS, (train, val), strict=True):
        row[f"cross_entropy/{split}"] = found.losses["cross_entropy"]
    for split, found in zip(SPLITS, (train, val), strict=True):
        of_split = numbers(found.counts, background=background)
        row |= {f"{split}/{name}": value for name, value in of_split.items()}
    for score, per_label in scores_of_labels(val.counts).items():
        columns = (f"val_{score}/{name}" for name in names)
        row |= dict(zip(columns, per_label.tolist(), strict=True))
    return row


def epoch_lines(row: Mapping[str, float], epochs: int, best: str) -> list[str]:
    """An epoch as two lines for people: its scores, and what it waited for.

    ``best`` is the metric by which it is the best so far; nothing, if it is not.
    """
    wait = row["data_wait"]
    return [
        f"epoch {row['epoch']}/{epochs}  loss {row['loss/train']:.4f}, "
        f"validation {row['loss/val']:.4f}  "
        f"mIoU {row['val/mean_iou']:.1%} (training images {row['train/mean_iou']:.1%})  "
        f"accuracy {row['val/pixel_accuracy']:.1%}{best and f'  (best {best})'}",
        f"    {row['images_per_second']:.1f} images/s; {wait:.0%} of the time waiting for data, "
        f"{1 - wait:.0%} for the device",
    ]


def remarks_on(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """What the last of all rows up to now calls for, and none before it did."""
    remarks = [(find, find(rows)) for find in (_slow_data, _overfitting)]
    return [
        remark
        for find, remark in remarks
        if remark and not any(find(rows[:number]) for number in range(1, len(rows)))
    ]


def _slow_data(rows: Sequence[Mapping[str, float]]) -> str | None:
    if float(rows[-1]["data_wait"]) <= SLOW_DATA:
        return None
    return "the device waits for images: raise --workers, or keep resized ones by --cache disk"


def _overfitting(rows: Sequence[Mapping[str, float]]) -> str | None:
    """Whether cross-entropy has risen on validation images, and fallen on training images."""
    train, val = ([float(row[f"cross_entropy/{split}"]) for row in rows] for split in SPLITS)
    low = min(range(len(rows)), key=val.__getitem__)
    rises = len(rows) - 1 - low >= GAP_EPOCHS and val[-1] > GAP_RISE * val[low]
    if not rises or train[-1] >= train[low]:
        return None
    return (
        f"overfitting: since epoch {rows[low]['epoch']} cross-entropy on validation images "
        f"rises ({val[low]:.3f} -> {val[-1]:.3f}) and on training images falls; more images, "
        "--augment strong, --dropout or --weight_decay help, --early_stop ends it"
    )
