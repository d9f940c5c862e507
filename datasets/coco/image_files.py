"""Image files as annotation files name them: where they are, and whether they are as described."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from datasets.coco.records import ImageEntry
from datasets.images import orientation_of

SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that make height of width
PNG_EXIF = {"exif", "Raw profile type exif"}  # Pillow's keys of it in front of the pixels
LEADS_OUT = "file_name leads out of the images folder"


@dataclass(frozen=True)
class ImageFile:
    """Where an image entry's file is, and where its mask belongs.

    Attributes:
        image: the image file; None if there is none.
        mask: below the mask folder, the same folders and name with the suffix .png.
        problem: why there is no image file; "" if there is.
        detail: what a person should know of it, for this image alone; "respelled": another name.
    """

    image: Path | None
    mask: PurePosixPath
    problem: str = ""
    detail: str = ""


def find_image_file(images_dir: Path, file_name: str) -> ImageFile:
    """Look an image up below ``images_dir``.

    As named, or, if only that exists, percent-decoded, or under a name that differs in the case of
    its suffix or in its Unicode form alone. Of a URL the last part of the path is the name; a path
    into ``images_dir`` is one below it.
    """
    names = dict.fromkeys([file_name, unquote(file_name)])
    url = urlsplit(file_name) if "://" in file_name else None
    if url:
        parts = url.path.rsplit("/", 2)[1:]
        names = dict.fromkeys(unquote(name) for name in (parts[-1], "/".join(parts)))
    paths = [path for name in names if (path := _relative(images_dir, name))]
    if len(paths) < len(names) and not (url and paths):
        last = PurePosixPath(file_name.replace("\\", "/"))
        detail = "expected a path below it, without '..'" + _nearest(images_dir, last, [])
        return ImageFile(None, PurePosixPath(), LEADS_OUT, detail)
    for path in paths:
        if os.path.isfile(images_dir / path):  # noqa: PTH113 (no error at odd names)
            return ImageFile(images_dir / path, path.with_suffix(".png"))
    wanted, near = paths[0], list[str]()
    if os.path.lexists(images_dir / wanted):
        reason = "image file is a folder, a link to nothing, or no regular file"
        return ImageFile(None, wanted.with_suffix(".png"), reason)
    parent = str(wanted.parent)
    forms = [unicodedata.normalize(form, parent) for form in ("NFC", "NFD")]
    for folder in dict.fromkeys([parent, *forms]):
        there = _names_by_stem(images_dir / folder).get(_stem(wanted).lower(), [])
        paths = [PurePosixPath(folder, name) for name in there]
        alike = [path for path in paths if _spelled(path) == _spelled(wanted)]
        if len(alike) == 1 and (images_dir / alike[0]).is_file():
            return ImageFile(images_dir / alike[0], alike[0].with_suffix(".png"), "", "respelled")
        near += there
    detail = f"; its file_name is a URL, of which {str(wanted)!r} is not there" if url else ""
    detail += _nearest(images_dir, wanted, near)
    return ImageFile(None, wanted.with_suffix(".png"), "image file is missing", detail[2:])


def _nearest(images_dir: Path, name: PurePath, near: Sequence[str]) -> str:
    """The files that a missing one's name may mean, in its own folder or in that of the images."""
    near = near or _names_by_stem(images_dir).get(_stem(name).lower(), [])
    return f"; the nearest names there are {', '.join(map(repr, near))}" if near else ""


def find_image_files(images_dir: Path, images: Sequence[ImageEntry]) -> list[ImageFile]:
    """Where each image is, and where its mask belongs.

    Raises:
        ValueError: two images would have the same mask file.
    """
    files = [find_image_file(images_dir, image.file_name) for image in images]
    owner: dict[PurePosixPath, ImageEntry] = {}
    for image, file in zip(images, files, strict=True):
        if file.problem == LEADS_OUT:
            continue
        other = owner.setdefault(file.mask, image)
        if other is not image:
            raise ValueError(
                f"images {other.file_name!r} (id {other.id}) and {image.file_name!r} (id "
                f"{image.id}) would both have the mask {str(file.mask)!r}; rename one, in the "
                "annotation file too, or remove one entry if they are the same"
            )
    return files


@cache
def _names_by_stem(folder: Path) -> dict[str, list[str]]:
    """The files of a folder, by their stems in one Unicode form and small letters."""
    names: dict[str, list[str]] = {}
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            names.setdefault(_stem(path).lower(), []).append(path.name)
    return names


def _stem(path: PurePath) -> str:
    return unicodedata.normalize("NFC", path.stem)


def _spelled(path: PurePath) -> tuple[str, str]:
    """What is the same for a file's name in other Unicode forms and with a suffix in capitals."""
    return _stem(path), path.suffix.lower()


def _relative(images_dir: Path, name: str) -> PurePosixPath | None:
    """The name as a path that stays below the folder it is put under; None if it does not."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute():
        for folder in (images_dir.absolute(), images_dir.resolve()):
            if path.is_relative_to(folder):
                path = path.relative_to(folder)
    drive = PureWindowsPath(name).drive[1:2] == ":"
    unsafe = path.is_absolute() or ".." in path.parts or drive
    return None if unsafe or "\0" in name or not path.name else path


class ImageProblem(ValueError):
    """Why an image gets no mask: a reason, the same for all alike, and what is so of this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def read_orientation(path: Path, entry: ImageEntry, upright: bool = False) -> tuple[int, int]:
    """Compare an image file's header with its entry; decodes no picture.

    Args:
        upright: whether its annotations are those of the upright picture also where their size
            fits the stored pixels.

    Returns:
        EXIF's orientation, 2 to 8, where the annotated size fits the picture that it turns upright,
        else 1; and the orientation from which the annotations' mask must be turned back, else 1.

    Raises:
        ImageProblem: the file is no picture of the annotated size.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # no pixel is decoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, by no file's name
            with Image.open(path) as image:
                width, height = image.size
                # Of a PNG, Pillow would look behind the pixels, and decode them; TIFFs it turns.
                has_none = image.format == "PNG" and not PNG_EXIF & image.info.keys()
                orientation = 1 if has_none or image.format == "TIFF" else orientation_of(image)
    except Exception as error:  # Pillow's readers raise whatever a damaged header leads them to
        if isinstance(error, OSError) and error.strerror:
            raise ImageProblem(f"image file cannot be read ({error.strerror})") from error
        bands = "of many bands, or damaged: save it with 1, 3 or 4, or make its mask with"
        detail = f"{bands} --no_check_images" if path.suffix.lower() in (".tif", ".tiff") else ""
        raise ImageProblem("image file is not a picture that can be read", detail) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    swaps = orientation in SWAPS_SIDES
    if swaps and (entry.height, entry.width) == (width, height):
        return orientation, orientation if upright or height != width else 1
    if (entry.height, entry.width) == (height, width):
        return (1, 1) if swaps else (orientation, orientation if upright else 1)
    detail = f"it is {width} x {height}, annotated are {entry.width} x {entry.height}"
    raise ImageProblem("image file has another size than its annotations", detail)
