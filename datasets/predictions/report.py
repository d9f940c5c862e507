"""predictions.json, of a whole run or of its shards, and what else a run tells at its end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.predictions.layout import (
    OWN_FILES,
    OWN_FOLDERS,
    REPORT_NAME,
    RESULT_FILES,
    SHARDS,
    Entry,
    report_path,
)
from runtime.files import write_json, write_text
from runtime.shards import Shard

FORMAT_VERSION = 1  # of predictions.json

ALL_FILES = "all_files"  # in the report of a shard: what the shards are parts of
OF_A_SHARD = ("images", "checkpoint")  # its digest is compared; it may be elsewhere on each machine


def about_files(names: Sequence[str], shard: Shard) -> dict[str, Any]:
    """What a shard's report has beside a whole one's, so that only parts of one list are merged.

    Args:
        names: of the files of all shards.
        shard: the one that reports.
    """
    if shard.count == 1:
        return {}
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return {ALL_FILES: {"number": len(names), "sha256_of_names": digest}}


def open_report(path: Path, about: Mapping[str, Any], entries: Sequence[Entry] | None) -> None:
    """Write a report without entries, so that the folder says whose it is.

    Scores and results beside it are removed, since they are of other masks from now on, unless
    the report is there already and all that it says is still so.

    Args:
        path: the report.
        about: what is said of all files.
        entries: of all files if they are up to date, None if there is something to do.
    """
    if entries is not None and _holds(path, _report(about, entries, complete=True)):
        return
    remove_results(path.parent, RESULT_FILES)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, _report(about, [], complete=False))


def close_report(path: Path, about: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Write a report with the entries of all files."""
    write_json(path, _report(about, entries, complete=True))


def remove_results(folder: Path, names: Sequence[str]) -> None:
    """Remove files that only a run in which they are asked for writes."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _report(
    about: Mapping[str, Any], entries: Sequence[Entry], *, complete: bool
) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, **about, "complete": complete, "images": entries}


def _holds(path: Path, value: Any) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found == json.loads(json.dumps(value)))


def check_prediction_dir(folder: Path) -> None:
    """Refuse to write over files that another program, or a person, made.

    Raises:
        ValueError: a report in the folder is not one of ours, or there is none, but files are
            where ours would be.
    """
    # Looked at before the reports: a shard that starts at the same time writes its report first.
    taken = [name for name in (*OWN_FOLDERS, *OWN_FILES) if _is_taken(folder / name)]
    reports = _reports_in(folder)
    for path in reports:
        _check_own(path)
    if taken and not reports:
        raise ValueError(
            f"{folder}: holds {', '.join(taken)}, and no {REPORT_NAME} that says that this command "
            "wrote them; nothing is replaced. Choose another output folder, or move them away"
        )


def _reports_in(folder: Path) -> list[Path]:
    """What has the name of a report."""
    whole = folder / REPORT_NAME
    return [*([whole] if whole.exists() else []), *sorted(folder.glob(SHARDS))]


def _is_taken(path: Path) -> bool:
    """Whether something would be lost there: an empty folder would not."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _check_own(path: Path) -> None:
    """Raise a ValueError unless the file is a report that a run wrote, finished or not."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        own = (
            report["format_version"] == FORMAT_VERSION
            and isinstance(report["images"], list)
            and isinstance(report["label_set"], dict)
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        own = False
    if not own:
        raise ValueError(
            f"{path}: not a report of this command, or damaged; it is not replaced. Choose another "
            "output folder, or move it away"
        )


def merge_reports(folder: Path) -> dict[str, Any]:
    """Make the reports of all shards into predictions.json, as one run would have written it.

    A folder whose reports were merged before is left as it is.

    Raises:
        ValueError: there are none, one is missing or unfinished, or they are not of one run; or
            predictions.json is a file of something else.
    """
    found = sorted(folder.glob(SHARDS))
    if (folder / REPORT_NAME).exists():
        _check_own(folder / REPORT_NAME)
        if not found:
            return _read_report(folder / REPORT_NAME)
    counts = {path.stem.rsplit("-", 1)[1] for path in found}
    if len(counts) != 1 or not min(counts).isdigit():
        raise ValueError(
            f"{folder}: expected the reports of one run's shards, predictions.shard-I-of-N.json, "
            f"got {', '.join(path.name for path in found) or 'none'}"
        )
    count = int(min(counts))
    paths = [report_path(folder, Shard(index, count)) for index in range(1, count + 1)]
    reports = [_read_report(path) for path in paths]
    for path, report in zip(paths, reports, strict=True):
        keys = [
            key
            for key in {**reports[0], **report}
            if key not in OF_A_SHARD and report.get(key) != reports[0].get(key)
        ]
        if keys:
            raise ValueError(
                f"{path}: is of another run than {paths[0].name}: {', '.join(keys)} differ; run "
                "all shards with the same flags on the same files"
            )
    parts_only = ("format_version", "complete", "images", ALL_FILES)
    about = {key: value for key, value in reports[0].items() if key not in parts_only}
    entries = [entry for report in reports for entry in report["images"]]
    close_report(folder / REPORT_NAME, about, entries)
    for path in paths:
        path.unlink()
    return {**about, "images": entries}


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if report["format_version"] != FORMAT_VERSION or not isinstance(report["images"], list):
            raise ValueError(f"expected format version {FORMAT_VERSION} with a list of images")
        complete = report["complete"]
    except FileNotFoundError:
        raise ValueError(f"{path}: is missing; run that shard before merging") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a report of inference.py: {error}") from error
    if not complete:
        raise ValueError(f"{path}: is of a run that did not finish; run it again before merging")
    return report


def write_scores(
    folder: Path, scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write scores.json, and scores.csv with a row an image, the worst mean IoU first.

    Args:
        folder: the prediction folder.
        scores: plain types.
        rows: "file", "mean_iou", and more columns, the same in each; None where there is no score.
    """
    ordered = sorted(rows, key=lambda row: (row["mean_iou"] is None, row["mean_iou"], row["file"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ordered[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(ordered)
    write_text(folder / "scores.csv", text.getvalue())
    write_json(folder / "scores.json", scores)
