"""Names of all that a prediction folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.shards import shard_pattern

SUFFIXES = {
    "mask": ("masks", ".png"),
    "overlay": ("overlays", ".jpg"),
    "side_by_side": ("side_by_side", ".jpg"),
    "probabilities": ("probabilities", ".npz"),
}

Entry = dict[str, Any]

REPORT_NAME = "predictions.json"
SHARDS = shard_pattern(Path(REPORT_NAME))

OWN_FOLDERS = tuple(folder for folder, _ in SUFFIXES.values())
SCORE_FILES = ("scores.json", "scores.csv")
RESULT_FILES = (*SCORE_FILES, "results.json", "results_dataset.json")
OWN_FILES = (REPORT_NAME, *RESULT_FILES)


def own_paths(folder: Path) -> set[Path]:
    """What runs write into the folder, so that none is taken for an image to segment."""
    return {folder / name for name in (*OWN_FOLDERS, *OWN_FILES)} | set(folder.glob(SHARDS))
