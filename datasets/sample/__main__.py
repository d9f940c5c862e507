"""Draw a small data set in COCO's format, to try everything without a download.

    python -m datasets.sample --output_dir coco_sample
    python -m datasets.sample --output_dir coco_sample --train_images 1000 --seed 7

It has what COCO has: objects of several groups that hide each other, polygons of one and of
several parts, both run-length encodings, crowds, an image without annotations in every twenty,
and a category that no group knows. The same seed draws the same bytes.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets.sample.scene import FIGURES, TREE, draw_image
from runtime.command_line import CommandParser, at_least, run_command
from runtime.files import write_text
from runtime.workers import available_cores, ordered_map

logger = logging.getLogger("datasets.sample")

DESCRIPTION = "coco-unet sample"  # marks our annotation files, so that no other is overwritten
UNFINISHED = ".unfinished-sample"  # in a folder of images that are ours, but not annotated yet


def build_parser() -> argparse.ArgumentParser:
    """The flags. Every default stands here and nowhere else."""
    parser = CommandParser("python -m datasets.sample", __doc__)
    add, one = parser.add_argument, at_least(1)
    add("--output_dir", type=Path, required=True, metavar="DIR", help="gets the layout of COCO")
    add("--train_images", type=one, default=320, metavar="N", help="images to train on")
    add("--val_images", type=one, default=80, metavar="N", help="images to validate on")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of all chance")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    splits = {"train2017": args.train_images, "val2017": args.val_images}
    if args.output_dir.exists() and not args.output_dir.is_dir():
        parser.error(f"--output_dir {args.output_dir} is a file")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(parser.prog, partial(draw, args.output_dir, splits, args.seed))


def draw(output_dir: Path, splits: Mapping[str, int], seed: int) -> int:
    """Draw the images of each split. Gives the exit code."""
    paths = [output_dir / "annotations" / f"instances_{name}.json" for name in splits]
    for path, name in zip(paths, splits, strict=True):
        _check_folder(path, output_dir / name)
    for split, (path, name) in enumerate(zip(paths, splits, strict=True)):
        last = draw_split(path, output_dir / name, split, splits[name], seed)
        logger.info("%d images drawn, annotated in %s", splits[name], path)
        if left := sorted(p.name for p in (output_dir / name).glob("*.jpg") if p.name > last):
            text = "%s holds %d more images, left of an earlier, larger sample: %s to %s"
            logger.warning(text, output_dir / name, len(left), left[0], left[-1])
    return 0


def _check_folder(path: Path, folder: Path) -> None:
    """Refuse to draw a split where somebody else's files are."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            if DESCRIPTION not in file.read(200):  # it stands at the start, as in files of any size
                raise ValueError(f"{path} is of another data set; choose another --output_dir")
        return
    if (folder / UNFINISHED).exists():
        return
    for other in sorted(folder.glob("[!.]*")):
        raise ValueError(
            f"{other} was not drawn by this command, and files beside it would be taken for one "
            "data set; choose another --output_dir"
        )


def draw_split(path: Path, folder: Path, split: int, images: int, seed: int) -> str:
    """Draw the images of a split, then its annotation file; gives the last image's name.

    Another number of the split draws other images; the same seed draws the same bytes.
    """
    for each in (path.parent, folder):
        each.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    data: dict[str, Any] = {
        "info": {"description": DESCRIPTION, "version": "1", "seed": seed},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [
            {"id": figure.id, "name": figure.name, "supercategory": figure.supercategory}
            for figure in sorted((*FIGURES, TREE), key=lambda figure: figure.id)
        ],
    }
    draw = partial(draw_image, folder, split * 1_000_000 + 1, [seed, split])
    for image, found in ordered_map(draw, range(images), available_cores()):
        data["images"].append(image)
        for annotation in found:
            id = split * 10_000_000 + len(data["annotations"]) + 1
            data["annotations"].append({"id": id, "image_id": image["id"], **annotation})
    write_text(path, json.dumps(data) + "\n")
    (folder / UNFINISHED).unlink()
    return str(data["images"][-1]["file_name"])


if __name__ == "__main__":
    raise SystemExit(main())
