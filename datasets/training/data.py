"""The two folders of images and the two of masks that a training run is given. Needs no torch."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.label_mapping import LabelMapping, mapping_of_folder
from datasets.label_sets import read_description
from datasets.labels import LabelSet
from datasets.mask_checks import check_pairs
from datasets.pairs import Pairs, pair_images_and_masks, split_pairs
from runtime.command_line import at_least, part, told_by

FOLDERS = {  # by flag, what each is called in --data_dir
    "train_images": "train2017",
    "train_masks": "masks_train",
    "val_images": "val2017",
    "val_masks": "masks_val",
}


def add_data_flags(parser: argparse._ArgumentGroup) -> None:
    """The flags that say what to train on."""
    add = parser.add_argument
    folder: dict[str, Any] = {"type": Path, "metavar": "DIR"}
    add("--data_dir", **folder, help="folder with train2017, val2017, masks_train, masks_val")
    for flag, name in FOLDERS.items():
        add(f"--{flag}", **folder, help=f"instead of DATA_DIR/{name}")
    text = "validate on this share of the training images, 0..1, chosen by name"
    add("--val_fraction", type=part, metavar="SHARE", help=text)
    text = "what the pixel values of the masks mean, if no file beside them says so: JSON or text"
    add("--label_set", type=told_by(read_description), metavar="FILE", help=text)
    add("--trust_values", action="store_true", help="learn values that look smeared, all the same")
    for split in ("train", "val"):
        text = "only the first N by name"
        add(f"--max_{split}_images", type=at_least(1), metavar="N", help=text)


def fill_folders(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Set the four folders, from DATA_DIR where they are not given; absolute, for args.json."""
    for flag, name in FOLDERS.items():
        folder, is_val = getattr(args, flag), flag.startswith("val")
        if args.val_fraction and is_val:
            if folder:
                parser.error(f"--{flag} and --val_fraction: two sources; give one of them")
            continue
        if args.eval_only and not args.val_fraction and not is_val:
            setattr(args, flag, None)  # only what is scored need be there
            continue
        if not folder and args.data_dir:
            folder = args.data_dir / name
        if not folder or not Path(folder).is_dir():
            hint = f"expected --data_dir, the folder of the data, or --{flag}"
            if is_val and not args.eval_only and not args.resume:
                hint += "; or --val_fraction 0.2, to validate on a share of the training images"
            wrong = f"{Path(folder).absolute()}: no such folder" if folder else f"no --{flag}"
            parser.error(f"{wrong}; {hint}")
        setattr(args, flag, Path(folder).absolute())


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and what it is scored by.

    Attributes:
        train, val: the pairs.
        mapping: what the pixel values of all masks mean.
        label_counts: (len(train.pairs), C) int32 pixels of each label.
    """

    train: Pairs
    val: Pairs
    mapping: LabelMapping
    label_counts: npt.NDArray[np.int32]

    @property
    def label_set(self) -> LabelSet:
        return self.mapping.label_set

    def digest(self) -> str:
        """A text that differs with relative paths of images, and labels of each training mask."""
        digest = hashlib.sha256(self.label_counts.astype(np.int64).tobytes())
        for split in (self.train, self.val):
            names = [image.relative_to(split.images_dir).as_posix() for image, _ in split.pairs]
            digest.update(repr(names).encode())
        sizes = f"{len(self.train.pairs)} + {len(self.val.pairs)}"
        return f"{sizes} images, {digest.hexdigest()[:16]}"


def find_data(
    train_images: Path | None,
    train_masks: Path | None,
    val_images: Path | None,
    val_masks: Path | None,
    *,
    val_fraction: float | None = None,
    max_train_images: int | None = None,
    max_val_images: int | None = None,
) -> tuple[Pairs | None, Pairs]:
    """Pair the files of both splits; looks at names, not at what the files hold.

    Args:
        train_images, train_masks: folders; None if nothing is to be trained.
        val_images, val_masks: folders; or ``val_fraction``, a share of the training pairs.
        max_train_images, max_val_images: only the first so many by name; None: all.

    Raises:
        ValueError: see ``pair_images_and_masks`` and ``split_pairs``.
    """
    train = val = None
    if train_images and train_masks:
        train = pair_images_and_masks(train_images, train_masks)
    if train and val_fraction:
        train, val = split_pairs(train, val_fraction)
    elif val_images and val_masks:
        val = pair_images_and_masks(val_images, val_masks)
    assert val, "the command's flags see to this"
    val = replace(val, pairs=val.pairs[:max_val_images])
    return train and replace(train, pairs=train.pairs[:max_train_images]), val


def check_data(
    found_train: Pairs,
    found_val: Pairs,
    workers: int,
    described: LabelSet | None = None,
    *,
    trust_values: bool = False,
) -> TrainingData:
    """Look at every file of both splits; says what is left out and why.

    Args:
        found_train, found_val: what ``find_data`` gave.
        workers: processes.
        described: what the masks mean, if a person says it.
        trust_values: see ``check_pairs``.

    Raises:
        ValueError: see ``check_pairs``; or the masks of the splits mean other labels.
    """
    given = LabelMapping.of_labels(described) if described else None
    checked = check_pairs(found_train, given, workers, trust_values=trust_values)
    mapping = checked.label_mapping
    own = None if described else mapping_of_folder(found_val.masks_dir)
    if own and own != mapping:
        theirs, ours = (", ".join(each.label_set.names) for each in (own, mapping))
        raise ValueError(
            f"{found_val.masks_dir} has the labels {theirs}, expected those that are trained: "
            f"{ours}; generate or describe the masks of both splits alike"
        )
    val = replace(found_val, pairs=check_pairs(found_val, mapping, workers).pairs)
    train = replace(found_train, pairs=checked.pairs)
    return TrainingData(train, val, mapping, checked.label_counts)


def label_table(
    counts: npt.NDArray[np.int32],
    names: Sequence[str],
    class_weights: npt.ArrayLike | None = None,
    sample_weights: npt.ArrayLike | None = None,
) -> str:
    """A line a label: its shares of pixels and of images, weight in the loss, share of draws.

    Args:
        counts: (N, C) pixels of each label in each mask.
        names: of the C labels.
        class_weights: (C,) weight of each label in the loss; None if all weigh the same.
        sample_weights: (N,) how often each image is drawn, of any sum; None if evenly.
    """
    present = counts > 0  # N, C
    draws = np.ones(len(counts)) if sample_weights is None else np.asarray(sample_weights, float)
    weights = np.ones(len(names)) if class_weights is None else np.asarray(class_weights, float)
    pixels = counts.sum(axis=0) / max(1, counts.sum())
    drawn = draws @ present / draws.sum()
    width = max(len(name) for name in (*names, "label"))
    lines = [f"{'label':<{width}}{'pixels':>9}{'images':>9}{'weight':>9}{'draws':>9}"]
    lines += [
        f"{name:<{width}}{pixel:>9.2%}{image:>9.1%}{weight:>9.2f}{draw:>9.1%}"
        for name, pixel, image, weight, draw in zip(
            names, pixels, present.mean(axis=0), weights, drawn, strict=True
        )
    ]
    absent = [name for name, pixel in zip(names, pixels, strict=True) if not pixel]
    if absent:
        lines.append(f"in no mask, so nothing can be learned of: {', '.join(absent)}")
    return "\n".join(lines)
