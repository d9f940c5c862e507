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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from datasets.sample_figures import FIGURES, TREE
from datasets.sample_scene import Points, Thing, draw_scene
from runtime.files import replacing, write_text
from runtime.workers import available_cores, ordered_map

logger = logging.getLogger(__name__)

DESCRIPTION = "coco-unet sample"  # marks our annotation files, so that no other is overwritten
COMPRESSED_SHARE = 0.2  # of the objects inside the image that are compressed RLE all the same


def annotate(
    random: np.random.Generator, things: Sequence[Thing], height: int, width: int
) -> list[dict[str, Any]]:
    """COCO's annotations of a scene, by ascending category, without ids.

    As in COCO, an outline ignores what hides it, so that regions overlap.
    """
    found = [
        _annotation(
            thing.figure.id,
            thing.outline,
            (height, width),
            compressed=random.uniform() < COMPRESSED_SHARE,
        )
        for thing in things
        if not thing.in_crowd
    ]
    crowd = [thing for thing in things if thing.in_crowd]
    if crowd:
        polygons = [polygon for thing in crowd for polygon in thing.outline]
        found.append(_annotation(crowd[0].figure.id, polygons, (height, width), is_crowd=True))
    visible = [annotation for annotation in found if annotation["area"] > 0]
    return sorted(visible, key=lambda annotation: annotation["category_id"])


def _annotation(
    category: int,
    outline: Sequence[Points],
    size: tuple[int, int],
    *,
    compressed: bool = False,
    is_crowd: bool = False,
) -> dict[str, Any]:
    polygons = [polygon.ravel().tolist() for polygon in outline]
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    points = np.concatenate(outline)
    inside = bool((points >= 0).all() and (points <= size[::-1]).all())
    segmentation: Any = polygons
    if is_crowd:
        segmentation = {"size": list(size), "counts": run_lengths(coco_mask.decode(rle))}
    elif compressed or not inside:  # so that no polygon leaves its image
        segmentation = {"size": list(size), "counts": rle["counts"].decode()}
    return {
        "category_id": category,
        "iscrowd": int(is_crowd),
        "area": float(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "segmentation": segmentation,
    }


def run_lengths(region: npt.NDArray[np.uint8]) -> list[int]:
    """COCO's uncompressed counts: runs of equal pixels down the columns, background first."""
    pixels = region.T.ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=0))
    return [int(run) for run in np.diff(edges, prepend=0, append=pixels.size)]


def draw_split(
    output_dir: Path, split: int, name: str, images: int, seed: int, workers: int
) -> Path:
    """Draw one split: its images, then its annotation file, which is written last.

    Args:
        output_dir: gets ``name``/*.jpg and annotations/instances_``name``.json.
        split: number of the split; another number draws other images.
        name: of the split, as "train2017".
        images: how many.
        seed: the same seed draws the same bytes.
        workers: processes that draw.

    Returns:
        The path of the annotation file.
    """
    (output_dir / name).mkdir(parents=True, exist_ok=True)
    (output_dir / "annotations").mkdir(exist_ok=True)
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
    draw = partial(_draw_image, output_dir / name, split, seed)
    for image, found in ordered_map(draw, range(images), workers):
        data["images"].append(image)
        for annotation in found:
            id = split * 10_000_000 + len(data["annotations"]) + 1
            data["annotations"].append({"id": id, "image_id": image["id"], **annotation})
    path = _annotations_file(output_dir, name)
    write_text(path, json.dumps(data) + "\n")
    return path


def _annotations_file(output_dir: Path, name: str) -> Path:
    return output_dir / "annotations" / f"instances_{name}.json"


def _draw_image(
    folder: Path, split: int, seed: int, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    random = np.random.default_rng([seed, split, index])
    pixels, things = draw_scene(random, index)
    height, width, _ = pixels.shape
    id = split * 1_000_000 + index + 1
    file_name = f"{id:012d}.jpg"
    with replacing(folder / file_name) as temporary:
        Image.fromarray(pixels).save(temporary, quality=90)
    image = {"id": id, "file_name": file_name, "height": height, "width": width}
    return image, annotate(random, things, height, width)


def _is_ours(annotations_file: Path) -> bool:
    """The description stands at the start, so that a file of any size is told quickly."""
    with annotations_file.open(encoding="utf-8", errors="replace") as file:
        return DESCRIPTION in file.read(200)


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
