"""A folder of every kind of bad or odd file that people's folders have, made anew for each test."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from inference_command import noise
from PIL import Image

HEIGHT, WIDTH = 20, 30


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, format, **options)  # a copy: saving leaves traces in an image
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height: int, width: int, *, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A grayscale PNG whose header may lie."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """A PNG of (height, width, 3 or 4) 16 bits a channel, which Pillow does not write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def sixteen_bit_tiff(values: np.ndarray, order: str, compress: bool) -> bytes:
    """The same as a TIFF; ``order`` of bytes "<" or ">"."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compress else data
    end = 8 + len(data)
    bits = end + 2 + 12 * (11 if channels == 4 else 10) + 4  # where the depths of the channels are
    tags = {256: width, 257: height, 258: bits, 259: 8 if compress else 1, 262: 2, 273: 8}
    tags |= {
        277: channels,
        278: height,
        279: len(data),
        284: 1,
        **({338: 2} if channels == 4 else {}),
    }
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, channels if tag == 258 else 1, value)
        for tag, value in tags.items()
    )
    depths = struct.pack(f"{order}I", 16) * channels
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, end)
    return start + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + depths


def good_files() -> dict[str, bytes]:
    """Name -> content, of odd files that are pictures of HEIGHT x WIDTH all the same."""
    color, gray = noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH)
    alpha = noise(HEIGHT, WIDTH, 4)
    deep = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 100)
    jpeg = encoded(color, "JPEG")

    def several(format: str) -> bytes:
        more = [noise(HEIGHT, WIDTH, 3, seed=seed) for seed in (1, 2)]
        return encoded(color, format, save_all=True, append_images=more)

    return {
        "plain.jpg": jpeg,
        "UPPER.JPEG": jpeg,
        "progressive.jpg": encoded(color, "JPEG", progressive=True),
        "cmyk.jpg": encoded(color.convert("CMYK"), "JPEG"),
        "gray.jpg": encoded(gray, "JPEG"),
        "trailing bytes.jpg": jpeg + b"\0garbage" * 99,
        "a jpeg called.png": jpeg,
        "no suffix at all": jpeg,
        "odd.suffix": jpeg,
        "broken exif.jpg": encoded(color, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "broken profile.jpg": encoded(color, "JPEG", icc_profile=b"no profile"),
        "phone.jpg": several("MPO"),
        "gray.png": encoded(gray, "PNG"),
        "one bit.png": encoded(gray.convert("1"), "PNG"),
        "palette.png": encoded(color.convert("P"), "PNG"),
        "palette with a hole.png": encoded(color.convert("P"), "PNG", transparency=3),
        "alpha.png": encoded(alpha, "PNG"),
        "gray alpha.png": encoded(alpha.convert("LA"), "PNG"),
        "16 bit gray.png": encoded(deep, "PNG"),
        "16 bit colour.png": sixteen_bit_png(
            np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3))
        ),
        "lossy.webp": encoded(color, "WEBP"),
        "alpha.webp": encoded(alpha, "WEBP", lossless=True),
        "windows.bmp": encoded(color, "BMP"),
        "palette.bmp": encoded(color.convert("P"), "BMP"),
        "plain.tif": encoded(color, "TIFF"),
        "16 bit.tiff": encoded(deep, "TIFF"),
        "packed.tiff": encoded(color, "TIFF", compression="tiff_lzw"),
        "floats.tiff": encoded(Image.fromarray(np.asarray(gray, np.float32)), "TIFF"),
        "32 bit.tiff": encoded(Image.fromarray(np.asarray(gray, np.int32)), "TIFF"),
        "fourth band.tiff": encoded(color.convert("RGBX"), "TIFF"),
        "pages.tiff": several("TIFF"),
        "moving.gif": several("GIF"),
        "unicode ü 漢字 🦓.jpg": jpeg,
        "new\nline.jpg": jpeg,
        "-starts with a dash.jpg": jpeg,
        "sub/folder/deep.jpg": jpeg,
        "picture.jpg/inside a folder called so.jpg": jpeg,
        "turned.jpg": encoded(noise(WIDTH, HEIGHT, 3), "JPEG", exif=exif(6)),
        "turned.tiff": encoded(noise(WIDTH, HEIGHT, 3), "TIFF", exif=exif(8)),
        "same.jpg": jpeg,
        "same.png": encoded(color, "PNG"),
    }


def bad_files() -> dict[str, tuple[bytes, str]]:
    """Name -> content, and what its reason must say, of files that look like pictures."""
    color = noise(HEIGHT * 5, WIDTH * 5, 3)
    jpeg, lossless = encoded(color, "JPEG"), encoded(color, "PNG")
    damaged = bytearray(lossless)
    damaged[len(damaged) // 2] ^= 0xFF
    unknown = "not a picture in a known format"
    return {
        "empty.jpg": (b"", r"an empty file \(0 bytes\)"),
        "one byte.png": (b"x", unknown),
        "zeros.jpg": (bytes(1000), unknown),
        "text.png": (b"Dear Sir or Madam", unknown),
        "web page.jpg": (b"<!DOCTYPE html><html>404</html>", unknown),
        "document.jpeg": (b"%PDF-1.7\n" + bytes(99), unknown),
        "archive.png": (b"PK\x03\x04" + bytes(99), unknown),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", unknown),
        "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(99), unknown),
        "raw.nef": (b"no raw file either", unknown),
        "head only.jpg": (jpeg[:30], "not a picture|damaged"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (lossless[: len(lossless) // 2], "(?i)truncated"),
        "cut.webp": (encoded(color, "WEBP")[:-400], "not a picture|damaged"),
        "cut.bmp": (encoded(color, "BMP")[:-400], "truncated"),
        "cut.tif": (encoded(color, "TIFF")[:-400], "damaged|not a picture"),
        "damaged.png": (bytes(damaged), "damaged"),
        "bomb.png": (png(60_000, 60_000, rows=bytes(60_001)), "too large: .*3600000000 pixels"),
        "wide bomb.png": (png(1, 2_000_000_000), "too large"),
        "text bomb.png": (
            png(9, 9, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000)))),
            "(?i)damaged: decompressed data too large",
        ),
        "no pixels.png": (png(9, 9), "damaged"),
        "size zero.png": (png(0, 9), "damaged|not a picture"),
    }


OTHER_FILES = {"notes.txt": b"no picture", "Thumbs.db": bytes(99), "metadata.xmp": b"<x/>"}


def write_hostile(folder: Path) -> Path:
    """Write them all, with what only a file system can do: links to nothing, pipes."""
    contents = {**good_files(), **{n: c for n, (c, _) in bad_files().items()}, **OTHER_FILES}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "link to nothing.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / ".hidden.jpg").write_bytes(b"no picture")
    return folder


SPECIAL_FILES = {"link to nothing.jpg": "a link to nothing", "pipe.jpg": "not a regular file"}
