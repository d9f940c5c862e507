"""The kinds of problems that images and masks have: what each means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
KINDS = {
    "image_without_mask": Kind("image", "without a mask", "left out"),
    "mask_without_image": Kind("mask", "without an image", "left out"),
    "empty_image": Kind("image", "of zero bytes", "left out", "copy or download it again"),
    "empty_mask": Kind("mask", "of zero bytes", "left out", "make it again"),
    "unreadable_image": Kind("image", "that cannot be read", "left out", "download it again"),
    "unreadable_mask": Kind("mask", "that cannot be read", "left out", "make it again"),
    "other_size": Kind(
        "mask",
        "of another size than its image",
        "left out",
        "make the masks of these very images; sizes are height x width",
    ),
    "some_binary": Kind(
        "mask",
        "of 0 and 255 alone",
        "kept",
        "255 means ignored here; if it is the object in these, give it the value of its label",
    ),
    "binary": Kind(
        "mask",
        "of 0 and 255 alone",
        "fatal",
        "255 means ignored here, so no object would be learned; give the object the value of its "
        "label, or give training and validation such masks alike, without masks.json",
    ),
    "jpeg_mask": Kind(
        "mask",
        "in JPEG format",
        "fatal",
        "JPEG changes pixel values, so labels are lost: make the masks again as PNG; converting "
        "these does not bring the labels back",
    ),
    "color_mask": Kind(
        "mask",
        "in colour",
        "fatal",
        "save label indices in an 8-bit palette or grayscale PNG, not colours",
    ),
    "mask_mode": Kind(
        "mask",
        "with other than 8 bits a pixel",
        "fatal",
        "save label indices in an 8-bit palette or grayscale PNG",
    ),
    "unknown_label": Kind(
        "mask",
        "with a pixel value that is no label",
        "fatal",
        "make the masks of training and validation alike, with one label set",
    ),
}


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


@dataclass(frozen=True)
class Problem:
    """All files of one folder with one kind of problem.

    Attributes:
        kind: a key of KINDS.
        folder: images folder or masks folder.
        files: (name relative to the folder, what was found; may be empty).
    """

    kind: str
    folder: Path
    files: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """The problem in one line: how many, the first ten by name, what to do."""
        kind, count = KINDS[self.kind], len(self.files)
        outcome = "" if kind.outcome == "fatal" else f", {kind.outcome}"
        names = [f"{name} ({text})" if text else name for name, text in self.files[:MAX_NAMED]]
        more = f" and {count - MAX_NAMED:,} more" if count > MAX_NAMED else ""
        advice = f"; {kind.advice}" if kind.advice else ""
        return (
            f"{self.folder}: {count:,} {kind.role}{'s' * (count > 1)} {kind.what}{outcome}: "
            f"{', '.join(names)}{more}{advice}"
        )


def fatal_among(problems: Iterable[Problem]) -> list[Problem]:
    """Those that forbid training."""
    return [problem for problem in problems if KINDS[problem.kind].outcome == "fatal"]
