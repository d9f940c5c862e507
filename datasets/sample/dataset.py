"""The sample on disk: images and COCO annotation files, drawn by a seed, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from datasets.sample.figures import FIGURES, TREE
from datasets.sample.scene import Points, Thing, draw_scene
from runtime.files import replacing, write_text
from runtime.workers import ordered_map

DESCRIPTION = "coco-unet sample"  # marks our annotation files, so that no other is overwritten
UNFINISHED = ".unfinished-sample"  # in a folder whose images have no annotation file yet
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
    mark = output_dir / name / UNFINISHED
    mark.touch()
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
    mark.unlink()
    return path


def check_folder(output_dir: Path, split: int, name: str) -> None:
    """Refuse to draw where somebody else's files are.

    Raises:
        ValueError: there are such files; names one.
    """
    path, folder = _annotations_file(output_dir, name), output_dir / name
    if path.exists() and not _is_ours(path):
        raise ValueError(f"{path} is of another data set; choose another --output_dir")
    ours = path.exists() or (folder / UNFINISHED).exists()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for other in found:
        if other.name[0] != "." and not (ours and _number(other.name, split) is not None):
            raise ValueError(
                f"{other} was not drawn by this command, and files beside it would be taken for "
                "one data set; choose another --output_dir"
            )


def remaining(folder: Path, split: int, images: int) -> list[str]:
    """The images in a split's folder beyond the first ``images``, which a larger sample left."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if (n := _number(name, split)) is not None and n >= images]


def _name(split: int, index: int) -> str:
    return f"{_first(split) + index:012d}.jpg"


def _number(name: str, split: int) -> int | None:
    """The inverse of ``_name``; None if it is no such name."""
    stem = name.removesuffix(".jpg")
    index = int(stem) - _first(split) if stem.isdecimal() else -1
    return index if index >= 0 and _name(split, index) == name else None


def _first(split: int) -> int:
    """The id of a split's first image."""
    return split * 1_000_000 + 1


def _annotations_file(output_dir: Path, name: str) -> Path:
    return output_dir / "annotations" / f"instances_{name}.json"


def _draw_image(
    folder: Path, split: int, seed: int, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    random = np.random.default_rng([seed, split, index])
    pixels, things = draw_scene(random, index)
    height, width, _ = pixels.shape
    id, file_name = _first(split) + index, _name(split, index)
    with replacing(folder / file_name) as temporary:
        Image.fromarray(pixels).save(temporary, "JPEG", quality=90)
    image = {"id": id, "file_name": file_name, "height": height, "width": width}
    return image, annotate(random, things, height, width)


def _is_ours(annotations_file: Path) -> bool:
    """The description stands at the start, so that a file of any size is told quickly."""
    with annotations_file.open(encoding="utf-8", errors="replace") as file:
        return DESCRIPTION in file.read(200)
