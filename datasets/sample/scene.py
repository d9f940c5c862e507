"""Scenes of the sample: figures before a backdrop that hide each other, and their annotations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from datasets.label_sets import GROUPS
from datasets.mask_files import Color
from runtime.files import replacing

SCALE = 2  # objects are drawn this much larger and reduced: smooth edges
EMPTY_EVERY, CROWD_EVERY = 20, 8  # images
CROWDS = ("person", "zebra", "apple", "skis")
COMPRESSED_SHARE = 0.2  # of the objects inside the image that are compressed RLE all the same

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]  # (points, 2): x, y


@dataclass(frozen=True)
class Figure:
    """How one category is drawn: a row of scene.json.

    A category is told from the others by shape and texture as much as by colour: cars, apples and
    stop signs may all be red. Shapes are in a unit square, x to the right and y down: points, or
    {"oval": [x, y, half its width, half its height, points]}; few make a regular polygon.
    """

    id: int  # COCO's, as name and supercategory are
    name: str
    supercategory: str
    size: tuple[float, float]  # smallest and largest height, as a share of the image's
    aspect: float  # width / height
    colors: Sequence[Color]  # of the body; an object has one of them, a little varied
    outline: Sequence[Any]  # what is annotated: the union of these shapes, in the body's colour
    details: Sequence[tuple[Color, Any]]  # shapes over the body, cut off at the outline
    texture: str = "plain"  # or "grain", "leaves", "stripes", over the body only
    in_sky: bool = False  # above the horizon, instead of standing on the ground
    tilt: float = 4.0  # largest rotation, degrees


_DATA = json.loads(Path(__file__).with_suffix(".json").read_bytes())
# Of each, sky or wall, top and bottom; ground or floor, top and bottom.
BACKDROPS = np.array([*_DATA["backdrops"].values()], float)
# The grouping does not know trees: whoever follows it takes them for background.
TREE, *FIGURES = (Figure(**row) for row in _DATA["figures"])


@dataclass(frozen=True)
class _Thing:
    """A figure in a scene, in pixels: the polygons whose union it is, and those drawn over it."""

    figure: Figure
    color: npt.NDArray[np.int64]
    outline: list[Points]
    details: list[tuple[tuple[int, ...], Points]]


def draw_image(
    folder: Path, first: int, seed: Sequence[int], index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw a picture into a split's folder.

    Args:
        folder: of the split.
        first: the id of the split's first picture.
        seed: of the split.
        index: of the picture in the split: some are to be empty, some to have a crowd.

    Returns:
        COCO's entry of the picture, and its annotations by ascending category, without ids. As in
        COCO, an outline ignores what hides it, so that regions overlap.
    """
    random = np.random.default_rng([*seed, index])
    height, width = int(random.integers(144, 193)), int(random.integers(192, 257))
    place = height, width, random.uniform(0.3, 0.55)
    image = _backdrop(random, *place)
    things, crowd = [], []
    if index % EMPTY_EVERY != EMPTY_EVERY // 2:
        things = [_somewhere(random, figure, *place) for figure in _cast(random)]
        crowd = _crowd(random, *place) if index % CROWD_EVERY == 1 else []
    # What wins where labels overlap is in front, or the labels could not be learned. Of equal
    # priorities the later annotation wins, and those come by ascending category.
    ranks = {c: label.priority for label in GROUPS.labels for c in label.categories}
    for thing in sorted(
        things + crowd, key=lambda t: (ranks.get(t.figure.name) or 0.0, t.figure.id)
    ):
        _draw(random, image, thing)
    noise = random.normal(0, 5, (height, width, 1))
    pixels = np.clip(np.asarray(image.reduce(SCALE)) + noise, 0, 255).astype(np.uint8)
    name = f"{first + index:012d}.jpg"
    entry = {"id": first + index, "file_name": name, "height": height, "width": width}
    with replacing(folder / name) as temporary:
        Image.fromarray(pixels).save(temporary, "JPEG", quality=90)
    kinds = ["compressed" if random.uniform() < COMPRESSED_SHARE else "polygons" for _ in things]
    rows = [(t.figure.id, t.outline, kind) for t, kind in zip(things, kinds, strict=True)]
    if crowd:
        outline = [polygon for thing in crowd for polygon in thing.outline]
        rows.append((crowd[0].figure.id, outline, "crowd"))
    found = [annotation_of(*row, (height, width)) for row in rows]
    visible = sorted((one for one in found if one["area"] > 0), key=lambda one: one["category_id"])
    return entry, visible


def annotation_of(
    category: int, outline: Sequence[Points], kind: str, size: tuple[int, int]
) -> dict[str, Any]:
    """COCO's annotation of polygons in an image of ``size``, (height, width).

    A "crowd" has run lengths; "compressed" and what leaves the image those of pycocotools.
    """
    polygons = [polygon.ravel().tolist() for polygon in outline]
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    points = np.concatenate(outline)
    segmentation: Any = polygons
    if kind == "crowd":
        segmentation = {"size": list(size), "counts": run_lengths(coco_mask.decode(rle))}
    elif kind == "compressed" or (points < 0).any() or (points > size[::-1]).any():
        segmentation = {"size": list(size), "counts": rle["counts"].decode()}
    return {
        "category_id": category,
        "iscrowd": int(kind == "crowd"),
        "area": float(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "segmentation": segmentation,
    }


def run_lengths(region: Pixels) -> list[int]:
    """COCO's uncompressed counts: runs of equal pixels down the columns, background first."""
    pixels = region.T.ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=0))
    return [int(run) for run in np.diff(edges, prepend=0, append=pixels.size)]


def _backdrop(random: np.random.Generator, height: int, width: int, horizon: float) -> Image.Image:
    """Two gradients with soft patches, SCALE times the size; the horizon is 0..1 down."""
    colors = BACKDROPS[random.integers(len(BACKDROPS))] + random.normal(0, 10, 3)
    rows, stops = (np.arange(height) + 0.5) / height, (0, horizon, horizon, 1)
    gradient = np.stack([np.interp(rows, stops, channel) for channel in colors.T], axis=1)  # H, 3
    patches = Image.fromarray(random.uniform(-22, 22, (9, 12)).astype(np.float32))
    smooth = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))
    pixels = np.clip(gradient[:, None] + smooth[:, :, None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width * SCALE, height * SCALE))


def _cast(random: np.random.Generator) -> list[Figure]:
    """Trees, and figures of evenly drawn groups, so that no label is rare."""
    cast = [TREE] * int(random.integers(0, 3))
    for group in random.choice(len(GROUPS) - 1, int(random.integers(3, 7))):
        figures = [f for f in FIGURES if f.name in GROUPS.labels[1 + group].categories]
        cast.append(figures[random.integers(len(figures))])
    return cast


def _somewhere(
    random: np.random.Generator, figure: Figure, height: int, width: int, horizon: float
) -> _Thing:
    """A figure where it belongs, larger the nearer it stands; it may be cut off at the sides."""
    near = random.uniform()
    low, high = figure.size
    tall = (low + (high - low) * near) * height
    bottom = (horizon + 0.08 + (0.97 - horizon) * near) * height
    if figure.in_sky:
        bottom = random.uniform(tall, max(tall, (horizon + 0.15) * height))
    left = random.uniform(-0.2 * tall, width - 0.8 * tall * figure.aspect)
    return _placed(random, figure, tall, (left, bottom))


def _crowd(random: np.random.Generator, height: int, width: int, horizon: float) -> list[_Thing]:
    """Small figures of one kind, close together."""
    kinds = [figure for figure in FIGURES if figure.name in CROWDS]
    figure = kinds[random.integers(len(kinds))]
    tall = figure.size[0] * 0.75 * height
    start = random.uniform(0.1, 0.5) * width
    ground = random.uniform(horizon + 0.1, 0.95) * height
    things = []
    for number in range(int(random.integers(4, 8))):
        left = start + number * tall * figure.aspect * 0.7
        bottom = ground + random.uniform(-0.08, 0.08) * height
        things.append(_placed(random, figure, tall, (left, bottom)))
    return things


def _placed(
    random: np.random.Generator, figure: Figure, tall: float, corner: tuple[float, float]
) -> _Thing:
    """The figure at its left bottom corner, in a colour of its own, mirrored or not, turned."""
    size = np.array([tall * figure.aspect, tall])
    centre = np.array(corner) + size * (0.5, -0.5)
    mirror = np.array([random.choice([-1, 1]), 1])
    angle = np.deg2rad(random.uniform(-figure.tilt, figure.tilt))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def moved(shape: Any) -> Points:
        if isinstance(shape, dict):
            x, y, across, down, number = (*shape["oval"], 24)[:5]
            turns = 2 * np.pi * (np.arange(number) + 0.5) / number
            shape = np.stack([x + across * np.cos(turns), y + down * np.sin(turns)], axis=1)
        points = (np.array(shape) - 0.5) * mirror * size
        return np.asarray(np.round(points @ turn + centre, 2))

    color = np.array(figure.colors)[random.integers(len(figure.colors))] + random.normal(0, 10, 3)
    details = [(tuple(paint), moved(shape)) for paint, shape in figure.details]
    outline = [moved(shape) for shape in figure.outline]
    return _Thing(figure, np.clip(color, 0, 255).astype(int), outline, details)


def _draw(random: np.random.Generator, image: Image.Image, thing: _Thing) -> None:
    """Paint the body with its texture and details, lit from one side, inside the outline."""
    points = np.concatenate(thing.outline) * SCALE
    corner = np.floor(points.min(axis=0)).astype(int)
    width, height = (np.ceil(points.max(axis=0)).astype(int) - corner + 1).tolist()
    shape = Image.new("L", (width, height))
    stencil = ImageDraw.Draw(shape)
    for polygon in thing.outline:
        stencil.polygon((polygon * SCALE - corner).ravel().tolist(), fill=255)
    rows, columns = np.mgrid[:height, :width] / height * 2 * np.pi
    dark, darkness = {
        "plain": (np.zeros((height, width), bool), 1.0),
        "grain": (np.sin(rows * 9 + np.sin(columns)) > 0.4, 0.85),
        "leaves": (np.sin(columns * 6) * np.sin(rows * 6) > 0.1, 0.75),
        "stripes": (np.sin(columns * 7 + rows) > 0.1, 0.15),
    }[thing.figure.texture]
    colors = thing.color * np.where(dark, darkness, 1.0)[:, :, None]
    body = Image.fromarray(colors.astype(np.uint8))
    brush = ImageDraw.Draw(body)
    for color, polygon in thing.details:
        brush.polygon((polygon * SCALE - corner).ravel().tolist(), fill=color)
    light = 1 + 0.22 * random.choice([-1, 1]) * np.linspace(-1, 1, width)
    lit = np.clip(np.asarray(body) * light[None, :, None], 0, 255).astype(np.uint8)
    left, top = corner.tolist()
    image.paste(Image.fromarray(lit), (left, top), shape)
