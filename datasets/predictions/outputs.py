"""Names of all that a prediction folder holds: an output of each photo is a row of OUTPUTS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.shards import shard_pattern


@dataclass(frozen=True)
class Output:
    """A row of OUTPUTS: a file for each photo.

    Attributes:
        folder: where they are, below the prediction folder.
        suffix: of the files.
        writer: "module:function" of (binary file to write to, ``writers.Segmented``); empty for the
            mask, which ``PredictionFolder`` writes when all others of its photo are there.
        flag: the flag that asks for it; empty if it is always written.
        help: what it is, in a few words.
        kinds: what the flag takes, first what it means by itself; empty if it takes nothing.
    """

    folder: str
    suffix: str
    writer: str
    flag: str = ""
    help: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def argument(self) -> dict[str, Any]:
        """What argparse is to take for the flag."""
        if not self.kinds:
            return {"action": "store_true"}
        return {"nargs": "?", "choices": self.kinds, "const": self.kinds[0], "metavar": "TYPE"}


WRITERS = "datasets.predictions.writers:"
OUTPUTS: dict[str, Output] = {
    "mask": Output("masks", ".png", writer=""),
    "overlay": Output("overlays", ".jpg", WRITERS + "write_overlay"),
    "side_by_side": Output(
        *("side_by_side", ".jpg", WRITERS + "write_side_by_side"),
        flag="side_by_side",
        help="also photo, labels and overlay in a picture",
    ),
    "probabilities": Output(
        *("probabilities", ".npz", WRITERS + "write_probabilities"),
        flag="save_probabilities",
        help="also the probability of every label at every pixel, .npz: as uint8 (0..255, if no "
        "type is given) or float16",
        kinds=("uint8", "float16"),
    ),
}

Entry = dict[str, Any]

REPORT_NAME = "predictions.json"
SHARDS = shard_pattern(Path(REPORT_NAME))

SCORE_FILES = ("scores.json", "scores.csv", "confusion.png")
RESULT_FILES = (*SCORE_FILES, "results.json", "results_dataset.json")


def wanted_outputs(flags: Mapping[str, Any]) -> dict[str, str]:
    """The keys of OUTPUTS that flags (name -> value) ask for, and the kind of each, or ""."""
    values = {name: flags[row.flag] if row.flag else True for name, row in OUTPUTS.items()}
    return {name: value if value is not True else "" for name, value in values.items() if value}


def place_of(output: str, name: str) -> str:
    """Where an output is, below the prediction folder, of the photo whose outputs are so named."""
    row = OUTPUTS[output]
    return f"{row.folder}/{name}{row.suffix}"


def own_names() -> tuple[str, ...]:
    """The files and folders of a prediction folder but for the reports of shards."""
    return *(row.folder for row in OUTPUTS.values()), REPORT_NAME, *RESULT_FILES
