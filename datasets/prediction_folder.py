"""The folder that predictions go to.

masks/             a palette PNG an image, of its size, pixel value = label index
overlays/          the image tinted by label
predictions.json   an entry for each file: what was written, or why nothing was
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.label_set import LabelSet
from datasets.masks import write_mask
from datasets.visualize import overlay
from runtime.files import replacing, write_json

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of predictions.json
REPORT_NAME = "predictions.json"
OWN_NAMES = ("masks", "overlays", REPORT_NAME)


def check_prediction_dir(folder: Path) -> None:
    """Refuse to write among files that another program, or a person, made.

    Raises:
        ValueError: the folder holds masks or overlays, and no predictions.json says whose.
    """
    for name in OWN_NAMES:
        path = folder / name
        if path.exists() and not (folder / REPORT_NAME).is_file():
            raise ValueError(
                f"{path} exists and holds no predictions (there is no {REPORT_NAME} beside it); "
                "choose another output folder"
            )


class PredictionFolder:
    """Writes what is predicted; predictions.json first, so that a folder says whose it is.

    Args:
        path: the folder; made if missing.
        label_set: what the label maps mean.
        about: more to say in predictions.json, plain types.
    """

    def __init__(self, path: Path, label_set: LabelSet, about: dict[str, Any]) -> None:
        self.path = path
        self.label_set = label_set
        self.about = {"format_version": FORMAT_VERSION, **about, "label_set": label_set.to_dict()}
        self.entries: list[dict[str, Any]] = []
        self._written: dict[Path, Path] = {}  # mask -> file
        path.mkdir(parents=True, exist_ok=True)
        self._write_report(complete=False)

    def add(
        self, file: Path, image: npt.NDArray[np.uint8], label_map: npt.NDArray[np.uint8]
    ) -> None:
        """Write mask and overlay of a file, its (H, W, 3) image and (H, W) label map given."""
        mask = Path("masks") / file.with_suffix(".png")
        if mask in self._written:
            self.leave_out(file, "failed", f"its mask would replace that of {self._written[mask]}")
            return
        self._written[mask] = file
        picture = Path("overlays") / file.with_suffix(".jpg")
        for path in (mask, picture):
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        palette = self.label_set.palette()
        write_mask(self.path / mask, label_map, bytes(palette))
        with replacing(self.path / picture) as temporary:
            Image.fromarray(overlay(image, label_map, palette)).save(temporary, quality=92)

        shares = np.bincount(label_map.ravel(), minlength=len(self.label_set)) / label_map.size
        self.entries.append(
            {
                "file": file.as_posix(),
                "status": "written",
                "mask": mask.as_posix(),
                "overlay": picture.as_posix(),
                "height": label_map.shape[0],
                "width": label_map.shape[1],
                "label_shares": dict(
                    zip(self.label_set.names, shares.round(6).tolist(), strict=True)
                ),
            }
        )

    def leave_out(self, file: Path, status: str, reason: str) -> None:
        """Say that a file was ``skipped``, as it is no image, or ``failed``, and why."""
        self.entries.append({"file": file.as_posix(), "status": status, "reason": reason})
        logger.warning("%s %s: %s", status, file, reason)

    def close(self) -> int:
        """Write the report; gives the number of masks written."""
        self._write_report(complete=True)
        return len(self._written)

    def _write_report(self, *, complete: bool) -> None:
        report = {**self.about, "complete": complete, "images": self.entries}
        write_json(self.path / REPORT_NAME, report)
