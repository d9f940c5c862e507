"""Scenes of the sample: a backdrop, and objects that stand on it and hide each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from datasets.label_sets import GROUPS
from datasets.sample.figures import FIGURES, TREE, Color, Figure

SCALE = 2  # objects are drawn this much larger and reduced: smooth edges

EMPTY_EVERY, CROWD_EVERY = 20, 8  # images
CROWDS = ("person", "zebra", "apple", "skis")

# Sky or wall, top and bottom; ground or floor, top and bottom.
BACKDROPS: tuple[tuple[Color, Color, Color, Color], ...] = (
    ((95, 150, 205), (190, 215, 230), (125, 150, 95), (90, 115, 65)),  # meadow
    ((75, 75, 125), (225, 160, 130), (110, 95, 100), (75, 65, 75)),  # dusk
    ((150, 185, 205), (215, 225, 225), (215, 195, 150), (190, 165, 120)),  # beach
    ((205, 195, 175), (180, 170, 150), (130, 105, 85), (105, 80, 65)),  # room
    ((165, 185, 175), (145, 165, 155), (110, 110, 115), (85, 85, 90)),  # office
    ((170, 180, 190), (230, 230, 230), (225, 230, 235), (190, 200, 215)),  # snow
)

Points = npt.NDArray[np.float64]  # (points, 2): x, y in pixels


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        figure: what it is.
        color: of its body.
        outline: the polygons whose union is the object.
        details: (colour, polygon), drawn over the body.
        in_crowd: it belongs to the scene's crowd, which is annotated as one.
    """

    figure: Figure
    color: Color
    outline: tuple[Points, ...]
    details: tuple[tuple[Color, Points], ...]
    in_crowd: bool = False


@dataclass(frozen=True)
class Stage:
    """Where a scene plays: its source of chance, its size in pixels, and the horizon, 0..1 down."""

    random: np.random.Generator
    height: int
    width: int
    horizon: float


def draw_scene(
    random: np.random.Generator, index: int
) -> tuple[npt.NDArray[np.uint8], list[Thing]]:
    """One picture, and what is to be seen in it.

    Args:
        random: the only source of chance.
        index: of the picture in its split: some are to be empty, some to have a crowd.

    Returns:
        (H, W, 3) uint8 RGB, and its things in no special order, the hidden ones too.
    """
    height, width = int(random.integers(144, 193)), int(random.integers(192, 257))
    stage = Stage(random, height, width, random.uniform(0.3, 0.55))
    image = _backdrop(stage)
    things: list[Thing] = []
    if index % EMPTY_EVERY != EMPTY_EVERY // 2:
        things = [_somewhere(stage, figure) for figure in _cast(random)]
        if index % CROWD_EVERY == 1:
            things += _crowd(stage)
    for thing in sorted(things, key=_nearness):
        _draw(random, image, thing)
    noise = random.normal(0, 5, (height, width, 1))
    pixels = np.clip(np.asarray(image.reduce(SCALE)) + noise, 0, 255).astype(np.uint8)
    return pixels, things


def _nearness(thing: Thing) -> tuple[float, int]:
    """What wins where labels overlap is in front, or the labels could not be learned.

    Of equal priorities the later annotation wins, and those come by ascending category.
    """
    index = GROUPS.index_by_category.get(thing.figure.name, 0)
    return GROUPS.labels[index].priority or 0.0, thing.figure.id


def _backdrop(stage: Stage) -> Image.Image:
    """Two gradients with soft patches, SCALE times the size."""
    random, height, width, horizon = stage.random, stage.height, stage.width, stage.horizon
    colors = np.array(BACKDROPS[random.integers(len(BACKDROPS))], float) + random.normal(0, 10, 3)
    rows = ((np.arange(height) + 0.5) / height)[:, None]
    above = np.clip(rows / horizon, 0, 1)
    below = np.clip((rows - horizon) / (1 - horizon), 0, 1)
    sky = colors[0] * (1 - above) + colors[1] * above
    ground = colors[2] * (1 - below) + colors[3] * below
    gradient = np.where(rows < horizon, sky, ground)  # H, 3
    patches = Image.fromarray(random.uniform(-22, 22, (9, 12)).astype(np.float32))
    smooth = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))
    pixels = np.clip(gradient[:, None] + smooth[:, :, None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width * SCALE, height * SCALE))


def _cast(random: np.random.Generator) -> list[Figure]:
    """Trees, and figures of evenly drawn groups, so that no label is rare."""
    by_group: dict[int, list[Figure]] = {}
    for figure in FIGURES:
        by_group.setdefault(GROUPS.index_by_category[figure.name], []).append(figure)
    cast = [TREE] * int(random.integers(0, 3))
    for group in random.choice(sorted(by_group), int(random.integers(3, 7))):
        cast.append(by_group[group][random.integers(len(by_group[group]))])
    return cast


def _somewhere(stage: Stage, figure: Figure) -> Thing:
    """A figure where it belongs, larger the nearer it stands; it may be cut off at the sides."""
    random = stage.random
    near = random.uniform()
    low, high = figure.size
    tall = (low + (high - low) * near) * stage.height
    bottom = (stage.horizon + 0.08 + (0.97 - stage.horizon) * near) * stage.height
    if figure.in_sky:
        bottom = random.uniform(tall, max(tall, (stage.horizon + 0.15) * stage.height))
    left = random.uniform(-0.2 * tall, stage.width - 0.8 * tall * figure.aspect)
    return _placed(random, figure, tall, left, bottom)


def _crowd(stage: Stage) -> list[Thing]:
    """Small figures of one kind, close together."""
    random = stage.random
    kinds = [figure for figure in FIGURES if figure.name in CROWDS]
    figure = kinds[random.integers(len(kinds))]
    tall = figure.size[0] * 0.75 * stage.height
    left = random.uniform(0.1, 0.5) * stage.width
    bottom = random.uniform(stage.horizon + 0.1, 0.95) * stage.height
    return [
        _placed(
            random,
            figure,
            tall,
            left + number * tall * figure.aspect * 0.7,
            bottom + random.uniform(-0.08, 0.08) * stage.height,
            in_crowd=True,
        )
        for number in range(int(random.integers(4, 8)))
    ]


def _placed(
    random: np.random.Generator,
    figure: Figure,
    tall: float,
    left: float,
    bottom: float,
    in_crowd: bool = False,
) -> Thing:
    """The figure at a place, in a colour of its own, perhaps mirrored, a little turned."""
    size = np.array([tall * figure.aspect, tall])
    centre = np.array([left, bottom]) + size * (0.5, -0.5)
    mirror = np.array([random.choice([-1, 1]), 1])
    angle = np.deg2rad(random.uniform(-figure.tilt, figure.tilt))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def moved(polygon: Sequence[tuple[float, float]]) -> Points:
        points = (np.array(polygon) - 0.5) * mirror * size
        return np.asarray(np.round(points @ turn + centre, 2))

    color = np.array(figure.colors[random.integers(len(figure.colors))]) + random.normal(0, 10, 3)
    red, green, blue = (int(channel) for channel in np.clip(color, 0, 255))
    outline = tuple(moved(polygon) for polygon in figure.outline)
    details = tuple((paint, moved(polygon)) for paint, polygon in figure.details)
    return Thing(figure, (red, green, blue), outline, details, in_crowd)


def _draw(random: np.random.Generator, image: Image.Image, thing: Thing) -> None:
    """Paint the body with its texture and details, lit from one side, inside the outline."""
    points = np.concatenate(thing.outline) * SCALE
    corner = np.floor(points.min(axis=0)).astype(int)
    width, height = (np.ceil(points.max(axis=0)).astype(int) - corner + 1).tolist()
    shape = Image.new("L", (width, height))
    stencil = ImageDraw.Draw(shape)
    for polygon in thing.outline:
        stencil.polygon((polygon * SCALE - corner).ravel().tolist(), fill=255)
    body = Image.fromarray(_textured(thing, height, width))
    brush = ImageDraw.Draw(body)
    for color, polygon in thing.details:
        brush.polygon((polygon * SCALE - corner).ravel().tolist(), fill=color)
    light = 1 + 0.22 * random.choice([-1, 1]) * np.linspace(-1, 1, width)
    lit = np.clip(np.asarray(body) * light[None, :, None], 0, 255).astype(np.uint8)
    left, top = corner.tolist()
    image.paste(Image.fromarray(lit), (left, top), shape)


def _textured(thing: Thing, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8: the body's colour, darker where its texture says."""
    rows, columns = np.mgrid[:height, :width] / height * 2 * np.pi
    dark, darkness = {
        "plain": (np.zeros((height, width), bool), 1.0),
        "grain": (np.sin(rows * 9 + np.sin(columns)) > 0.4, 0.85),
        "leaves": (np.sin(columns * 6) * np.sin(rows * 6) > 0.1, 0.75),
        "stripes": (np.sin(columns * 7 + rows) > 0.1, 0.15),
    }[thing.figure.texture]
    pixels = np.array(thing.color) * np.where(dark, darkness, 1.0)[:, :, None]
    return np.asarray(pixels.astype(np.uint8))
