"""Mask files: 8-bit PNGs whose pixel values are label indices."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from runtime.files import replacing

PNG_MODES = ("palette", "gray")


def write_mask(
    path: Path,
    label_map: npt.NDArray[np.uint8],
    palette: bytes | None,
    text: dict[str, str] | None = None,
) -> None:
    """Write a label map as a PNG, whole or not at all; equal input gives equal bytes.

    Args:
        path: where to; its folder must exist.
        label_map: (H, W) uint8 label indices.
        palette: 768 bytes, R, G, B of each index (``LabelSet.palette``): correct for a program
            and visible to a person. None writes a grayscale PNG, for readers such as OpenCV's
            ``imread`` that turn palettes into colours.
        text: keys and values for the PNG's tEXt chunks.
    """
    image = Image.fromarray(label_map)
    if palette is not None:
        image.putpalette(palette)
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    with replacing(path) as temporary:
        # Z_RLE looks only for repeats of the last byte: for label maps, smaller files than
        # zlib's default search at a third of the time.
        image.save(temporary, "PNG", compress_type=zlib.Z_RLE, compress_level=1, pnginfo=info)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask: (H, W) uint8, the pixel values as stored, palette or gray.

    Raises:
        ValueError: the file is no picture, or is not an 8-bit palette or grayscale one.
        OSError: the file cannot be opened or ends too early.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(
                    f"{path}: a mask must be an 8-bit palette or grayscale PNG, got mode "
                    f"{image.mode} ({image.format}); save label indices, not colours"
                )
            return np.array(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a picture") from error
