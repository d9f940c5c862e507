"""One image and its mask, looked at as little as tells whether training can read them.

Also the kinds of problems, and what to do about each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from datasets.images import orientation_of, remarks_of
from datasets.mask_files import MaskError, Size, count_values

# A whole file has its format's last marker near its end; what a tool adds after it is short.
END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}  # by the first two bytes
TAIL = 64

MAX_NAMED = 10  # files of one kind of problem


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        role: "image" or "mask", the file that has it.
        what: continues the role.
        outcome: "fatal" (no training), "left out" (training without the pair) or "kept".
        advice: what to do.
    """

    role: str
    what: str
    outcome: str
    advice: str = ""


# Left out is what a person may well accept: a few files lost on the way. Fatal is what would be
# the same mistake in many files, and would make training learn something else than was meant.
_ROWS = json.loads(Path(__file__).with_name("problems.json").read_text(encoding="utf-8"))
KINDS = {name: Kind(**row) for name, row in _ROWS.items()}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file.

    Attributes:
        kind: a key of KINDS.
        path: the file.
        detail: what was found in it; may be empty.
    """

    kind: str
    path: Path
    detail: str = ""

    @property
    def is_fatal(self) -> bool:
        """Whether it forbids training."""
        return KINDS[self.kind].outcome == "fatal"

    @property
    def is_kept(self) -> bool:
        """Whether the pair is used all the same."""
        return KINDS[self.kind].outcome == "kept"

    @property
    def of_image(self) -> bool:
        """Whether the image has it, not the mask."""
        return KINDS[self.kind].role == "image"


def told(findings: Iterable[Finding], folders: Mapping[str, Path]) -> list[str]:
    """A line for each kind of problem: how many files, the first ten by name, what to do.

    Args:
        findings: of one split.
        folders: of "image" and "mask".
    """
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
    for finding in findings:
        by_kind[finding.kind].append(finding)
    return [_line(KINDS[k], folders[KINDS[k].role], found) for k, found in by_kind.items() if found]


def _line(kind: Kind, folder: Path, found: Sequence[Finding]) -> str:
    count, outcome = len(found), "" if kind.outcome == "fatal" else f", {kind.outcome}"
    names = [
        str(one.path.relative_to(folder)) + (f" ({one.detail})" if one.detail else "")
        for one in found[:MAX_NAMED]
    ]
    more = f" and {count - MAX_NAMED:,} more" if count > MAX_NAMED else ""
    advice = f"; {kind.advice}" if kind.advice else ""
    return (
        f"{folder}: {count:,} {kind.role}{'s' * (count > 1)} {kind.what}{outcome}: "
        f"{', '.join(names)}{more}{advice}"
    )


def look_at(
    pair: tuple[Path, Path], *, by_color: bool = False
) -> tuple[list[Finding], dict[int, int]]:
    """Look at a pair: the image's header and end, all of the mask (see ``count_values``).

    An image whose end looks cut off is decoded to see whether it is. Damage in the middle of an
    image is not found.

    Returns:
        What is wrong with it, and how often the mask has each pixel value that it has; the latter
        is empty if the mask cannot be read.
    """
    image_path, mask_path = pair
    findings: list[Finding] = []
    image_size = mask_size = None
    orientation = 1
    counts: dict[int, int] = {}
    try:
        image_size, orientation, remarks = _look_at_image(image_path)
        findings += [Finding("odd_image", image_path, remark) for remark in remarks]
    except Exception as error:  # Pillow's readers raise whatever a damaged header leads them to
        findings.append(_unreadable("image", image_path, error))
    try:
        mask_size, counts = count_values(mask_path, by_color=by_color)
    except MaskError as error:
        findings.append(Finding(error.kind, mask_path, error.detail))
    except Exception as error:
        findings.append(_unreadable("mask", mask_path, error))
    if image_size and mask_size:
        upright = image_size[::-1] if orientation > 4 else image_size
        if orientation > 1 and mask_size == upright:
            kind = "either_way" if upright == image_size else "upright"
            findings.append(Finding(kind, image_path))
        elif mask_size != image_size:
            detail = f"{_text(mask_size)}, its image {_text(image_size)}"
            findings.append(Finding("other_size", mask_path, detail))
    return findings, counts


def _look_at_image(path: Path) -> tuple[Size, int, list[str]]:
    """Its size as stored, EXIF's orientation, and what ``remarks_of`` says."""
    with path.open("rb") as file:
        whole = _has_end(file)
        with Image.open(file) as image:
            remarks = remarks_of(image)
            if not whole:
                image.load()
            # Pillow turns TIFF by itself.
            orientation = 1 if image.format == "TIFF" else orientation_of(image)
            return (image.height, image.width), orientation, remarks


def _has_end(file: IO[bytes]) -> bool:
    """Whether a JPEG or PNG file ends as it should; False for other formats."""
    marker = END_MARKERS.get(file.read(2))
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
    tail = file.read()
    file.seek(0)
    return marker is not None and marker in tail


def _unreadable(role: str, path: Path, error: Exception) -> Finding:
    if path.is_file() and path.stat().st_size == 0:
        return Finding(f"empty_{role}", path)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    known = text.partition("cannot identify image file")[1]
    detail = "not a picture" if known else text.removeprefix(f"{path}: ")
    return Finding(f"unreadable_{role}", path, detail or type(error).__name__)


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
