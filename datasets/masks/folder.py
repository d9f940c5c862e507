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
from runtime.shards import Shard

logger = logging.getLogger(__name__)


def report_path(masks_dir: Path, shard: Shard) -> Path:
    """masks.json, or the report of one shard, which ``merge_reports`` makes into masks.json."""
    if shard.count == 1:
        return masks_dir / REPORT_NAME
    return masks_dir / f"masks.shard-{shard.index}-of-{shard.count}.json"


def selection_digest(ids: Iterable[Id]) -> str:
    """The images that a run chooses, in short: shards of differing ones make no whole."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def read_report(path: Path) -> dict[str, Any] | None:
    """A report file as it stands; None if there is none.

    Raises:
        ValueError: it is no report of this format; names the file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}; move it away or choose a new folder") from error
    keys = {"complete", "label_set", "options", "source"}
    if not (
        isinstance(value, dict)
        and value.get("format_version") == FORMAT_VERSION
        and value.keys() >= keys
    ):
        raise ValueError(
            f"{path}: expected a mask report of format version {FORMAT_VERSION}; move it away or "
            "choose a new folder"
        )
    return value


def check_same_options(path: Path, report: MaskReport) -> None:
    """Refuse to mix masks of different meaning in one folder.

    Raises:
        ValueError: the report at ``path`` tells of other options; names the differences.
    """
    old = read_report(path)
    if old is None:
        return
    pairs = {key: (old["options"].get(key), value) for key, value in report.options.items()}
    pairs["annotations file"] = (
        old["source"]["annotations_file"],
        report.source["annotations_file"],
    )
    differences = [f"{key} {was!r}, now {now!r}" for key, (was, now) in pairs.items() if was != now]
    if old["label_set"] != report.label_set.to_dict():
        differences.append(f"label set {old['label_set']['name']!r}, now {report.label_set.name!r}")
    if differences:
        raise ValueError(
            f"{path.parent}: its masks were made with other options: {'; '.join(differences)}; "
            "choose a new folder, or replace the masks with --overwrite"
        )


def write_classes(path: Path, names: Sequence[str]) -> None:
    """One category name a line; a file that says something else is somebody's, and stays."""
    text = "".join(f"{name}\n" for name in names)
    if not path.exists():
        write_text(path, text)
    elif path.read_bytes() != text.encode():
        logger.warning("%s lists other categories and is left as it is", path)


def merge_reports(masks_dir: Path) -> MaskReport:
    """Make the reports of all shards into masks.json, as one run would have written it.

    Raises:
        ValueError: there are none, one is missing or unfinished, or they are not of one run; or
            masks.json is there and no report of ours.
    """
    read_report(masks_dir / REPORT_NAME)
    found = sorted(masks_dir.glob("masks.shard-*-of-*.json"))
    counts = {path.stem.rsplit("-", 1)[1] for path in found}
    if len(counts) != 1 or not counts.copy().pop().isdigit():
        raise ValueError(
            f"{masks_dir}: expected the reports of one run's shards, masks.shard-I-of-N.json, got "
            f"{', '.join(path.name for path in found) or 'none'}"
        )
    count = int(counts.pop())
    paths = [report_path(masks_dir, Shard(index, count)) for index in range(1, count + 1)]
    merged: MaskReport | None = None
    for path in paths:
        value = read_report(path)
        if value is None or not value["complete"]:
            state = "is missing" if value is None else "is of a run that did not finish"
            raise ValueError(f"{path}: {state}; run that shard again before merging")
        report = MaskReport.from_dict(value)
        if merged is None:
            merged = report
            continue
        try:
            merged.merge(report)
        except ValueError as error:
            raise ValueError(
                f"{paths[0]} and {path.name}: {error}; give all shards the same flags "
                "(--max_images, --image_ids and --skip_empty make the selection) and run again "
                "those that had others"
            ) from error
    assert merged is not None
    merged.selection = ""  # masks.json is the same as that of one run
    write_json(masks_dir / REPORT_NAME, merged.to_dict(complete=True))
    for path in paths:
        path.unlink()
    return merged
