"""Which files to segment, and what their outputs are called. Opens no photo."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets.images import IMAGE_SUFFIXES
from datasets.predictions.outputs import REPORT_NAME, SHARDS, own_names

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
    named: Sequence[Path], list_file: Path | None, images_dir: Path | None, *, recursive: bool
) -> list[PhotoFile]:
    """The files to segment, in order: named, in a list (maybe of a folder), or of a folder.

    Raises:
        ValueError: not one of the files is there, or see the functions below.
    """
    if images_dir and not list_file:
        return find_photo_files(images_dir, recursive=recursive)
    files = named_photo_files(read_list(list_file) if list_file else named, images_dir)
    # Path.exists raises an error at names that no file can have.
    if not any(os.path.exists(file.path) for file in files):  # noqa: PTH110
        others = ", nor are there the others" if len(files) > 1 else ""
        raise ValueError(f"{files[0].path}: no such file{others}")
    return files


def find_photo_files(images_dir: Path, *, recursive: bool = True) -> list[PhotoFile]:
    """Every file of a folder, sorted, but for hidden ones and what inference.py wrote, in any run.

    Links to folders are followed, each folder once. A sub-folder that cannot be read stands for
    the files in it, which nobody knows.

    Raises:
        ValueError: there is no such folder, it cannot be read, or it is empty.
    """
    if not images_dir.is_dir():
        raise ValueError(f"{images_dir}: no such folder")
    unreadable: dict[Path, OSError] = {}
    found = [*_walk(images_dir, recursive, unreadable), *unreadable]
    if images_dir in unreadable:
        raise ValueError(f"{images_dir}: cannot be read: {unreadable[images_dir].strerror}")
    if not found:
        hint = "" if recursive else " (its sub-folders do not count)"
        raise ValueError(f"{images_dir}: an empty folder{hint}, expected images")
    pictures = {path for path in found if path.suffix.lower() in PICTURE_SUFFIXES}
    found.sort(key=lambda path: path.parts)
    return _photo_files(found, images_dir, pictures | unreadable.keys())


def named_photo_files(paths: Iterable[Path], folder: Path | None = None) -> list[PhotoFile]:
    """Files that a person named, in that order, each once, however its path is written.

    Args:
        paths: relative to ``folder``, or else to the current folder.
        folder: outputs are named relative to it; None: to the folder that holds all the files.

    Raises:
        ValueError: there is none, or one is outside ``folder``.
    """
    found = list(dict.fromkeys(_absolute((folder or Path()) / path) for path in paths))
    if not found:
        raise ValueError("no files are named, expected at least one image")
    root = _absolute(folder) if folder else Path(os.path.commonpath([p.parent for p in found]))
    if outside := [path for path in found if not path.is_relative_to(root)]:
        raise ValueError(f"{outside[0]} is not in {folder}; name files of that folder")
    return _photo_files(found, root, found)


def _absolute(path: Path) -> Path:
    """Without ``..``; links stay, since outputs are called by the names that a person sees."""
    return Path(os.path.normpath(path.absolute()))


def _photo_files(paths: list[Path], root: Path, pictures: Collection[Path]) -> list[PhotoFile]:
    names = [path.relative_to(root).as_posix() for path in paths]
    each, pictures = zip(paths, names, output_names(names), strict=True), set(pictures)
    return [PhotoFile(path, name, output, path in pictures) for path, name, output in each]


def read_list(path: Path) -> list[Path]:
    """The paths in a text file, one a line; empty lines do not count.

    Raises:
        ValueError: it cannot be read, or is no such file: no path holds a zero byte, UTF-16 does.
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
    wholes = [PurePosixPath(name) for name in names]
    short = [
        str(whole.with_suffix("") if whole.suffix.lower() in PICTURE_SUFFIXES else name)
        for name, whole in zip(names, wholes, strict=True)
    ]
    while True:
        times = Counter(name.casefold() for name in short)
        longer = [
            whole if times[name.casefold()] > 1 else name
            for name, whole in zip(short, names, strict=True)
        ]
        if longer == short:
            return short
        short = longer


def _walk(folder: Path, recursive: bool, unreadable: dict[Path, OSError]) -> Iterator[Path]:
    """The files of a folder; folders that cannot be read are put into ``unreadable``."""

    def note(error: OSError) -> None:
        unreadable[Path(error.filename)] = error

    seen: set[Path] = set()  # a link may lead back to where it is
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=note):
        here, real = Path(parent), Path(parent).resolve()
        own = {*folders, *names} if real in seen else _own_names(here)
        seen.add(real)
        count = {name for name in (*folders, *names) if not name.startswith(".")} - own
        folders[:] = sorted(count.intersection(folders)) if recursive else []
        yield from (here / name for name in names if name in count)


def _own_names(folder: Path) -> set[str]:
    """What inference.py wrote into a folder, if there is a report, which tells at its start."""
    shards = [path.name for path in folder.glob(SHARDS)]
    for path in (folder / name for name in (REPORT_NAME, *shards)):
        if path.is_file():  # a pipe would wait for ever
            with suppress(OSError), path.open("rb") as file:
                if b'"checkpoint_sha256":' in file.read(10_000):
                    return {*own_names(), *shards}
    return set()
