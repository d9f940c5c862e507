"""Label maps for the eye: colours, overlays, panels, names and legends.

Pictures are (H, W, 3) uint8 RGB arrays, label maps (H, W) uint8 label indices; a palette is R, G, B
of each index from 0 to 255 (``LabelSet.palette``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from datasets.labels import IGNORE_INDEX, LabelSet

Picture = npt.NDArray[np.uint8]

font_of = cache(ImageFont.load_default)  # by the height of its letters, in pixels

ALPHA = 128  # of 255: the share of a label's colour in a tint
STRIPE = 4  # pixels: width of the stripes over ignored pixels
BAND = 1 << 20  # pixels that are tinted at a time

SMALLEST, LARGEST = 14, 300  # pixels: height of the letters
LETTERS_IN_WIDTH = 40  # so that a legend can be read however small the picture is shown
NAMED_SHARE = 0.02  # of the picture: smaller labels are not named on it, only below it
COARSE = 96  # cells along a picture's longer side in which the place for a name is sought


def colorize(label_map: npt.NDArray[np.uint8], palette: Sequence[int]) -> Picture:
    """The label map in its labels' colours."""
    return np.take(np.asarray(palette, np.uint8).reshape(256, 3), label_map, axis=0)


def overlay(
    image: Picture,
    label_map: npt.NDArray[np.uint8],
    palette: Sequence[int],
    outline: int = 1,
    background: bool = True,
) -> Picture:
    """The image with its labels tinted and outlined; the background is left as it is.

    Ignored pixels are striped.

    Args:
        outline: width of outlines, pixels on each side of an edge. From 2 on, the outer half is
            white: a label shows also on things of its own colour.
        background: whether label 0 is the background.

    Raises:
        ValueError: image and label map differ in size.
    """
    if image.shape[:2] != label_map.shape:
        raise ValueError(f"image is {image.shape[:2]} but the label map is {label_map.shape}")
    height, width = label_map.shape
    edges = outlines(label_map, outline, background=background)
    white = outlines(label_map, outline // 2, background=background)
    picture = np.empty_like(image)
    band = max(1, BAND // width)
    for top in range(0, height, band):  # bounds the memory: a photograph may be very large
        rows = slice(top, top + band)
        labels = label_map[rows]
        share = (labels >= int(background)) * np.uint8(ALPHA)
        share[edges[rows]] = 255
        row, column = np.nonzero(labels == IGNORE_INDEX)
        share[row, column] *= (top + row + column) // STRIPE % 2 == 0
        tint = colorize(labels, palette)
        tint[white[rows]] = 255
        above, below, mask = (Image.fromarray(each) for each in (tint, image[rows], share))
        picture[rows] = np.asarray(Image.composite(above, below, mask))
    return picture


def outlines(
    label_map: npt.NDArray[np.uint8], width: int = 1, *, background: bool = True
) -> npt.NDArray[np.bool_]:
    """(H, W) bool: the labelled pixels with another label less than ``width`` + 1 pixels away.

    Distances are taken along rows and columns.
    """
    differs = np.zeros(label_map.shape, bool)
    for step in range(1, width + 1):
        vertical = label_map[step:] != label_map[:-step]
        horizontal = label_map[:, step:] != label_map[:, :-step]
        differs[step:] |= vertical
        differs[:-step] |= vertical
        differs[:, step:] |= horizontal
        differs[:, :-step] |= horizontal
    differs &= (label_map >= int(background)) & (label_map != IGNORE_INDEX)
    return differs


def outline_width(size: tuple[int, ...]) -> int:
    """Pixels of an outline that can be seen when a picture of that size is shown whole."""
    return max(1, round(min(size) / 300))


def panel(pictures: Sequence[Picture], *, columns: int | None = None, gap: int = 4) -> Picture:
    """Pictures of any sizes on white, so many in a row, None for all, ``gap`` pixels apart."""
    columns = columns or len(pictures)
    height, width = (gap + max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * height - gap, columns * width - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def with_titles(picture: Picture, titles: Sequence[str]) -> Picture:
    """The picture below a white strip, which names its columns; they are of one width."""
    size, width = _letter_size(picture), picture.shape[1]
    strip = Image.new("RGB", (width, 2 * size), "white")
    for number, title in enumerate(titles):
        place = ((number + 0.5) * width / len(titles), size)
        ImageDraw.Draw(strip).text(place, title, "black", font_of(size), "mm")
    return np.concatenate([np.array(strip), picture])


def with_legend(picture: Picture, label_map: npt.NDArray[np.uint8], label_set: LabelSet) -> Picture:
    """The picture with a strip below: colour, name and share of each label, the largest first.

    Nothing of the picture is hidden or moved. One that is narrower than a name is widened on the
    right, in white. The label map may be of another size.
    """
    shares = np.bincount(label_map.ravel(), minlength=256) / label_map.size
    names = {IGNORE_INDEX: "(ignored)", **dict(enumerate(label_set.names))}
    colors = [tuple(color) for color in np.reshape(label_set.palette(), (256, 3)).tolist()]
    items = [
        (f"{names[i]} {shares[i]:.0%}" if shares[i] >= 0.005 else f"{names[i]} <1%", colors[i])
        for i in np.argsort(-shares, kind="stable").tolist()
        if shares[i] and i >= int(label_set.has_background)
    ] or [(f"only {label_set.names[0]}", colors[0])]
    size = _letter_size(picture)
    font, gap = font_of(size), size // 2
    line = size + gap
    steps = [size + gap + round(font.getlength(text)) + 2 * gap for text, _ in items]
    height, width = picture.shape[0], max(picture.shape[1], max(steps) + gap)
    places, left, top = [], gap, height + gap
    for step in steps:
        if left + step > width and left > gap:
            left, top = gap, top + line
        places.append((left, top))
        left += step
    image = Image.new("RGB", (width, top + line), "white")
    image.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(image)
    for (text, color), (left, top) in zip(items, places, strict=True):
        draw.rectangle((left, top, left + size - 1, top + size - 1), fill=color, outline="black")
        draw.text((left + size + gap, top), text, fill="black", font=font)
    return np.array(image)


def with_names(picture: Picture, label_map: npt.NDArray[np.uint8], label_set: LabelSet) -> Picture:
    """The picture with the name of each larger label written in the middle of its widest part.

    Whoever cannot tell two colours apart can then tell the labels apart.
    """
    height, width = label_map.shape
    step = -(-max(height, width) // COARSE)
    top, left = (min(step, side) // 2 for side in (height, width))  # a side may be below a step
    coarse = label_map[top::step, left::step]
    counts = np.bincount(coarse.ravel(), minlength=len(label_set))[: len(label_set)]
    counts[: int(label_set.has_background)] = 0
    labels = np.flatnonzero(counts >= NAMED_SHARE * coarse.size)
    if not labels.size:
        return picture
    font = font_of(_letter_size(picture))
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    taken: list[tuple[int, int, int, int]] = []
    for label in labels[np.argsort(-counts[labels], kind="stable")].tolist():
        row, column = _inmost(coarse == label)
        text = label_set.names[label]
        dx, dy, wide, tall = map(int, font.getbbox(text))
        x = max(0, min(column * step + left - (dx + wide) // 2, width - wide))
        y = max(0, min(row * step + top - (dy + tall) // 2, height - tall))
        right, bottom = x + wide, y + tall
        if any(x < x1 and x0 < right and y < y1 and y0 < bottom for x0, y0, x1, y1 in taken):
            continue  # two names on each other are none; the legend has both
        taken.append((x, y, right, bottom))
        edge = max(1, (tall - dy) // 8)
        draw.text((x, y), text, fill="white", font=font, stroke_width=edge, stroke_fill="black")
    return np.array(image)


def _inmost(region: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of a cell that is as far from the region's edge as any; it has a cell."""
    inner = np.pad(region, 1)
    while True:
        core = inner.copy()
        core[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        if not core.any():
            break
        inner = core
    cells = np.argwhere(inner) - 1
    nearest = np.abs(cells - cells.mean(axis=0)).sum(axis=1).argmin()
    row, column = cells[nearest].tolist()
    return row, column


def _letter_size(picture: Picture) -> int:
    height, width = picture.shape[:2]
    size: int = min(width, 2 * height) // LETTERS_IN_WIDTH
    return min(max(SMALLEST, size), LARGEST)
