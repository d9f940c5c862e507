"""Label maps for the eye: colours, overlays, panels. Pictures are (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.label_set import IGNORE_INDEX

Picture = npt.NDArray[np.uint8]

STRIPE = 4  # pixels: width of the stripes over ignored pixels
BAND = 1 << 20  # pixels that are tinted at a time


def colorize(label_map: npt.NDArray[np.uint8], palette: Sequence[int]) -> Picture:
    """The label map in its labels' colours.

    Args:
        label_map: (H, W) uint8 label indices.
        palette: 768 numbers, R, G, B of each index (``LabelSet.palette``).
    """
    return np.take(np.asarray(palette, np.uint8).reshape(256, 3), label_map, axis=0)


def overlay(
    image: Picture,
    label_map: npt.NDArray[np.uint8],
    palette: Sequence[int],
    alpha: float = 0.5,
    outline: int = 1,
) -> Picture:
    """The image with its labels tinted and outlined; the background is left as it is.

    Ignored pixels are striped.

    Args:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8 label indices.
        palette: 768 numbers, R, G, B of each index.
        alpha: share of the label's colour, 0..1; outlines have it whole.
        outline: width of outlines, pixels on each side of an edge. From 2 on, the outer half is
            white: a label shows also on things of its own colour.

    Raises:
        ValueError: image and label map differ in size.
    """
    if image.shape[:2] != label_map.shape:
        raise ValueError(f"image is {image.shape[:2]} but the label map is {label_map.shape}")
    height, width = label_map.shape
    edges = outlines(label_map, outline)
    white = outlines(label_map, outline // 2)
    picture = np.empty_like(image)
    band = max(1, BAND // width)
    for top in range(0, height, band):  # bounds the memory: a photograph may be very large
        rows = slice(top, top + band)
        labels = label_map[rows]
        share = (labels != 0) * np.uint8(round(255 * alpha))
        share[edges[rows]] = 255
        row, column = np.nonzero(labels == IGNORE_INDEX)
        share[row, column] *= (top + row + column) // STRIPE % 2 == 0
        tint = colorize(labels, palette)
        tint[white[rows]] = 255
        above, below, mask = (Image.fromarray(each) for each in (tint, image[rows], share))
        picture[rows] = np.asarray(Image.composite(above, below, mask))
    return picture


def outlines(label_map: npt.NDArray[np.uint8], width: int = 1) -> npt.NDArray[np.bool_]:
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
    differs &= (label_map != 0) & (label_map != IGNORE_INDEX)
    return differs


def outline_width(size: tuple[int, ...]) -> int:
    """Pixels of an outline that can be seen when a picture of that size is shown whole."""
    return max(1, round(min(size) / 300))


def panel(pictures: Sequence[Picture], *, columns: int | None = None, gap: int = 4) -> Picture:
    """Pictures side by side on white, row by row.

    Args:
        pictures: (H, W, 3) uint8 each, at least one; sizes may differ.
        columns: pictures in a row; None puts all in one.
        gap: white pixels between neighbours.
    """
    columns = columns or len(pictures)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    widths = [max(p.shape[1] for p in pictures[column::columns]) for column in range(len(rows[0]))]
    size = (sum(heights) + gap * (len(heights) - 1), sum(widths) + gap * (len(widths) - 1))
    canvas = np.full((*size, 3), 255, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture, width in zip(row, widths, strict=False):  # the last row may be short
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += width + gap
        top += height + gap
    return canvas
