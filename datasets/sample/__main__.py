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
from collections.abc import Sequence
from pathlib import Path

from datasets.sample.dataset import _annotations_file, _is_ours, draw_split
from runtime.workers import available_cores

logger = logging.getLogger("datasets.sample")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.sample",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="gets the layout of COCO")
    parser.add_argument("--train_images", type=int, default=320, help="default: %(default)s")
    parser.add_argument("--val_images", type=int, default=80, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of all chance; default: %(default)s")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    splits = {"train2017": args.train_images, "val2017": args.val_images}
    if min(splits.values()) < 1 or args.seed < 0:
        parser.error("--train_images and --val_images must be 1 or more, --seed 0 or more")
    if args.output_dir.exists() and not args.output_dir.is_dir():
        parser.error(f"--output_dir {args.output_dir} is a file")
    for name in splits:
        path = _annotations_file(args.output_dir, name)
        if path.exists() and not _is_ours(path):
            parser.error(f"{path} is of another data set; choose another --output_dir")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for split, (name, images) in enumerate(splits.items()):
        path = draw_split(args.output_dir, split, name, images, args.seed, available_cores())
        logger.info("%d images drawn, annotated in %s", images, path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
