"""Image files as annotation files name them: where they are, and whether they are as described."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from PIL import Image

from datasets.coco.records import ImageEntry
from datasets.images import EXIF_ORIENTATION


@dataclass(frozen=True)
class ImageFile:
    """Where an image entry's file is, and where its mask belongs.

    Attributes:
        image: the image file; None if there is none.
        mask: below the mask folder, the same folders and name with the suffix .png.
    """

    image: Path | None
    mask: PurePosixPath


def find_image_file(images_dir: Path, file_name: str) -> ImageFile:
    """Look an image up below ``images_dir``, as named or, if only that exists, percent-decoded.

    Raises:
        ValueError: the name leads out of the folder; names the file.
    """
    names = dict.fromkeys([file_name, unquote(file_name)])
    paths = [_relative(name, file_name) for name in names]
    for path in paths:
        if _is_file(images_dir / path):
            return ImageFile(images_dir / path, path.with_suffix(".png"))
    return ImageFile(None, paths[0].with_suffix(".png"))


def find_image_files(images_dir: Path, images: Sequence[ImageEntry]) -> list[ImageFile]:
    """Where each image is, and where its mask belongs.

    Raises:
        ValueError: a name leads out of the folder, two images would have the same mask file, or
            one's mask would be a file where another's needs a folder.
    """
    files = [find_image_file(images_dir, image.file_name) for image in images]
    owner: dict[PurePosixPath, str] = {}
    for image, file in zip(images, files, strict=True):
        if file.mask in owner:
            raise ValueError(
                f"images {owner[file.mask]!r} and {image.file_name!r} would both have the mask "
                f"{str(file.mask)!r}; rename one, in the annotation file too"
            )
        owner[file.mask] = image.file_name
    for mask, name in owner.items():
        for folder in mask.parents:
            if folder in owner:
                raise ValueError(
                    f"the mask of image {owner[folder]!r} would be the file {str(folder)!r}, where "
                    f"image {name!r} needs a folder; rename one, in the annotation file too"
                )
    return files


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _relative(name: str, file_name: str) -> PurePosixPath:
    """The name as a path that stays below the folder it is put under."""
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name) is not None
    if unsafe or "\0" in name or not path.name:
        raise ValueError(
            f"image file_name {file_name!r} leads out of the images folder, expected a relative "
            "path without '..', drive letter or NUL; correct it in the annotation file"
        )
    return path


def check_image_header(path: Path, entry: ImageEntry) -> str | None:
    """What is wrong with an image file, by its header alone; None if it is as annotated."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if (height, width) == (entry.height, entry.width):
                return None
            turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception as error:  # Pillow's readers raise whatever a damaged header leads them to
        if isinstance(error, OSError) and error.strerror:
            return f"image file cannot be read ({error.strerror})"
        return "image file is not a picture that can be read"
    if turned and (width, height) == (entry.height, entry.width):
        return "image file is stored turned (EXIF orientation), its annotations are upright"
    return "image file has another size than its annotations"
