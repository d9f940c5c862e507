"""Names of all that a prediction folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.shards import Shard

if TYPE_CHECKING:  # the search for photos knows this folder, to leave it out
    pass


SUFFIXES = {
    "mask": ("masks", ".png"),
    "overlay": ("overlays", ".jpg"),
    "side_by_side": ("side_by_side", ".jpg"),
    "probabilities": ("probabilities", ".npz"),
}

Entry = dict[str, Any]

REPORT_NAME = "predictions.json"
SHARDS = "predictions.shard-*-of-*.json"

OWN_FOLDERS = tuple(folder for folder, _ in SUFFIXES.values())
SCORE_FILES = ("scores.json", "scores.csv")
RESULT_FILES = (*SCORE_FILES, "results.json", "results_dataset.json")
OWN_FILES = (REPORT_NAME, *RESULT_FILES)


def report_path(folder: Path, shard: Shard) -> Path:
    """predictions.json, or the report of one shard, which ``merge_reports`` makes into it."""
    if shard.count == 1:
        return folder / REPORT_NAME
    return folder / f"predictions.shard-{shard.index}-of-{shard.count}.json"


def own_paths(folder: Path) -> set[Path]:
    """What runs write into the folder, so that none is taken for an image to segment."""
    return {folder / name for name in (*OWN_FOLDERS, *OWN_FILES)} | set(folder.glob(SHARDS))
