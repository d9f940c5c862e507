"""Previews: an image, its mask over it, and what the colours mean, in one picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from datasets.image_files import ImageFile
from datasets.label_set import IGNORE_INDEX, LabelSet
from datasets.masks import read_mask
from datasets.visualize import overlay, panel
from runtime.files import replacing

ROW = 18  # pixels: height of a legend's line

logger = logging.getLogger(__name__)


def draw_previews(
    folder: Path, masks_dir: Path, files: Sequence[ImageFile], label_set: LabelSet, count: int
) -> list[Path]:
    """Draw the first ``count`` images that have a mask of their size; return the pictures' paths.

    Args:
        folder: for the pictures; made if it is missing.
        masks_dir: folder of the masks.
        files: where images and masks are.
        label_set: names and colours.
        count: how many to draw at most.
    """
    palette = label_set.palette()
    drawn: list[Path] = []
    for file in files:
        if len(drawn) == count:
            break
        if file.image is None or not (masks_dir / file.mask).is_file():
            continue
        try:
            with Image.open(file.image) as opened:
                image = np.asarray(opened.convert("RGB"))
            label_map = read_mask(masks_dir / file.mask)
        except (OSError, ValueError, SyntaxError) as error:
            logger.warning("no preview of %s: %s", file.image, error)
            continue
        if image.shape[:2] != label_map.shape:
            continue
        picture = panel([image, overlay(image, label_map, palette), legend(label_map, label_set)])
        path = folder / file.mask
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG")
        drawn.append(path)
    return drawn


def legend(label_map: npt.NDArray[np.uint8], label_set: LabelSet) -> npt.NDArray[np.uint8]:
    """The colours and names of the labels in a label map: (H, W, 3) uint8 RGB.

    Args:
        label_map: (H, W) uint8 label indices.
        label_set: names and colours.
    """
    shown = [index for index in np.unique(label_map).tolist() if index]
    names = [label_set.names[i] if i != IGNORE_INDEX else "(ignored)" for i in shown]
    palette = np.array(label_set.palette(), np.uint8).reshape(256, 3)
    picture = Image.new("RGB", (150, ROW * max(1, len(shown))), "white")
    draw = ImageDraw.Draw(picture)
    for line, (index, name) in enumerate(zip(shown, names, strict=True)):
        top = line * ROW
        color = tuple(palette[index].tolist())
        draw.rectangle((2, top + 2, ROW - 2, top + ROW - 3), fill=color, outline="black")
        draw.text((ROW + 4, top + 3), name, fill="black")
    return np.asarray(picture)
