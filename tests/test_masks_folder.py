"""The mask folder's reports: read, compared, merged; and what a person reads of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datasets.label_sets import GROUPS, binary_label_set
from datasets.masks.account import Account, MaskReport
from datasets.masks.folder import (
    check_reports,
    is_mask_report,
    merge_reports,
    write_classes,
)
from datasets.masks.summary import summary_lines, warnings
from runtime.files import write_json
from runtime.shards import Shard, read_report, report_path

OPTIONS = {"overlap": "priority", "crowd": "paint", "png_mode": "palette"}
SOURCE = {"annotations_file": "a.json", "sha256": "00"}


def new_report(**changes: Any) -> MaskReport:
    return MaskReport(**{"label_set": GROUPS, "options": OPTIONS, "source": SOURCE, **changes})


def account(number: int) -> Account:
    """The account of an image, which differs with its number."""
    label = 1 + number % 3
    found = Account(
        images=1,
        pixels=Counter({0: 100, label: 10 + number}),
        images_by_label=Counter([0, label]),
        totals=Counter(
            annotations=3,
            crowds=number % 2,
            contested_pixels=number,
            contested_images=int(number > 0),
        ),
        beaten=Counter({(1, 2): number} if number else {}),
        drawn=Counter(person=1),
        hidden=Counter(car=1) if number % 2 else Counter(),
        unmapped=Counter(dragon=1),
    )
    found.skipped_annotations.add("bad", image=f"{number}.jpg", annotation=f"s{number}")
    found.dropped_polygons.add("bad", image=f"{number}.jpg", annotation=f"d{number}")
    return found


def write_shards(folder: Path, count: int, images: int, **changes: Any) -> MaskReport:
    """The reports of a run's shards; the report of the whole run."""
    whole = new_report()
    for index in range(1, count + 1):
        shard, part = Shard(index, count), new_report(**changes if index == count else {})
        for number in shard.part(range(images)):
            for each in (whole, part):
                each.account.add(account(number))
                each.account.skipped_images.add("missing", image=f"{number}b.jpg")
        write_json(report_path(folder / "masks.json", shard), part.to_dict(complete=True))
    return whole


@pytest.mark.parametrize("most", [1000, 3])
@pytest.mark.parametrize("count", [2, 3, 11])
def test_merged_reports_are_the_report_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, most: int
) -> None:
    monkeypatch.setattr("datasets.masks.account.MAX_LISTED", most)
    whole = write_shards(tmp_path, count, 8)
    merged = merge_reports(tmp_path)
    assert merged.to_dict(complete=True) == whole.to_dict(complete=True)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.json"]
    assert read_report(tmp_path / "masks.json", is_mask_report) == whole.to_dict(complete=True)
    assert summary_lines(merged) == summary_lines(whole)


def test_a_report_survives_json() -> None:
    report = new_report()
    for number in range(5):
        report.account.add(account(number))
    report.account.file_remarks["odd"] += 2
    value = json.loads(json.dumps(report.to_dict(complete=True)))
    assert MaskReport.from_dict(value).to_dict(complete=True) == value


def test_one_shard_writes_masks_json_itself(tmp_path: Path) -> None:
    assert report_path(tmp_path / "masks.json", Shard()) == tmp_path / "masks.json"
    assert report_path(tmp_path / "masks.json", Shard(2, 3)) == tmp_path / "masks.shard-2-of-3.json"


def test_only_the_first_of_each_reason_are_listed_but_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("datasets.masks.account.MAX_LISTED", 2)
    report = new_report()
    for number in range(5):
        report.account.add(account(number))
    skipped = report.to_dict(complete=True)["skipped_annotations"]
    assert skipped["count"] == 5 and skipped["by_reason"] == {"bad": 5}
    assert [item["annotation"] for item in skipped["items"]] == ["s0", "s1"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, 3, 5)
    report_path(tmp_path / "masks.json", Shard(2, 3)).unlink()
    with pytest.raises(ValueError, match=r"masks\.shard-2-of-3\.json: is missing; run that shard"):
        merge_reports(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_shard_that_did_not_finish_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 5)
    path = report_path(tmp_path / "masks.json", Shard(2, 2))
    write_json(path, {**json.loads(path.read_text()), "complete": False})
    with pytest.raises(ValueError, match=r"shard-2-of-2\.json: is of a run that did not finish"):
        merge_reports(tmp_path)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"options": {**OPTIONS, "crowd": "ignore"}}, "options"),
        ({"source": {**SOURCE, "sha256": "11"}}, "source"),
        ({"label_set": binary_label_set(["dog"])}, "label_set"),
        ({"selection": "22"}, "selection"),
    ],
)
def test_shards_of_different_runs_are_not_merged(
    tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    write_shards(tmp_path, 3, 5, **changes)
    with pytest.raises(ValueError, match=f"not of one run: they differ in {difference}") as error:
        merge_reports(tmp_path)
    assert (
        f"{report_path(tmp_path / 'masks.json', Shard(1, 3))} and masks.shard-3-of-3.json"
        in str(error.value)
    )
    assert len(list(tmp_path.iterdir())) == 3


def test_shards_of_two_divisions_are_not_merged(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 5)
    write_shards(tmp_path, 3, 5)
    with pytest.raises(ValueError, match=r"reports of one run's shards.*shard-1-of-2\.json, masks"):
        merge_reports(tmp_path)


def test_no_shards_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got none"):
        merge_reports(tmp_path)


def test_the_same_options_pass_and_each_difference_is_named(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    check_reports(path, new_report(), False)  # there is none yet
    write_json(path, new_report().to_dict(complete=False))
    check_reports(path, new_report(source={**SOURCE, "sha256": "11"}), False)  # edited: allowed
    other = new_report(
        label_set=binary_label_set(["dog"]),
        options={**OPTIONS, "overlap": "later", "png_mode": "gray"},
        source={"annotations_file": "b.json", "sha256": "00"},
    )
    with pytest.raises(ValueError) as error:
        check_reports(path, other, False)
    for difference in (
        "overlap 'priority', now 'later'", "png_mode 'palette', now 'gray'",
        "annotations file 'a.json', now 'b.json'", "label set 'groups', now 'binary'",
        "--overwrite", str(tmp_path),
    ):  # fmt: skip
        assert difference in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"format_version": 2}', '{"format_version": 1}', "\x00", "{"]
)
def test_a_report_of_another_kind_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "masks.json").write_text(text)
    with pytest.raises(ValueError, match=r"masks\.json: .*choose a new folder"):
        read_report(tmp_path / "masks.json", is_mask_report)


def test_classes_are_written_once_and_never_over_somebodys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "classes.txt"
    write_classes(path, ["dog", "caf\u00e9"])
    assert path.read_text(encoding="utf-8") == "dog\ncaf\u00e9\n"
    old = path.stat().st_mtime_ns
    write_classes(path, ["dog", "caf\u00e9"])
    assert path.stat().st_mtime_ns == old and caplog.text == ""
    write_classes(path, ["cat"])
    assert path.read_text(encoding="utf-8") == "dog\ncaf\u00e9\n"
    assert "lists other categories and is left as it is" in caplog.text


def test_the_summary_tells_shares_contests_and_what_vanished() -> None:
    report = new_report()
    report.account.add(account(1))
    report.account.add(account(2))
    report.account.drawn["car"] = 1
    text = "\n".join(summary_lines(report))
    total = 100 + 11 + 100 + 12  # account(1) shows label 2, account(2) label 3
    assert f"{11 / total:.2%}" in text and f"{12 / total:.2%}" in text and "50.00%" in text
    assert f"contested: 3 pixels ({3 / total:.2%}) in 2 images: living over vehicles 3" in text
    assert "hidden by other labels: car 1 annotations" in text
    assert "vanished altogether: car" in text
    assert "in no label, so background: dragon 2 annotations" in text
    assert "skipped annotations: 2 x bad: 1.jpg (s1), 2.jpg (s2)" in text
    assert "dropped polygons: 2 x bad: 1.jpg (d1), 2.jpg (d2)" in text


@pytest.mark.parametrize(
    ("rule", "crowds", "others", "warned"),
    [
        ("ignore", 2, 1, True), ("background", 2, 1, True), ("background", 1, 0, True),
        ("ignore", 2, 2, False), ("ignore", 0, 0, False), ("ignore", 0, 5, False),
        ("paint", 9, 0, False),
    ],
)  # fmt: skip
def test_crowds_left_out_are_warned_of_where_they_are_most_annotations(
    rule: str, crowds: int, others: int, warned: bool
) -> None:
    report = new_report(options={**OPTIONS, "crowd": rule})
    report.account.totals["crowds"] = crowds
    report.account.drawn["person"] = crowds
    report.account.drawn["car"] = others
    found = [*warnings(report)]
    assert bool(found) == warned
    for warning in found:
        assert f"{crowds} of {crowds + others} annotations are marked as crowds" in warning
        assert f"--crowd {rule} leaves out" in warning and "--crowd paint draws them" in warning
