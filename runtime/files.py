"""Writes that are whole or absent: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or this user's share of it
LONGEST_NAME = 255  # bytes of a file's name, on the usual file systems


@contextmanager
def replacing(path: Path, *, flush: bool = False, writer: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, else remove it.

    Whoever reads ``path`` meanwhile sees the old file or the new one, never half of one. The
    temporary name ends in the suffix of ``path``, so that writers which go by suffix work on it;
    it starts with a dot, so that a leftover of a killed process is no data file; and it is the
    same each time, so that the next run replaces such a leftover. One writer a path at a time.

    Args:
        path: the file to write; its folder must exist.
        flush: also wait until the bytes are on the disk, so that they survive a power cut.
        writer: part of the temporary name, where several machines may write at once.

    Raises:
        OSError: the folder is missing, read-only or full; ``path`` is then what it was before. The
            error names a file.
    """
    temporary = path.with_name(_temporary_name(path, writer))
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # Python names it when a file is opened, not when written
        raise


def how_to_go_on(error: Exception) -> str:
    """What to do after an error that stopped a command which keeps what it has done."""
    if isinstance(error, OSError) and error.errno in FULL:
        return "make room and run the same command again: it goes on from here"
    return "the same command goes on from here"


def _temporary_name(path: Path, writer: str) -> str:
    """``.STEM.WRITERtmpSUFFIX``, of a long STEM its start and a digest instead."""
    name = f".{path.stem}.{writer}tmp{path.suffix}"
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    whole = os.fsencode(path.name)
    suffix = path.suffix if len(path.suffix) <= 10 else ""  # what is longer, no writer goes by
    end = f".{hashlib.sha256(whole).hexdigest()[:16]}.{writer}tmp{suffix}"
    start = whole[: LONGEST_NAME - 1 - len(os.fsencode(end))]
    return f".{start.decode(errors='ignore')}{end}"


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all.

    What UTF-8 cannot encode, such as a file name in another encoding, is written as an escape,
    the same as JSON's.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written to a folder, made if missing; None if it can."""
    whole = folder.absolute()
    place = next(path for path in (whole, *whole.parents) if os.path.lexists(path))
    if not place.is_dir():
        return f"{place} is a file, expected a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} may not be written to; choose another folder, or change its permissions"
    return None


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
