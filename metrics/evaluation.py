"""A model over a whole data set, or its predictions on disk: one confusion matrix of all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from metrics.confusion_matrix import ConfusionMatrix, confusion_matrix
from metrics.plot import draw_confusion, save_picture
from metrics.scores import image_row, report_dict, score_table
from runtime.devices import Machine, World, sum_over_ranks
from runtime.files import write_csv, write_json
from runtime.workers import available_cores

logger = logging.getLogger(__name__)

NEAREST = "nearest-exact"  # which invents no label

# Reads truth and prediction, (H, W) uint8 label indices each.
Read = Callable[[], tuple[npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set, or over a part of one, found.

    Attributes:
        loss_sums: of each loss the sum over the pixels that count, each of which has the loss of
            its batch; so cross-entropy does not depend on how images come in batches.
        counts: (C, C) int64 counts[true, predicted] over every pixel that counts, on the CPU.
    """

    loss_sums: dict[str, float]
    counts: Tensor

    @property
    def losses(self) -> dict[str, float]:
        """Of each loss the mean over the pixels that count; 0 if there are none."""
        pixels = max(1, int(self.counts.sum()))
        return {name: total / pixels for name, total in self.loss_sums.items()}

    def reduce(self, world: World) -> Evaluation:
        """The parts of all processes of a job as one, the same in each; each must call this."""
        sums = torch.tensor([*self.loss_sums.values()], dtype=torch.float64)
        loss_sums = dict(zip(self.loss_sums, sum_over_ranks(sums, world).tolist(), strict=True))
        return Evaluation(loss_sums, sum_over_ranks(self.counts, world))


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    machine: Machine,
    num_labels: int,
    ignore_index: int,
    labels_at: Callable[[Tensor, tuple[int, int]], Tensor] | None = None,
) -> Evaluation:
    """Predict every batch and compare; the model is left in the mode it came in.

    Nothing here waits for the device before the last batch, so it never idles for the host.

    Args:
        model: images -> logits (N, num_labels, H, W), on the device. Not within
            DistributedDataParallel: processes need not have equally many batches.
        batches: of images (N, 3, H, W) and label maps (N, h, w), integer; there may be none.
        losses: by name, each (logits, int64 label map) -> scalar, at the size of the logits.
        machine: where to compute, and in which precision the model may.
        num_labels: C.
        ignore_index: the value of label maps that is not counted.
        labels_at: logits (C, H, W) float32 and a size -> label map of that size; None: label maps
            have the size of their images.

    Raises:
        ValueError: a label is out of range.
    """
    device, was_training = machine.device, model.training
    model.eval()
    confusion = ConfusionMatrix(num_labels, ignore_index, device)
    found: list[tuple[Tensor, Tensor]] = []  # losses and pixels that count of each batch
    with torch.inference_mode():
        for images, label_map in batches:
            label_map = label_map.to(device, non_blocking=True).long()
            with machine.autocast():
                logits = model(images.to(device, non_blocking=True))
            truth, size = label_map, (label_map.shape[1], label_map.shape[2])
            if labels_at and logits.shape[2:] != size:
                smaller = interpolate(label_map[:, None].float(), logits.shape[2:], mode=NEAREST)
                truth = smaller[:, 0].long()
                labels = torch.stack([labels_at(scores, size) for scores in logits.float()])
            else:
                labels = logits.argmax(dim=1)
            values = torch.stack([loss(logits, truth) for loss in losses.values()])
            found.append((values, (label_map != ignore_index).sum()))
            confusion.update(label_map, labels)
    model.train(was_training)
    sums = torch.zeros(len(losses), dtype=torch.float64)
    for values, pixels in found:
        sums += values.cpu().double() * pixels.cpu()
    return Evaluation(dict(zip(losses, sums.tolist(), strict=True)), confusion.counts)


@dataclass(frozen=True)
class ImageScores:
    """What was counted in many images.

    Attributes:
        counts: (C, C) int64 of all images, counts[true, predicted].
        pixels: of all images that could be scored, ignored ones too.
        rows: for each of these "file", and what ``image_row`` gives.
        not_scored: for each other one "file" and "reason".
    """

    counts: Tensor
    pixels: int
    rows: list[dict[str, Any]]
    not_scored: list[dict[str, str]]


def score_images(
    images: Mapping[str, Read], names: Sequence[str], ignore_index: int
) -> ImageScores:
    """Count the pixels of many images; those that cannot be read are named and left out.

    Args:
        images: name of an image -> what reads it; may raise ValueError or OSError.
        names: of the C labels.
        ignore_index: the value in the truth that does not count.
    """

    def counts_of(read: Read) -> tuple[Tensor, int] | str:
        try:
            truth, prediction = (torch.from_numpy(each) for each in read())
            return confusion_matrix(truth, prediction, len(names), ignore_index), truth.numel()
        except (ValueError, OSError) as error:
            return str(error)

    counts, pixels = torch.zeros(len(names), len(names), dtype=torch.int64), 0
    rows, not_scored = [], []
    with ThreadPoolExecutor(available_cores()) as pool:
        for name, counted in zip(images, pool.map(counts_of, images.values()), strict=True):
            if isinstance(counted, str):
                not_scored.append({"file": name, "reason": counted})
                logger.warning("not scored: %s", counted)
                continue
            counts += counted[0]
            pixels += counted[1]
            rows.append({"file": name, **image_row(counted[0], names)})
    return ImageScores(counts, pixels, rows, not_scored)


def write_scores(
    folder: Path, scored: ImageScores, about: dict[str, Any], names: Sequence[str], background: bool
) -> str:
    """Write scores.csv (an image a row, the worst first), scores.json and confusion.png.

    scores.json begins with ``about``. Gives the table of labels, whose ``names`` these are.
    """
    rows = sorted(
        scored.rows, key=lambda row: (row["mean_iou"] is None, row["mean_iou"], row["file"])
    )
    write_csv(folder / "scores.csv", rows)
    report = {
        **about,
        "ignored_share": 1 - int(scored.counts.sum()) / max(1, scored.pixels),
        "not_scored": scored.not_scored,
        **report_dict(scored.counts, names, background=background),
    }
    write_json(folder / "scores.json", report)
    counts, title = scored.counts.tolist(), f"{len(rows)} images"
    save_picture(folder / "confusion.png", lambda: draw_confusion(counts, names, title))
    return score_table(scored.counts, names, background=background)
