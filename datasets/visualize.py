"""Label maps for the eye: colours, overlays, panels. Pictures are (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datasets.label_set import IGNORE_INDEX

Picture = npt.NDArray[np.uint8]

STRIPE = 4  # pixels: width of the stripes over ignored pixels


def colorize(label_map: npt.NDArray[np.uint8], palette: Sequence[int]) -> Picture:
    """The label map in its labels' colours.

    Args:
        label_map: (H, W) uint8 label indices.
        palette: 768 numbers, R, G, B of each index (``LabelSet.palette``).
    """
    return np.asarray(palette, np.uint8).reshape(256, 3)[label_map]


def overlay(
    image: Picture, label_map: npt.NDArray[np.uint8], palette: Sequence[int], alpha: float = 0.5
) -> Picture:
    """The image with its labels tinted and outlined; the background is left as it is.

    Ignored pixels are striped.

    Args:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8 label indices.
        palette: 768 numbers, R, G, B of each index.
        alpha: share of the label's colour, 0..1; outlines have it whole.

    Raises:
        ValueError: image and label map differ in size.
    """
    if image.shape[:2] != label_map.shape:
        raise ValueError(f"image is {image.shape[:2]} but the label map is {label_map.shape}")
    height, width = label_map.shape
    stripes = np.add.outer(np.arange(height), np.arange(width)) // STRIPE % 2 == 0
    share = np.where(label_map == 0, 0.0, alpha)
    share[label_map == IGNORE_INDEX] *= stripes[label_map == IGNORE_INDEX]
    share[outlines(label_map)] = 1.0
    colors = colorize(label_map, palette)
    blended = image + share[:, :, None] * (colors.astype(np.float64) - image)
    return np.rint(blended).astype(np.uint8)


def outlines(label_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(H, W) bool: the labelled pixels that touch, at a side, a pixel of another label."""
    differs = np.zeros(label_map.shape, bool)
    vertical = label_map[1:] != label_map[:-1]
    horizontal = label_map[:, 1:] != label_map[:, :-1]
    differs[1:] |= vertical
    differs[:-1] |= vertical
    differs[:, 1:] |= horizontal
    differs[:, :-1] |= horizontal
    differs &= (label_map != 0) & (label_map != IGNORE_INDEX)
    return differs


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
