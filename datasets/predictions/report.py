"""predictions.json, of a whole run or of its shards."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.predictions.outputs import REPORT_NAME, RESULT_FILES, SHARDS, Entry, own_names
from runtime.files import write_json
from runtime.shards import read_report, reports_of_shards

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of predictions.json

ALL_FILES = "all_files"  # in the report of a shard: what the shards are parts of
OF_A_SHARD = ("images", "checkpoint")  # its digest is compared; it may be elsewhere on each machine


def write_report(
    path: Path, about: Mapping[str, Any], entries: Sequence[Entry], *, complete: bool
) -> None:
    """Write the report of a run or shard; before the first mask too, so that it says whose it is.

    Args:
        path: see ``report_path``.
        about: what is said of all files.
        entries: of each file.
        complete: whether the run came to its end.
    """
    report = {"format_version": FORMAT_VERSION, **about, "complete": complete, "images": entries}
    write_json(path, report)


def shared_by_shards(names: Sequence[str]) -> dict[str, Any]:
    """What the report of a shard says of the files of all, so that parts of one list are merged."""
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return {ALL_FILES: {"number": len(names), "sha256_of_names": digest}}


def is_prediction_report(report: dict[str, Any]) -> bool:
    """Whether a JSON object is a predictions.json of this format, or a shard's part of one."""
    keys = {"complete", "label_set", "images"}
    return report["format_version"] == FORMAT_VERSION and report.keys() >= keys


def check_prediction_dir(folder: Path) -> None:
    """Refuse to write over files that another program, or a person, made.

    Raises:
        ValueError: a report in the folder is not one of ours, or there is none, but files are
            where ours would be.
    """
    # Looked at before the reports: a shard that starts at the same time writes its report first.
    # An empty folder is not taken: nothing would be lost there.
    there = [folder / name for name in own_names() if (folder / name).exists()]
    taken = [path.name for path in there if not path.is_dir() or any(path.iterdir())]
    paths = (folder / REPORT_NAME, *sorted(folder.glob(SHARDS)))
    reports = [path for path in paths if read_report(path, is_prediction_report)]
    if taken and not reports:
        raise ValueError(
            f"{folder}: holds {', '.join(taken)}, and no {REPORT_NAME} that says that this command "
            "wrote them; nothing is replaced. Choose another output folder, or move them away"
        )


def merge_reports(folder: Path) -> dict[str, Any]:
    """Make the reports of all shards into predictions.json, as one run would have written it.

    A folder whose reports were merged before is left as it is.

    Raises:
        ValueError: there are none, one is missing or unfinished, or they are not of one run; or
            predictions.json is a file of something else.
    """
    whole = folder / REPORT_NAME
    merged = read_report(whole, is_prediction_report)
    if merged and merged["complete"] and not any(folder.glob(SHARDS)):
        return merged
    reports = reports_of_shards(
        whole,
        is_prediction_report,
        lambda report: {key: report[key] for key in report if key not in OF_A_SHARD},
        "run all shards with the same flags on the same files",
    )
    first = next(iter(reports.values()))
    parts_only = ("format_version", "complete", "images", ALL_FILES)
    about = {key: value for key, value in first.items() if key not in parts_only}
    entries = [entry for report in reports.values() for entry in report["images"]]
    write_report(whole, about, entries, complete=True)
    for path in reports:
        path.unlink()
    return {**about, "images": entries}


def remove_results(folder: Path, names: Sequence[str] = RESULT_FILES) -> None:
    """Remove scores and results, which would be of other masks from now on; tells which."""
    there = [name for name in names if (folder / name).exists()]
    for name in there:
        (folder / name).unlink()
    if there:
        logger.info("removed, being of other masks: %s", ", ".join(there))
