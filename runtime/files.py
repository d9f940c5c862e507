"""Writes that are whole or absent: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

HOST = f"{zlib.crc32(platform.node().encode()):08x}"
LEFTOVER = re.compile(r"\..+\.([0-9a-f]{8})-(\d{1,9})\.tmp", re.DOTALL)
A_DAY = 24 * 60 * 60  # seconds


@contextmanager
def replacing(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, else remove it.

    Its name starts with a dot and ends in .tmp, so that nobody takes an unfinished file for data;
    it names the process, so that several may write, and is short, however long that of ``path``.
    What a killed process left, the first write of a later one to the folder removes.

    Args:
        path: the file to write; its folder must exist.
        flush: also wait until the bytes are on the disk, so that they survive a power cut.

    Raises:
        OSError: the folder is missing, read-only or full; ``path`` is then what it was before. The
            error names a file.
    """
    _remove_leftovers(path.parent)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f".{digest}.{HOST}-{os.getpid()}.tmp")
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)  # Python names no file that is open, or the temporary one
        raise


@cache
def _remove_leftovers(folder: Path) -> None:
    """Once in a process and folder: remove temporary files of processes that are no more.

    Those of other machines count as left over after a day.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := LEFTOVER.fullmatch(entry.name):
                with suppress(OSError):
                    if _is_left(match[1], int(match[2]), entry.stat(follow_symlinks=False)):
                        Path(entry).unlink()


def _is_left(host: str, process: int, status: os.stat_result) -> bool:
    if host != HOST:
        return time.time() - status.st_mtime > A_DAY
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, PermissionError)  # somebody else's
    return False


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, names in another encoding as JSON's escapes, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    with replacing(path) as new, new.open("w", encoding="utf-8", errors="backslashreplace") as file:
        # Piece by piece: all pieces of an indented text at a time take many times its size.
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, whose columns are those of the last, to ``path``, whole or not at all."""
    with replacing(path) as new, new.open("w", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written to a folder, made if missing; None if it can."""
    whole = folder.absolute()
    place = next(path for path in (whole, *whole.parents) if os.path.lexists(path))
    if not place.is_dir():
        return f"{place} is a {'file' if place.exists() else 'link to nothing'}, expected a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return (
            f"{place} may not be written to (permission denied); choose another folder, or change "
            "its permissions"
        )
    return None
