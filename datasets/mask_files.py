"""Mask files: 8-bit PNGs whose pixel values are label indices, and the stamp they carry."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from runtime.files import replacing

PNG_MODES = ("palette", "gray")
STAMP = "coco-unet"  # keyword of the text chunk in which a mask carries the account of its making
JPEG_FORMATS = ("JPEG", "JPEG2000", "MPO")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GRAY, PNG_PALETTE = 0, 3
OUR_ZLIB_HEADER = b"\x78\x01"  # the lightest level of compression, see write_mask

Size = tuple[int, int]
Color = tuple[int, int, int]
Value = int | Color  # of a pixel in masks that others made: a number, or the colour itself

# Pixel values from here on are colours: this | red << 16 | green << 8 | blue. A gray is no colour
# but its number, whatever the file's format.
COLORS = 1 << 24
MOST_COLORS = 1024  # in a mask: a photograph has more


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
        palette: 768 bytes, R, G, B of each index (``LabelSet.palette``); None writes a grayscale
            PNG, for readers such as OpenCV's ``imread`` that turn palettes into colours.
        text: keys and values for the PNG's tEXt chunks.
    """
    height, width = label_map.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = label_map
    # Z_RLE looks only for repeats of the last byte: for label maps, smaller files than zlib's
    # default search at a third of the time.
    packed = zlib.compressobj(1, strategy=zlib.Z_RLE)
    color = PNG_GRAY if palette is None else PNG_PALETTE
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))]
    chunks += [(b"PLTE", palette)] if palette else []
    chunks += [(b"tEXt", "\0".join(pair).encode("latin-1")) for pair in (text or {}).items()]
    chunks += [(b"IDAT", packed.compress(rows.data) + packed.flush()), (b"IEND", b"")]
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(PNG_SIGNATURE)
        for kind, content in chunks:
            head, tail = struct.pack(">I", len(content)), zlib.crc32(kind + content)
            file.write(head + kind + content + struct.pack(">I", tail))


class MaskError(ValueError):
    """A picture that is no mask; its kind, of ``inspection.KINDS``, and what it is instead."""

    def __init__(self, path: Path, kind: str, detail: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.kind, self.detail = kind, detail


def number_of(value: Value) -> int:
    """The pixel value of a number, which is itself, or of a colour, see ``COLORS``."""
    if isinstance(value, int):
        return value
    red, green, blue = value
    return red if red == green == blue else COLORS | red << 16 | green << 8 | blue


def value_of(number: int) -> Value:
    """The inverse of ``number_of``."""
    return number if number < COLORS else (number >> 16 & 255, number >> 8 & 255, number & 255)


def read_mask(path: Path, *, by_color: bool = False) -> npt.NDArray[Any]:
    """Read a mask: (H, W) uint8 pixel values, or int32 if some are colours, see ``COLORS``.

    Gray pictures have the values stored, also those of three equal channels. Black and white of
    one bit are 0 and 255. Transparency does not count. Of palettes the indices do, or ``by_color``
    the colours.

    Raises:
        ValueError: the file is no picture, a damaged one, of more than 8 bits a channel, or a JPEG.
        OSError: the file cannot be opened or ends too early.
    """
    try:
        with Image.open(path) as image:
            if image.format in JPEG_FORMATS:
                text = f"a mask must be a PNG, got {image.format}, which changes pixel values"
                raise MaskError(path, "jpeg_mask", "", text)
            if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                text = f"a mask must have 8 bits a channel at most, got mode {image.mode}"
                raise MaskError(path, "mask_mode", image.mode, text)
            if image.mode in ("1", "L") or (image.mode == "P" and not by_color):
                return np.array(image.convert("L") if image.mode == "1" else image)
            pixels = np.array(image.convert("RGBA"))[..., :3]
            red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
            gray = (red == green) & (green == blue)
            numbers: npt.NDArray[Any] = np.where(gray, red, COLORS | red << 16 | green << 8 | blue)
            return numbers.astype(np.uint8) if gray.all() else numbers
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a picture") from error
    except SyntaxError as error:  # Pillow's word for a damaged PNG
        raise ValueError(f"{path}: damaged: {error}") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(f"{path}: {error}") from error  # of the content, Pillow says no name


def palette_of(path: Path) -> list[list[int]]:
    """The [red, green, blue] by which a person finds each value in a mask; empty without one."""
    with Image.open(path) as image:
        channels = image.getpalette() if image.mode == "P" else None
    return np.array(channels or [], int).reshape(-1, 3).tolist()


def count_values(path: Path, *, by_color: bool = False) -> tuple[Size, dict[int, int]]:
    """The size of a mask (height, width), and its pixels of each value, see ``read_mask``.

    A mask of generate_masks.py carries its counts (see ``STAMP``). They are believed if the file
    is, chunk for chunk, such as ``write_mask`` writes, its checksums are right, and the counts
    sum up to its size. Any other mask is decoded.

    Raises:
        ValueError, OSError: see ``read_mask``; or it has more than ``MOST_COLORS`` colours.
    """
    stamped = None if by_color else _stamped_counts(path.read_bytes())
    if stamped:
        return stamped
    mask = read_mask(path, by_color=by_color)
    values, counts = np.unique(mask, return_counts=True)
    if len(values) > MOST_COLORS:
        text = f"a mask must have {MOST_COLORS:,} colours at most"
        raise MaskError(path, "color_mask", f"{len(values):,}", text)
    height, width = mask.shape
    return (height, width), dict(zip(values.tolist(), counts.tolist(), strict=True))


def _stamped_counts(data: bytes) -> tuple[Size, dict[int, int]] | None:
    """What ``count_values`` gives, of the bytes of a mask that carries it; None of others."""
    chunks, whole = _chunks(data)
    kinds = [kind for kind, _ in chunks if kind != b"PLTE"]
    pixels = [content for kind, content in chunks if kind == b"IDAT"]
    if not (whole and pixels) or kinds != [b"IHDR", b"tEXt", *[b"IDAT"] * len(pixels), b"IEND"]:
        return None
    stamp = _stamp_of(chunks, STAMP)
    width, height, depth, color = struct.unpack(">IIBB", chunks[0][1][:10])
    # An editor that kept the text would still compress in its own way, and harder.
    ours = pixels[0].startswith(OUR_ZLIB_HEADER) and color in (PNG_GRAY, PNG_PALETTE)
    try:
        counts = {int(v): int(n) for v, n in stamp["account"]["pixels"].items()} if stamp else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    fits = sum(counts.values()) == height * width and all(0 <= value <= 255 for value in counts)
    return ((height, width), counts) if ours and depth == 8 and fits else None


def read_stamp(path: Path, keyword: str = STAMP) -> dict[str, Any] | None:
    """The JSON object that a PNG of ours carries in a text chunk; None for a file of somebody else.

    An empty dict where there is nothing to lose: no file, a file of ours that is not whole or
    damaged, and what a power cut may leave: zeros, no bytes at all, or the start of a PNG.
    """
    try:
        data = path.read_bytes()
    except (PermissionError, IsADirectoryError):
        return None
    except (OSError, ValueError):  # there is none, or no file can have the name
        return {}
    chunks, whole = _chunks(data)
    stamp = _stamp_of(chunks, keyword)
    if stamp is not None:
        return stamp if whole else {}
    starts = data.startswith(PNG_SIGNATURE) or PNG_SIGNATURE.startswith(data)
    torn = starts and not whole and all(kind != b"IDAT" for kind, _ in chunks)
    return {} if torn or not data.strip(b"\0") else None


def _stamp_of(chunks: list[tuple[bytes, bytes]], keyword: str) -> dict[str, Any] | None:
    start = keyword.encode() + b"\0"
    texts = [text for kind, text in chunks if kind == b"tEXt" and text.startswith(start)]
    try:
        stamp = json.loads(texts[0].removeprefix(start)) if texts else None
    except (ValueError, RecursionError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _chunks(data: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """(kind, content) of a PNG's chunks up to the first damaged one; whether that is all."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(PNG_SIGNATURE)
    while data.startswith(PNG_SIGNATURE) and at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            break
        chunks.append((kind, data[at + 8 : end]))
        at = end + 4
        if kind == b"IEND":
            return chunks, at == len(data)
    return chunks, False
