"""Draw a small data set in COCO's format, to try everything without a download.

    python -m datasets.sample --output_dir coco_sample
    python -m datasets.sample --output_dir coco_sample --train_images 1000 --seed 7

It has what COCO has: objects of several groups that hide each other, polygons of one and of
several parts, both run-length encodings, crowds, an image without annotations in every twenty,
and a category that no group knows. The same seed draws the same bytes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from datasets.sample.dataset import check_folder, draw_split, remaining
from runtime.command_line import CommandParser, at_least, run_command
from runtime.workers import available_cores

logger = logging.getLogger("datasets.sample")


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
    for split, name in enumerate(splits):
        check_folder(output_dir, split, name)
    for split, (name, images) in enumerate(splits.items()):
        path = draw_split(output_dir, split, name, images, seed, available_cores())
        logger.info("%d images drawn, annotated in %s", images, path)
        if left := remaining(output_dir / name, split, images):
            logger.warning(
                "%s holds %d more images, left of an earlier, larger sample: %s to %s",
                *(output_dir / name, len(left), left[0], left[-1]),
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
