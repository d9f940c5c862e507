"""Files of a web server, whole: tried again, and continued where they were cut off."""

from __future__ import annotations

import shutil
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tqdm import tqdm

from runtime.command_line import FULL

TIMEOUT = 15.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try, until one brings a byte more
LATER = (408, 425, 429)  # HTTP's words for "try again", beside all from 500 on
BLOCK = 1 << 16  # bytes


class Server:
    """What files are fetched from: a URL, below which their paths are."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.stopped = threading.Event()  # set, it ends what is under way

    def fetch(self, name: str, part: Path, bar: tqdm[Any] | None = None) -> None:
        """Add to the file ``part`` what it lacks of a file of the server, until it is whole.

        Raises:
            HTTPError: the server does not have it.
            OSError, HTTPException: it does not come, or ``part`` cannot be written.
            RuntimeError: the disk has no room for it.
        """
        tries = most = 0
        while True:
            try:
                return self._fetch(name, part, bar)
            except (OSError, HTTPException) as error:  # time-outs and HTTPErrors are OSErrors
                there = part.stat().st_size if part.exists() else 0
                tries, most = (0, there) if there > most else (tries, most)
                if not may_come(error) or tries == len(WAITS) or self.stopped.wait(WAITS[tries]):
                    raise
                tries += 1

    def _fetch(self, name: str, part: Path, bar: tqdm[Any] | None) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "coco-unet", **({"Range": f"bytes={have}-"} if have else {})}
        try:
            response = urlopen(Request(f"{self.url}/{quote(name)}", headers=headers), None, TIMEOUT)
        except HTTPError as error:
            if error.code != 416:
                raise
            if error.headers["Content-Range"] == f"bytes */{have}":
                return  # it was whole
            part.unlink()
            raise ConnectionError(f"{name} is shorter than the {have:,} bytes here") from error
        with response, part.open("ab") as file:
            if not (response.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
                have = 0  # this server has no ranges
            file.truncate(have)
            total = have + (response.length or 0)
            check_space(part.parent, total - have)
            for block in iter(partial(response.read, BLOCK), b""):
                if self.stopped.is_set():
                    raise ConnectionAbortedError("stopped")
                file.write(block)
                if bar is not None:
                    bar.total = total
                    bar.update(file.tell() - bar.n)
            if file.tell() < total:
                raise ConnectionError(f"the connection ended after {file.tell():,} bytes")

    @contextmanager
    def archive(self, name: str, folder: Path) -> Iterator[zipfile.ZipFile]:
        """A ZIP file of the server; it stays in the folder for the next run if this one is ended.

        Raises:
            RuntimeError: it is damaged, or lacks a member that was asked for; or see ``fetch``.
        """
        whole = folder / f".{Path(name).name}"
        if not whole.exists():
            part = folder / f"{whole.name}.part"
            with tqdm(desc=whole.name[1:], unit="B", unit_scale=True, disable=None) as bar:
                self.fetch(name, part, bar)
            part.replace(whole)
        try:
            with zipfile.ZipFile(whole) as file:
                yield file
        except (KeyError, zipfile.BadZipFile, zlib.error) as error:
            whole.unlink()
            raise RuntimeError(f"{self.url}/{name} is damaged, and removed: {error}") from error
        whole.unlink()


def may_come(error: Exception) -> bool:
    """Whether another try could bring what this one did not."""
    if isinstance(error, HTTPError):
        return error.code >= 500 or error.code in LATER
    return not (isinstance(error, OSError) and error.errno in FULL)


def check_space(folder: Path, needed: int) -> None:
    """Raise a RuntimeError where a folder's disk has less room than so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        numbers = f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
        raise RuntimeError(f"{folder}: {numbers}; make room")


def unzip(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Write a member of a ZIP file to ``path``; its checksum is checked."""
    with archive.open(name) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
