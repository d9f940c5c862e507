"""What the sample's objects look like: figures.json, outlines in a unit square and colours.

Points are (x, y), x to the right and y down, 0..1 over the object's box. A polygon is a list of
points, or the name of a shape below and its arguments. A category is told from the others by shape
and texture as much as by colour: cars, apples and stop signs may all be red.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Color = tuple[int, int, int]
Polygon = tuple[tuple[float, float], ...]


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def oval(x: float, y: float, across: float, down: float, points: int = 24) -> Polygon:
    """An ellipse by its centre and half-axes; few points make it a regular polygon."""
    turns = [2 * math.pi * (i + 0.5) / points for i in range(points)]
    return tuple((x + across * math.cos(t), y + down * math.sin(t)) for t in turns)


def bow(
    outer: tuple[float, float], inner: tuple[float, float], start: float, end: float
) -> Polygon:
    """A bow: half-axes of both edges around (0.5, 0), from ``start`` to ``end`` in turns."""
    turns = [2 * math.pi * (start + (end - start) * i / 12) for i in range(13)]
    edge = [(0.5 + outer[0] * math.cos(t), outer[1] * math.sin(t)) for t in turns]
    back = [(0.5 + inner[0] * math.cos(t), inner[1] * math.sin(t)) for t in reversed(turns)]
    return (*edge, *back)


@dataclass(frozen=True)
class Figure:
    """How one category is drawn.

    Attributes:
        id: COCO's category id.
        name: COCO's category name.
        supercategory: COCO's.
        size: (smallest, largest) height as a share of the image's.
        aspect: width / height.
        colors: of the body; an object has one of them, a little varied.
        outline: what is annotated: the union of these polygons, all in the body's colour.
        details: (colour, polygon) drawn over the body, cut off at the outline.
        texture: "plain", "grain", "leaves" or "stripes", over the body only.
        in_sky: above the horizon, instead of standing on the ground.
        tilt: largest rotation, degrees.
    """

    id: int
    name: str
    supercategory: str
    size: tuple[float, float]
    aspect: float
    colors: tuple[Color, ...]
    outline: tuple[Polygon, ...]
    details: tuple[tuple[Color, Polygon], ...] = ()
    texture: str = "plain"
    in_sky: bool = False
    tilt: float = 4.0


SHAPES: dict[str, Callable[..., Polygon]] = {"box": box, "oval": oval, "bow": bow}


def _polygon(value: Any) -> Polygon:
    if isinstance(value, dict):
        ((shape, arguments),) = value.items()
        return SHAPES[shape](*arguments)
    return tuple((x, y) for x, y in value)


def _figure(row: dict[str, Any]) -> Figure:
    return Figure(
        **{
            **row,
            "outline": tuple(map(_polygon, row["outline"])),
            "details": tuple((tuple(color), _polygon(shape)) for color, shape in row["details"]),
        }
    )


# The grouping does not know trees: whoever follows it takes them for background.
TREE, *FIGURES = map(_figure, json.loads(Path(__file__).with_suffix(".json").read_bytes()))
