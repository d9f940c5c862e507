"""What training does before its first step, beside the seed's way, in one run.

    python tests/benchmarks/startup.py COCO_DIR [--pairs 5000] [--workers N]

The seed's way is two passes through the full dataset, one for the labels that occur and one for
the weights of the images: decode image and mask, resize both to 256x256, make tensors, look for
the values. This project's is pairing by name, the check of all files and the label counts; warm
means that nothing has changed since. COCO_DIR is a folder in COCO's layout; its train images are
linked, and their masks copied, under new names until there are enough pairs. Each way is timed
without loading Python and PyTorch, and finds all files in the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SIZE = 256


class PlainDataset:
    """Images and masks as one would read them first: Pillow, resized, as float and long."""

    def __init__(self, images_dir: Path, masks_dir: Path) -> None:
        self.images_dir, self.masks_dir = images_dir, masks_dir
        self.names = sorted(path.name for path in images_dir.iterdir())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch  # not for worker processes

        path = self.images_dir / self.names[index]
        image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        mask = Image.open((self.masks_dir / path.name).with_suffix(".png"))
        mask = mask.resize((SIZE, SIZE), Image.Resampling.NEAREST)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255
        return pixels, torch.from_numpy(np.array(mask)).long()


def two_passes(images_dir: Path, masks_dir: Path) -> np.ndarray:
    """The labels that occur, and then the weight of each image from those it has."""
    from datasets.training.batches import sample_weights

    dataset = PlainDataset(images_dir, masks_dir)
    labels: set[int] = set()
    for _, mask in (dataset[index] for index in range(len(dataset))):
        labels.update(np.unique(mask).tolist())
    column = {label: number for number, label in enumerate(sorted(labels))}
    present = np.zeros((len(dataset), len(labels)), np.int64)
    for index, (_, mask) in enumerate(dataset[index] for index in range(len(dataset))):
        for label in np.unique(mask).tolist():
            present[index, column[label]] = 1
    return sample_weights(present)


def check(images_dir: Path, masks_dir: Path, workers: int) -> np.ndarray:
    """Pairs, their check, label counts, and the weight of each image."""
    from datasets.mask_checks import check_pairs
    from datasets.pairs import pair_images_and_masks
    from datasets.training.batches import sample_weights

    checked = check_pairs(pair_images_and_masks(images_dir, masks_dir), None, workers)
    return sample_weights(checked.label_counts)


def make_pairs(coco_dir: Path, folder: Path, count: int, *, plain: bool) -> tuple[Path, Path]:
    """``count`` pairs under new names; ``plain`` saves the masks as other tools do."""
    import generate_masks

    made, images_dir = folder / "made", coco_dir / "train2017"
    if not made.exists():
        arguments = ["--images_dir", images_dir, "--output_dir", made, "--annotations_file"]
        arguments += [coco_dir / "annotations" / "instances_train2017.json"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            generate_masks.main([str(argument) for argument in arguments])
        logging.getLogger().setLevel(logging.WARNING)
    masks = sorted(made.glob("*.png"))
    images_to, masks_to = folder / f"images_{plain}", folder / f"masks_{plain}"
    images_to.mkdir(), masks_to.mkdir()
    for number in range(count):
        source = masks[number % len(masks)]
        (images_to / f"{number:012}.jpg").symlink_to(
            (images_dir / source.name).with_suffix(".jpg").absolute()
        )
        target = masks_to / f"{number:012}.png"
        if plain and number < len(masks):
            Image.fromarray(np.array(Image.open(source))).save(target)
        else:
            shutil.copyfile(
                masks_to / f"{number % len(masks):012}.png" if plain else source, target
            )
    return images_to, masks_to


def seconds_of(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(coco_dir: Path, count: int, workers: int) -> None:
    import torch

    from datasets.inspection import CACHE_NAME

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = make_pairs(coco_dir, folder, count, plain=False)
        foreign = make_pairs(coco_dir, folder, count, plain=True)
        print(f"{count} pairs, {workers} workers, {torch.get_num_threads()} threads")
        seed = seconds_of(two_passes, *own)
        report("two passes through the full dataset", seed, seed)
        for title, folders in (("generate_masks.py", own), ("other tools", foreign)):
            cold = seconds_of(check, *folders, workers)
            report(f"check, first time, masks of {title}", cold, seed)
            assert (folders[1] / CACHE_NAME).exists()
            warm = min(seconds_of(check, *folders, workers) for _ in range(3))
            report(f"check, nothing changed, masks of {title}", warm, seed)


def report(title: str, seconds: float, seed: float) -> None:
    print(f"{title:<48}{seconds:9.3f} s{seed / seconds:9.1f} x", flush=True)


def main() -> None:
    from runtime.workers import available_cores

    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("coco_dir", type=Path)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=min(8, available_cores()))
    args = parser.parse_args()
    compare(args.coco_dir, args.pairs, args.workers)


if __name__ == "__main__":
    main()
