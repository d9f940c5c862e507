"""Which files to segment, and what their outputs are called. Opens no photo."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from datasets.images import IMAGE_SUFFIXES
from datasets.predictions.outputs import REPORT_NAME, SHARDS, own_paths

# Pictures by their name, of which some cannot be read: a person who gives them wants to know.
PICTURE_SUFFIXES = IMAGE_SUFFIXES | {
    *(".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".psd"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
}


@dataclass(frozen=True)
class PhotoFile:
    """A file to segment.

    Attributes:
        path: where it is.
        name: how reports call it: relative, with slashes.
        output: path of its outputs below their folders, without their suffix.
        is_picture: whether it claims to be one, by its suffix or since a person named it, or may
            hold some, being a folder that cannot be read. Any other file is tried too, but is no
            failure if it is none.
    """

    path: Path
    name: str
    output: str
    is_picture: bool


def choose_photo_files(
    named: Sequence[Path],
    list_file: Path | None,
    images_dir: Path | None,
    *,
    recursive: bool,
    without: Collection[Path],
) -> list[PhotoFile]:
    """The files to segment, in the order in which they are done: named, listed, or of a folder.

    Args:
        named, list_file, images_dir: one of them, or a list and the folder that it is of.
        recursive, without: see ``find_photo_files``.

    Raises:
        ValueError: not one of the files is there, or see the functions below.
    """
    if list_file:
        named = read_list(list_file)
    elif not named:
        assert images_dir
        return find_photo_files(images_dir, recursive=recursive, without=without)
    files = named_photo_files(named, images_dir)
    # Path.exists raises an error at names that no file can have.
    if not any(os.path.exists(file.path) for file in files):  # noqa: PTH110
        others = ", nor are there the others" if len(files) > 1 else ""
        raise ValueError(f"{files[0].path}: no such file{others}")
    return files


def find_photo_files(
    images_dir: Path, *, recursive: bool = True, without: Collection[Path] = ()
) -> list[PhotoFile]:
    """Every file of a folder, sorted; hidden ones, whose name starts with a dot, do not count.

    Predictions do not count either, of whatever run: what inference.py wrote into a folder that
    holds a predictions.json. A sub-folder that cannot be read stands for the files in it, which
    nobody knows.

    Args:
        images_dir: the folder.
        recursive: whether its sub-folders count; links to folders are followed, each folder once.
        without: further files and folders that do not count.

    Raises:
        ValueError: there is no such folder, it cannot be read, or it is empty.
    """
    if not images_dir.is_dir():
        raise ValueError(f"{images_dir}: no such folder")
    left_out = {path.resolve() for path in without}
    unreadable: dict[Path, OSError] = {}
    found = [*_walk(images_dir, recursive, left_out, unreadable), *unreadable]
    if images_dir in unreadable:
        raise ValueError(f"{images_dir}: cannot be read: {unreadable[images_dir].strerror}")
    if not found:
        hint = "" if recursive else " (its sub-folders do not count)"
        raise ValueError(f"{images_dir}: an empty folder{hint}, expected images")
    found.sort(key=lambda path: path.parts)
    pictures = {path for path in found if path.suffix.lower() in PICTURE_SUFFIXES}
    return _photo_files(found, images_dir, pictures | unreadable.keys())


def named_photo_files(paths: Iterable[Path], folder: Path | None = None) -> list[PhotoFile]:
    """Files that a person named, in that order, each once, however its path is written.

    Args:
        paths: relative to ``folder``, or else to the current folder.
        folder: outputs are named relative to it; None: to the folder that holds all the files.

    Raises:
        ValueError: there is none, or one is outside ``folder``.
    """
    base = folder or Path()
    found = list(dict.fromkeys(_absolute(base / path) for path in paths))
    if not found:
        raise ValueError("no files are named, expected at least one image")
    root = _absolute(folder) if folder else Path(os.path.commonpath([p.parent for p in found]))
    for path in found:
        if not path.is_relative_to(root):
            raise ValueError(f"{path} is not in {folder}; name files of that folder")
    return _photo_files(found, root, set(found))


def _photo_files(paths: list[Path], root: Path, pictures: Collection[Path]) -> list[PhotoFile]:
    names = [path.relative_to(root).as_posix() for path in paths]
    return [
        PhotoFile(path, name, output, path in pictures)
        for path, name, output in zip(paths, names, output_names(names), strict=True)
    ]


def read_list(path: Path) -> list[Path]:
    """The paths in a text file, one a line; empty lines do not count.

    Raises:
        ValueError: it is no such file (no path holds a zero byte, UTF-16 and pictures do), or
            cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"--list {path}: cannot be read: {error.strerror}") from error
    if b"\0" in content:
        raise ValueError(f"{path}: expected UTF-8 text, a path a line")
    text = content.decode("utf-8-sig", errors="surrogateescape")
    return [Path(line) for line in text.splitlines() if line.strip()]


def output_names(names: Sequence[str]) -> list[str]:
    """What the outputs of each file are called, without their suffix; no two the same.

    ``a/b.jpg`` -> ``a/b``, so that masks pair with images; but the whole name, ``a/b.jpg``, where
    another picture would be ``a/b`` too, and for files without the suffix of a picture. Upper and
    lower case are the same, as on some file systems. It depends on the list as a whole alone, so
    every shard of it comes to the same names.
    """
    short = [
        str(PurePosixPath(name).with_suffix(""))
        if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES
        else name
        for name in names
    ]
    while True:
        times = Counter(name.casefold() for name in short)
        clash = [
            index
            for index, name in enumerate(short)
            if times[name.casefold()] > 1 and name != names[index]
        ]
        if not clash:
            return short
        for index in clash:
            short[index] = names[index]


def _absolute(path: Path) -> Path:
    """Without ``..``; links stay, since outputs are called by the names that a person sees."""
    return Path(os.path.normpath(path.absolute()))


def _walk(
    folder: Path, recursive: bool, without: Collection[Path], unreadable: dict[Path, OSError]
) -> Iterator[Path]:
    """The files of a folder; folders that cannot be read are put into ``unreadable``."""

    def note(error: OSError) -> None:
        unreadable[Path(error.filename)] = error

    seen: set[tuple[int, int]] = set()  # a link may lead back to where it is
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=note):
        here = Path(parent).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        real = Path(parent).resolve()
        reports = [name for name in names if fnmatch(name, SHARDS) or name == REPORT_NAME]
        own = own_paths(real) if any(_is_report(real / name) for name in reports) else ()
        left_out = {*without, *own}
        folders[:] = [
            name
            for name in folders
            if recursive
            and not name.startswith(".")
            and left_out.isdisjoint((real / name, (real / name).resolve()))
        ]
        folders.sort()
        for name in names:
            if not name.startswith(".") and real / name not in left_out:
                yield Path(parent, name)


def _is_report(path: Path) -> bool:
    """Whether a file is a report of inference.py, by its start: it may be of a million photos."""
    start = b""
    if path.is_file():  # a pipe would wait for ever
        with suppress(OSError), path.open("rb") as file:
            start = file.read(10_000)
    return all(b'"%s":' % key in start for key in (b"format_version", b"checkpoint_sha256"))
