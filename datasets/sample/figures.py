"""What the sample's objects look like: outlines in a unit square, colours and textures.

Points are (x, y), x to the right and y down, 0..1 over the object's box. A category is told from
the others by shape and texture as much as by colour: cars, apples and stop signs may all be red.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Color = tuple[int, int, int]
Polygon = tuple[tuple[float, float], ...]


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def oval(x: float, y: float, across: float, down: float, points: int = 24) -> Polygon:
    """An ellipse by its centre and half-axes; few points make it a regular polygon."""
    turns = [2 * math.pi * (i + 0.5) / points for i in range(points)]
    return tuple((x + across * math.cos(t), y + down * math.sin(t)) for t in turns)


def around(
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


BLACK, WHITE, GRAY, SKIN = (25, 25, 30), (240, 240, 240), (120, 125, 135), (235, 190, 155)

GLASS, WOOD, DARK_WOOD, STEEL = (170, 215, 235), (165, 110, 60), (115, 75, 40), (70, 75, 85)

RED, BLUE, YELLOW, GREEN = (205, 40, 40), (45, 80, 190), (245, 200, 40), (60, 160, 70)

# The grouping does not know this one: whoever follows it takes trees for background.
TREE = Figure(
    184, "tree", "plant", (0.4, 0.8), 0.7, ((60, 105, 55), (80, 120, 50), (45, 90, 65)),
    (oval(0.5, 0.33, 0.48, 0.32, 11), oval(0.3, 0.5, 0.28, 0.2, 9), box(0.43, 0.5, 0.57, 1)),
    (((80, 70, 65), box(0.43, 0.68, 0.57, 1)),), "leaves",
)  # fmt: skip

FIGURES = (
    Figure(
        1, "person", "person", (0.5, 0.85), 0.48, (BLUE, (225, 130, 50)),
        (
            oval(0.5, 0.12, 0.24, 0.12),
            ((0.26, 0.22), (0.74, 0.22), (1, 0.54), (0.82, 0.6), (0.76, 0.5), (0.8, 1), (0.52, 1),
             (0.5, 0.72), (0.48, 1), (0.2, 1), (0.24, 0.5), (0.18, 0.6), (0, 0.54)),
        ),
        ((SKIN, box(0, 0, 1, 0.235)), (DARK_WOOD, box(0, 0, 1, 0.06)), (STEEL, box(0, 0.58, 1, 1))),
    ),
    Figure(
        17, "cat", "animal", (0.3, 0.5), 1.2, ((225, 130, 50), (70, 60, 65)),
        (
            oval(0.45, 0.6, 0.36, 0.26), oval(0.8, 0.4, 0.2, 0.23),
            ((0.66, 0.4), (0.68, 0.08), (0.82, 0.25), (0.96, 0.08), (0.98, 0.4)),
            box(0.16, 0.6, 0.34, 1), box(0.58, 0.6, 0.76, 1),
            ((0.2, 0.6), (0.02, 0.25), (0.1, 0.18), (0.3, 0.5)),
        ),
        ((BLACK, oval(0.76, 0.37, 0.03, 0.05)), (BLACK, oval(0.88, 0.37, 0.03, 0.05)),
         ((240, 130, 140), oval(0.82, 0.48, 0.03, 0.03))),
    ),
    Figure(
        24, "zebra", "animal", (0.4, 0.7), 1.25, (WHITE,),
        (
            oval(0.42, 0.46, 0.38, 0.23),
            ((0.62, 0.5), (0.78, 0.08), (0.88, 0.02), (1, 0.24), (0.97, 0.3), (0.86, 0.26),
             (0.76, 0.55)),
            box(0.08, 0.5, 0.2, 1), box(0.24, 0.55, 0.36, 0.97), box(0.5, 0.55, 0.62, 0.97),
            box(0.65, 0.5, 0.77, 1),
        ),
        ((BLACK, oval(0.98, 0.27, 0.05, 0.05)),), "stripes",
    ),
    Figure(
        3, "car", "vehicle", (0.26, 0.45), 2.1, (RED, (230, 230, 225), (60, 130, 120)),
        (
            ((0, 0.8), (0.02, 0.5), (0.2, 0.42), (0.34, 0.08), (0.7, 0.08), (0.84, 0.42),
             (1, 0.52), (1, 0.8)),
            oval(0.22, 0.8, 0.1, 0.2), oval(0.78, 0.8, 0.1, 0.2),
        ),
        ((GLASS, ((0.26, 0.42), (0.37, 0.16), (0.5, 0.16), (0.5, 0.42))),
         (GLASS, ((0.54, 0.42), (0.54, 0.16), (0.67, 0.16), (0.77, 0.42))),
         (BLACK, oval(0.22, 0.8, 0.1, 0.2)), (BLACK, oval(0.78, 0.8, 0.1, 0.2)),
         (GRAY, oval(0.22, 0.8, 0.045, 0.09)), (GRAY, oval(0.78, 0.8, 0.045, 0.09))),
    ),
    Figure(
        5, "airplane", "vehicle", (0.26, 0.44), 2.2, ((225, 230, 235), (190, 200, 215)),
        (
            oval(0.5, 0.5, 0.5, 0.14), ((0.38, 0.5), (0.2, 1), (0.32, 1), (0.62, 0.5)),
            ((0.08, 0.45), (0, 0.08), (0.1, 0.08), (0.22, 0.42)),
            ((0.42, 0.45), (0.3, 0.12), (0.38, 0.12), (0.6, 0.45)),
        ),
        ((BLUE, box(0.1, 0.5, 0.95, 0.54)), (RED, box(0, 0, 0.09, 0.3)),
         (GLASS, ((0.9, 0.42), (0.97, 0.48), (0.9, 0.48)))), in_sky=True, tilt=12,
    ),
    Figure(
        10, "traffic light", "outdoor", (0.45, 0.8), 0.36, ((60, 65, 70), (45, 70, 60)),
        (box(0.08, 0, 0.92, 0.62), box(0.33, 0.6, 0.67, 1)),
        (((240, 50, 40), oval(0.5, 0.11, 0.26, 0.08)), (YELLOW, oval(0.5, 0.3, 0.26, 0.08)),
         ((60, 210, 90), oval(0.5, 0.49, 0.26, 0.08))),
    ),
    Figure(
        13, "stop sign", "outdoor", (0.4, 0.7), 0.52, ((205, 30, 40),),
        (oval(0.5, 0.28, 0.52, 0.29, 8), box(0.4, 0.5, 0.6, 1)),
        ((WHITE, oval(0.5, 0.28, 0.52, 0.29, 8)), ((205, 30, 40), oval(0.5, 0.28, 0.43, 0.24, 8)),
         (WHITE, box(0.14, 0.22, 0.86, 0.34)), (GRAY, box(0.4, 0.57, 0.6, 1)),
         ((205, 30, 40), box(0.3, 0.22, 0.34, 0.34)), ((205, 30, 40), box(0.5, 0.22, 0.54, 0.34)),
         ((205, 30, 40), box(0.68, 0.22, 0.72, 0.34))),
    ),
    Figure(
        35, "skis", "sports", (0.4, 0.65), 0.44, ((240, 90, 200), (90, 230, 60)),
        (
            ((0.02, 0.1), (0.18, 0), (0.36, 0.1), (0.36, 1), (0.02, 1)),
            ((0.64, 0.1), (0.82, 0), (0.98, 0.1), (0.98, 1), (0.64, 1)),
        ),
        ((BLACK, box(0, 0.5, 1, 0.62)),), tilt=40,
    ),
    Figure(
        38, "kite", "sports", (0.3, 0.5), 0.8, ((240, 90, 200), (90, 230, 60), (255, 235, 60)),
        (((0.5, 0), (1, 0.36), (0.5, 1), (0, 0.36)),),
        ((BLACK, ((0.5, 0.36), (1, 0.36), (0.5, 1))),
         ((60, 60, 200), ((0.5, 0), (0.5, 0.36), (0, 0.36)))),
        in_sky=True, tilt=35,
    ),
    Figure(
        28, "umbrella", "accessory", (0.35, 0.6), 1.0, ((120, 40, 150), (30, 140, 150)),
        (
            ((0, 0.5), (0.05, 0.3), (0.2, 0.12), (0.5, 0.02), (0.8, 0.12), (0.95, 0.3), (1, 0.5),
             (0.83, 0.43), (0.67, 0.5), (0.5, 0.43), (0.33, 0.5), (0.17, 0.43)),
            box(0.47, 0.4, 0.54, 1),
        ),
        ((DARK_WOOD, box(0.4, 0.5, 0.6, 1)),
         (WHITE, ((0.33, 0.5), (0.5, 0.02), (0.67, 0.5), (0.5, 0.43))),
         (WHITE, ((0, 0.5), (0.5, 0.02), (0.17, 0.43)))), tilt=15,
    ),
    Figure(
        33, "suitcase", "accessory", (0.28, 0.48), 0.95,
        ((120, 40, 150), (30, 140, 150), (90, 60, 50)),
        (box(0, 0.22, 1, 1), box(0.3, 0, 0.7, 0.24)),
        ((BLACK, box(0.3, 0, 0.7, 0.22)), (YELLOW, box(0.16, 0.22, 0.26, 1)),
         (YELLOW, box(0.74, 0.22, 0.84, 1))),
    ),
    Figure(
        47, "cup", "kitchen", (0.24, 0.4), 1.1, (WHITE, (150, 190, 225)),
        (
            ((0, 0.05), (0.72, 0.05), (0.64, 1), (0.08, 1)), oval(0.36, 0.07, 0.36, 0.07),
            ((0.68, 0.2), (0.95, 0.22), (1, 0.5), (0.9, 0.7), (0.64, 0.74), (0.66, 0.6),
             (0.82, 0.55), (0.86, 0.4), (0.68, 0.36)),
        ),
        (((80, 45, 25), oval(0.36, 0.08, 0.3, 0.05)), ((200, 60, 60), box(0, 0.45, 0.7, 0.6))),
    ),
    Figure(
        59, "pizza", "food", (0.24, 0.42), 1.5, ((240, 200, 110),),
        (oval(0.5, 0.5, 0.5, 0.5),),
        (((190, 125, 60), oval(0.5, 0.5, 0.5, 0.5)), ((245, 205, 105), oval(0.5, 0.5, 0.42, 0.42)),
         *(((190, 40, 30), oval(x, y, 0.07, 0.1))
           for x, y in ((0.3, 0.35), (0.55, 0.25), (0.7, 0.5), (0.5, 0.55), (0.3, 0.65),
                        (0.6, 0.78)))),
        tilt=0,
    ),
    Figure(
        52, "banana", "food", (0.22, 0.38), 1.6, ((250, 220, 50),),
        (around((0.5, 1.0), (0.42, 0.55), 0.02, 0.48),),
        ((DARK_WOOD, box(0.9, 0, 1, 0.2)), (DARK_WOOD, box(0, 0, 0.07, 0.2))), tilt=35,
    ),
    Figure(
        53, "apple", "food", (0.2, 0.36), 1.0, ((200, 35, 45), (130, 190, 50)),
        (
            oval(0.35, 0.58, 0.34, 0.4), oval(0.65, 0.58, 0.34, 0.4),
            ((0.47, 0.25), (0.5, 0), (0.57, 0.02), (0.54, 0.25)),
            ((0.55, 0.15), (0.72, 0), (0.9, 0.08), (0.7, 0.2)),
        ),
        ((DARK_WOOD, box(0.46, 0, 0.57, 0.2)),
         (GREEN, ((0.56, 0.15), (0.72, 0), (0.92, 0.08), (0.7, 0.2))),
         ((250, 225, 220), oval(0.26, 0.42, 0.06, 0.09))), tilt=15,
    ),
    Figure(
        63, "couch", "furniture", (0.28, 0.45), 2.0, (WOOD, (150, 80, 60)),
        (
            box(0.08, 0, 0.92, 0.75), box(0, 0.3, 0.17, 0.9), box(0.83, 0.3, 1, 0.9),
            box(0.1, 0.5, 0.9, 0.9), box(0.05, 0.85, 0.12, 1), box(0.88, 0.85, 0.95, 1),
        ),
        ((DARK_WOOD, box(0.17, 0.52, 0.83, 0.56)), (DARK_WOOD, box(0.49, 0.05, 0.51, 0.52)),
         (BLACK, box(0, 0.9, 1, 1))),
    ),
    Figure(
        67, "dining table", "furniture", (0.32, 0.5), 1.8, (WOOD, DARK_WOOD, (190, 150, 95)),
        (box(0, 0, 1, 0.36), box(0.05, 0.2, 0.2, 1), box(0.8, 0.2, 0.95, 1)),
        (((205, 60, 60), box(0.25, 0, 0.75, 0.14)),), "grain",
    ),
    Figure(
        72, "tv", "electronic", (0.3, 0.5), 1.5, ((30, 32, 38),),
        (box(0, 0, 1, 0.8), box(0.42, 0.75, 0.58, 0.95), box(0.25, 0.92, 0.75, 1)),
        (((90, 200, 220), box(0.05, 0.06, 0.95, 0.74)),
         ((250, 250, 120), oval(0.7, 0.28, 0.1, 0.14)),
         ((60, 150, 90), ((0.05, 0.74), (0.3, 0.4), (0.5, 0.6), (0.65, 0.5), (0.95, 0.74)))),
    ),
    Figure(
        73, "laptop", "electronic", (0.28, 0.45), 1.5, ((175, 180, 190), (90, 95, 105)),
        (box(0.14, 0, 0.86, 0.64), ((0.14, 0.62), (0.86, 0.62), (1, 1), (0, 1))),
        (((50, 90, 160), box(0.18, 0.06, 0.82, 0.56)),
         (BLACK, ((0.2, 0.7), (0.8, 0.7), (0.87, 0.86), (0.13, 0.86))),
         (WHITE, box(0.24, 0.14, 0.6, 0.2)), (WHITE, box(0.24, 0.28, 0.7, 0.34))),
    ),
)  # fmt: skip
