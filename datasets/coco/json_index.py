"""Where the objects of a large JSON file stand, found without decoding them.

``json.load`` of COCO's train annotations takes 2.8 GB, most of it for polygons that are used
once. Here one pass of numpy over the bytes finds the objects in the lists of the top-level object
(``images``, ``annotations``, ...); each is decoded when it is needed. The scan is exact: it knows
strings and escapes, and what it leaves out is decoded by ``json``, so malformed files are told.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

CHUNK = 2**21  # bytes at a time; the passes over a chunk stay in the processor's cache
BLOCK = 2**22  # bytes of objects decoded at a time
BOM = b"\xef\xbb\xbf"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ObjectList:
    """Offsets of one list of the top-level object that holds objects."""

    start: int  # behind its "["
    stop: int  # of its "]"
    starts: Ints  # (n,) of each object's "{"
    stops: Ints  # (n,) behind each object's "}"


class JsonIndex:
    """An open JSON file and the places of its objects.

    Attributes:
        path: as given.
        sha256: of the file as it is on disk, hexadecimal.
        rest: the top-level object, with the lists in ``lists`` empty.
        lists: by key, the top-level lists that hold objects.
    """

    def __init__(self, path: Path) -> None:
        """Scan the file.

        Raises:
            OSError, ValueError: it cannot be read, or is not one JSON object from end to end.
        """
        self.path = path
        self._file, self.sha256 = _open(path)
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from offset ``start`` up to ``stop``."""
        self._file.seek(start)
        return self._file.read(stop - start)

    def values(self, key: str) -> Iterator[Any]:
        """Every value in the top-level list ``key``, decoded, in order; a few MB at a time.

        Raises:
            ValueError: the file has no such list, or an object in it is not JSON.
        """
        if key not in self.lists:
            if not isinstance(self.rest.get(key), list):
                got = f"none beside {', '.join(map(repr, [*self.rest][:9]))}"
                if key in self.rest:
                    got = f"a {type(self.rest[key]).__name__}"
                raise ValueError(
                    f"{self.path}: expected a list {key!r} at the top level, got {got}; a COCO "
                    "annotation file has the lists 'images', 'annotations' and 'categories'"
                )
            yield from self.rest[key]
            return
        for start, text in self.blocks(key):
            try:
                yield from json.loads(b"[" + text.strip(b" \t\r\n,") + b"]")
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f"{self.path}: not valid JSON in the list {key!r}, in the {len(text):,} bytes "
                    f"from byte {start:,}: {error}"
                ) from error

    def blocks(self, key: str) -> Iterator[tuple[int, bytes]]:
        """The text of a list in pieces of whole objects: (offset, bytes), without gaps."""
        found = self.lists[key]
        start, count = found.start, found.stops.size
        while start < found.stop:
            last = int(np.searchsorted(found.stops, start + BLOCK))
            stop = found.stop if last >= count - 1 else int(found.stops[last])
            yield start, self.read(start, stop)
            start = stop

    def close(self) -> None:
        self._file.close()

    def _scan(self) -> None:
        head = self.read(0, 64).removeprefix(BOM).lstrip()[:1]
        if head != b"{":
            what = f"is not a JSON object, but begins with {self.read(0, 20)!r}"
            if head == b"[":
                what = "starts with a list, as results do"
            raise ValueError(
                f"{self.path}: {what}; expected a COCO annotation file: an object with "
                "'images', 'annotations' and 'categories'"
            )
        positions, signs, depths = _brackets(self._file, self.path)
        opens = positions[(depths == 2) & (signs == 1)]
        closes = positions[(depths == 1) & (signs == -1)]
        starts = positions[(depths == 3) & (signs == 1)]
        stops = positions[(depths == 2) & (signs == -1)] + 1
        self.lists: dict[str, ObjectList] = {}
        kept, behind = [], 0  # the pieces of text between the lists
        for start, stop in zip((opens + 1).tolist(), closes.tolist(), strict=True):
            first, last = np.searchsorted(starts, [start, stop])
            if first == last or self.read(start - 1, start) != b"[":
                continue
            key = self._key_at_end(self.read(behind, start - 1), start)
            self.lists[key] = ObjectList(start, stop, starts[first:last], stops[first:last])
            kept.append(self.read(behind, start))
            behind = stop
        self._file.seek(behind)
        try:
            self.rest: dict[str, Any] = json.loads(
                b"".join([*kept, self._file.read()]).removeprefix(BOM),
                object_pairs_hook=self._note_keys,
            )
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: not valid JSON: {error}") from error
        for key, count in Counter(self._keys).items():
            if count > 1:  # an empty and a full list, say: nobody knows which counts
                raise ValueError(
                    f"{self.path}: the key {key!r} stands {count} times at the top level, "
                    "expected one of each name; rename or remove the others"
                )

    def _note_keys(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Of the outermost object, which is the last that json closes, the keys remain."""
        self._keys = [key for key, _ in pairs]
        return dict(pairs)

    def _key_at_end(self, text: bytes, offset: int) -> str:
        match = re.search(rb'("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*\Z', text, re.DOTALL)
        with suppress(ValueError):
            if match:
                return str(json.loads(match[1]))
        raise ValueError(f"{self.path}: not valid JSON: the list at byte {offset:,} has no key")


def _open(path: Path) -> tuple[IO[bytes], str]:
    """The file as UTF-8 in which one can seek, and the digest of what is on disk.

    What comes from a pipe or in UTF-16 is held in memory, what was compressed in a temporary file.
    """
    digest = hashlib.sha256()
    file: IO[bytes] = path.open("rb")
    if not file.seekable():
        with file:
            file = io.BytesIO(file.read())
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    try:
        if start.startswith(b"\x1f\x8b"):
            packed, file = file, tempfile.TemporaryFile()  # noqa: SIM115 (close closes it)
            with packed, gzip.open(packed) as unpacked:
                shutil.copyfileobj(unpacked, file, CHUNK)
        elif (encoding := json.detect_encoding(start)) not in ("utf-8", "utf-8-sig"):
            with file:
                file = io.BytesIO(file.read().decode(encoding).encode())
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeError) as error:
        file.close()
        kind = "UTF-16 or UTF-32" if isinstance(error, UnicodeError) else "gzip"
        raise ValueError(f"{path}: a {kind} file that is truncated or damaged: {error}") from error
    return file, digest.hexdigest()


def _brackets(file: IO[bytes], path: Path) -> tuple[Ints, Ints, Ints]:
    """Offset, sign (+1 opens, -1 closes) and depth behind it of the brackets down to depth 3.

    Braces and square brackets count alike; those inside strings do not count.
    """
    file.seek(0)
    offset = depth = in_string = 0
    found: list[tuple[Ints, Ints, Ints]] = []
    while text := file.read(CHUNK):
        while text.endswith(b"\\") and (more := file.read(len(text))):  # cut no escape in two
            text += more
        data = np.frombuffer(text, np.uint8)
        quotes = _string_quotes(text, data)
        folded = data | 0x20  # "[" becomes "{" and "]" becomes "}"
        positions = np.flatnonzero((folded == 0x7B) | (folded == 0x7D))
        outside = (np.searchsorted(quotes, positions) + in_string) & 1 == 0
        positions = positions[outside]
        signs = 0x7C - folded[positions].astype(np.int64)
        depths = depth + np.cumsum(signs)
        if positions.size:
            depth = int(depths[-1])
        kept = depths + (signs == -1) <= 3
        found.append((positions[kept] + offset, signs[kept], depths[kept]))
        in_string = (in_string + quotes.size) & 1
        offset += len(text)
    if depth or in_string:
        raise ValueError(
            f"{path}: not valid JSON: the file ends inside "
            f"{'a string' if in_string else 'an object or list'}, at byte {offset:,}; is it "
            "truncated? download or copy it again"
        )
    positions, signs, depths = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if depths.min() < 0 or depths[:-1].min() < 1:
        raise ValueError(f"{path}: not valid JSON: there is more after the first object")
    return positions, signs, depths


def _string_quotes(text: bytes, data: npt.NDArray[np.uint8]) -> Ints:
    """Positions of the quotes that open or close a string: those that no backslash escapes."""
    quotes = np.flatnonzero(data == 0x22)
    if b'\\"' not in text:
        return quotes
    escaped = [match.end() - 1 for match in re.finditer(rb"\\.", text, re.DOTALL)]
    return np.setdiff1d(quotes, escaped, assume_unique=True)
