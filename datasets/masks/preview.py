"""Previews: an image, its mask over it, and what the colours mean, in one picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from datasets.coco.image_files import ImageFile
from datasets.labels import LabelSet
from datasets.mask_files import read_mask, read_stamp
from datasets.visualize import outline_width, overlay, panel, with_legend
from runtime.files import replacing

STAMP = "coco-unet preview"  # keyword of the text chunk by which a preview is known as ours

logger = logging.getLogger(__name__)


def draw_previews(
    folder: Path,
    masks_dir: Path,
    files: Sequence[ImageFile],
    label_set: LabelSet,
    count: int,
    overwrite: bool = False,
) -> list[Path]:
    """Draw the first ``count`` images that have a mask of their size; return the pictures' paths.

    A file in a picture's place that is no preview of ours is kept, and a warning names it, unless
    ``overwrite``.
    """
    photos = {file.image.parent.resolve() for file in files if file.image}
    may_replace = overwrite and folder.resolve() not in photos  # links may lead there
    drawn: list[Path] = []
    kept: list[str] = []
    for file in files:
        if len(drawn) + len(kept) == count:
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
        path = folder / file.mask
        if image.shape[:2] != label_map.shape:
            continue
        if read_stamp(path, STAMP) is None and not may_replace:
            kept.append(str(file.mask))
            continue
        tinted = overlay(
            image, label_map, label_set.palette(), outline=outline_width(label_map.shape)
        )
        picture = with_legend(panel([image, tinted]), label_map, label_set)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngImagePlugin.PngInfo()
        info.add_text(STAMP, "{}")
        with replacing(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG", pnginfo=info)
        drawn.append(path)
    if kept:
        logger.warning(
            "%s: %s files in the place of previews were not made by this command and are kept, "
            "such as %s; --overwrite replaces them",
            *(folder, f"{len(kept):,}", ", ".join(kept[:5])),
        )
    return drawn
