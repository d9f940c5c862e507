"""The numbers of an epoch, and what those of all epochs say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metrics.evaluation import Evaluation
from metrics.scores import numbers, scores_of_labels

GAP_EPOCHS = 3  # since the lowest validation loss, before a rise is more than chance
GAP_RISE = 1.05  # times the lowest validation loss
SLOW_DATA = 0.15  # share of the time spent waiting for images that is worth a remark


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
        epoch: counted from 1.
        lr: learning rate at its start.
        speed: images per second, and the share of time spent waiting for them.
        train_loss: mean over its steps, of augmented images and changing weights.
        train: of training images as they are, by the weights at its end.
        val: of the validation images. Both with "loss", that of
            training, and "cross_entropy".
        names: of the labels.
        background: whether label 0 is the background.
    """
    of_train = numbers(train.counts, background=background)
    of_val = numbers(val.counts, background=background)
    return {
        "epoch": epoch,
        "lr": lr,
        "images_per_second": speed[0],
        "data_wait": speed[1],
        "loss/train": train_loss,
        "loss/val": val.losses["loss"],
        "cross_entropy/train": train.losses["cross_entropy"],
        "cross_entropy/val": val.losses["cross_entropy"],
        **{f"train/{name}": value for name, value in of_train.items()},
        **{f"val/{name}": value for name, value in of_val.items()},
        **{
            f"val_{score}/{name}": value
            for score, per_label in scores_of_labels(val.counts).items()
            for name, value in zip(names, per_label.tolist(), strict=True)
        },
    }


def epoch_lines(row: Mapping[str, float], epochs: int, is_best: bool) -> list[str]:
    """An epoch as two lines for people: its scores, and what it waited for."""
    wait = row["data_wait"]
    cure = ": raise --workers, or keep resized images by --cache disk" if wait > SLOW_DATA else ""
    return [
        f"epoch {row['epoch']}/{epochs}  loss {row['loss/train']:.4f}, "
        f"validation {row['loss/val']:.4f}  "
        f"mIoU {row['val/mean_iou']:.1%} (training images {row['train/mean_iou']:.1%})  "
        f"accuracy {row['val/pixel_accuracy']:.1%}{'  (best)' if is_best else ''}",
        f"    {row['images_per_second']:.1f} images/s; {wait:.0%} of the time waiting for data, "
        f"{1 - wait:.0%} for the device{cure}",
    ]


def overfitting_remark(rows: Sequence[Mapping[str, float]]) -> str | None:
    """A line for the first epoch that shows overfitting, given all rows up to now; else None.

    Overfitting: cross-entropy on the validation images lies 5 % above its lowest, which is three
    epochs or more ago, and on the training images it has fallen since.
    """
    lowest: Mapping[str, float] = {}
    for row in rows:
        train, val = (float(row[f"cross_entropy/{split}"]) for split in ("train", "val"))
        if not lowest or val < float(lowest["cross_entropy/val"]):
            lowest = row
        before = float(lowest["cross_entropy/val"])
        if (
            int(row["epoch"]) - int(lowest["epoch"]) >= GAP_EPOCHS
            and val > GAP_RISE * before
            and train < float(lowest["cross_entropy/train"])
        ):
            if row is not rows[-1]:
                return None  # said before
            return (
                f"    overfitting: since epoch {lowest['epoch']} cross-entropy on the validation "
                f"images rises ({before:.3f} -> {val:.3f}) and on the training images falls; more "
                "images, --augment strong, --dropout or --weight_decay help, --early_stop ends it"
            )
    return None
