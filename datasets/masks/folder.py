"""The mask folder's own files: masks.json, the reports of shards, and classes.txt beside it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets.coco.records import Id
from datasets.label_mapping import FORMAT_VERSION, REPORT_NAME
from datasets.masks.account import MaskReport
from runtime.files import write_json, write_text
from runtime.shards import read_report, reports_of_shards, shard_pattern

logger = logging.getLogger(__name__)


def selection_digest(ids: Iterable[Id]) -> str:
    """The images that a run chooses, in short: shards of differing ones make no whole."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def is_mask_report(report: dict[str, Any]) -> bool:
    """Whether a JSON object is a masks.json of this format, or a shard's part of one."""
    keys = {"complete", "label_set", "options", "source"}
    return report["format_version"] == FORMAT_VERSION and report.keys() >= keys


def check_reports(whole: Path, report: MaskReport, overwrite: bool) -> None:
    """Refuse to mix masks of different meaning in one folder, or to replace what is no report.

    Raises:
        ValueError: masks.json or a shard's part of it is no report, or, unless ``overwrite``, one
            of other options; names the differences.
    """
    for path in (whole, *whole.parent.glob(shard_pattern(whole))):
        old = read_report(path, is_mask_report)
        if old is None or overwrite:
            continue
        was, now = old["options"], report.options
        pairs = {key: (was.get(key), now.get(key)) for key in {**now, **was}}
        names = old["source"]["annotations_file"], report.source["annotations_file"]
        pairs["annotations file"] = names
        differences = [f"{key} {a!r}, now {b!r}" for key, (a, b) in pairs.items() if a != b]
        if old["label_set"] != report.label_set.to_dict():
            name = report.label_set.name
            differences.append(f"label set {old['label_set']['name']!r}, now {name!r}")
        if differences:
            raise ValueError(
                f"{path.parent}: its masks were made with other options: {'; '.join(differences)}; "
                "choose a new folder, or replace the masks with --overwrite"
            )


def write_classes(path: Path, names: Sequence[str]) -> None:
    """One category name a line; a file that says something else is somebody's, and stays."""
    text = "".join(f"{name}\n" for name in names)
    if not path.exists():
        try:
            write_text(path, text)
        except PermissionError as error:
            logger.warning("%s is not written: %s", path, error.strerror)
    elif not path.is_file() or path.read_bytes() != text.encode():
        logger.warning("%s lists other categories and is left as it is", path)


def merge_reports(masks_dir: Path) -> MaskReport:
    """Make the reports of all shards into masks.json, as one run would have written it.

    Raises:
        ValueError: there are none, one is missing or unfinished, or they are not of one run; or
            masks.json is there and no report of ours.
    """
    whole = masks_dir / REPORT_NAME
    read_report(whole, is_mask_report)
    values = reports_of_shards(
        whole,
        is_mask_report,
        lambda report: {k: report.get(k) for k in ("label_set", "options", "source", "selection")},
        "give all shards the same flags (--max_images, --image_ids and --skip_empty make the "
        "selection) and run again those that had others",
    )
    merged, *others = map(MaskReport.from_dict, values.values())
    for report in others:
        merged.account.add(report.account)
    merged.selection = ""  # masks.json is the same as that of one run
    write_json(whole, merged.to_dict(complete=True))
    for path in values:
        path.unlink()
    return merged
