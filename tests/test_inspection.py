"""What was looked at is not looked at again; label counts as a table."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_folders import LABELS, MAPPING, NOISE, check, counted, mapping_of, save, write_pairs

import datasets.inspection
from datasets.inspection import CACHE_NAME, look_at, read_counts
from datasets.mask_checks import check_pairs
from datasets.pairs import pair_images_and_masks
from datasets.training.data import label_table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pairs that were looked at, in the order of that."""
    names: list[str] = []

    def watched(pair: tuple[Path, Path], *, by_color: bool) -> Any:
        names.append(pair[0].stem)
        return look_at(pair, by_color=by_color)

    monkeypatch.setattr(datasets.inspection, "look_at", watched)
    return names


def test_what_was_good_and_has_not_changed_is_not_looked_at_again(
    data: Path, looked_at: list[str]
) -> None:
    first = check(data)
    assert looked_at == ["a", "b", "c", "d"]
    again = check(data)
    assert looked_at == ["a", "b", "c", "d"]
    assert again.label_counts.tolist() == first.label_counts.tolist()
    assert [*again.pairs] == [*first.pairs]


@pytest.mark.parametrize("changed", ["images/c.jpg", "masks/c.png"])
def test_only_a_changed_file_is_looked_at_again(
    data: Path, looked_at: list[str], changed: str
) -> None:
    check(data)
    looked_at.clear()
    save(data / changed, NOISE if "images" in changed else LABELS * 0 + 1)
    counts = check(data).label_counts
    assert looked_at == ["c"]
    assert counts.tolist() == counted(sorted((data / "masks").glob("*.png")))


def test_a_value_that_no_mask_has_any_more_is_no_label(data: Path) -> None:
    assert check_pairs(
        pair_images_and_masks(data / "images", data / "masks"), None, 0
    ).label_mapping.values == (0, 1, 2)
    for mask in (data / "masks").glob("*.png"):
        save(mask, LABELS % 2)
    assert check_pairs(
        pair_images_and_masks(data / "images", data / "masks"), None, 0
    ).label_mapping.values == (0, 1)


def test_bad_files_are_looked_at_again(data: Path, looked_at: list[str]) -> None:
    (data / "images/b.jpg").write_bytes(b"")
    first = check(data)
    looked_at.clear()
    assert check(data).problems == first.problems
    assert looked_at == ["b"]


def test_a_change_of_labels_is_judged_without_looking_again(
    data: Path, looked_at: list[str]
) -> None:
    check(data)
    looked_at.clear()
    with pytest.raises(
        ValueError, match=r"3 masks with a pixel value .* a.png \(2; known are 0, 1"
    ):
        check(data, mapping_of(0, 1))
    assert looked_at == []


@pytest.mark.parametrize("damage", [b"", b"[]", b"PK\x03\x04 nonsense", b"cut"])
def test_a_damaged_memory_is_made_anew(data: Path, looked_at: list[str], damage: bytes) -> None:
    first = check(data)
    kept = data / "masks" / CACHE_NAME
    kept.write_bytes(kept.read_bytes()[:-100] if damage == b"cut" else damage)
    looked_at.clear()
    assert check(data).label_counts.tolist() == first.label_counts.tolist()
    assert looked_at == ["a", "b", "c", "d"]
    check(data)
    assert len(looked_at) == 4


def test_two_splits_of_one_folder_keep_theirs_and_removed_files_are_forgotten(
    data: Path, looked_at: list[str]
) -> None:
    whole = pair_images_and_masks(data / "images", data / "masks")
    for part in (whole.pairs[:2], whole.pairs[2:]):
        check_pairs(replace(whole, pairs=part), MAPPING, 1)
    looked_at.clear()
    check(data)
    assert looked_at == []
    (data / "masks/a.png").unlink()
    save(data / "masks/b.png", LABELS)
    check(data)
    assert sorted(read_counts(data / "masks")) == ["b.png", "c.png", "d.png"]


def test_a_folder_that_cannot_be_written_to_is_checked_all_the_same(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(check(data).pairs) == 4
    assert caplog.text == ""
    assert sorted(path.name for path in (data / "masks").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
        "d.png",
    ]


def test_ctrl_c_keeps_what_was_looked_at(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pair: tuple[Path, Path], *, by_color: bool) -> Any:
        if pair[0].stem == "c":
            raise KeyboardInterrupt
        return look_at(pair)

    with monkeypatch.context() as patch:
        patch.setattr(datasets.inspection, "look_at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check(data)
    names: list[str] = []
    monkeypatch.setattr(
        datasets.inspection,
        "look_at",
        lambda pair, by_color: (names.append(pair[0].stem), look_at(pair))[1],
    )
    check(data)
    assert names == ["c", "d"]


def test_masks_in_sub_folders_and_with_odd_names_are_kept(data: Path, looked_at: list[str]) -> None:
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (data / folder / "sub dir").mkdir()
        shutil.move(data / folder / f"a.{suffix}", data / folder / f"sub dir/ä\nö.{suffix}")
    check(data)
    looked_at.clear()
    assert len(check(data).pairs) == 4
    assert looked_at == []


def test_the_table_of_labels_counted_by_hand() -> None:
    counts = np.array([[6, 2, 0, 0], [8, 0, 0, 0], [0, 3, 1, 0], [4, 0, 0, 0]])
    table = label_table(counts, ["background", "cat", "dog", "fox"], [1, 2, 10, 1], [1, 1, 5, 1])
    assert table.splitlines() == [
        "label        pixels   images   weight    draws",
        "background   75.00%    75.0%     1.00    37.5%",
        "cat          20.83%    50.0%     2.00    75.0%",
        "dog           4.17%    25.0%    10.00    62.5%",
        "fox           0.00%     0.0%     1.00     0.0%",
        "in no mask, so nothing can be learned of: fox",
    ]


def test_without_weights_every_label_weighs_one_and_draws_are_images() -> None:
    lines = label_table(np.array([[1, 0], [1, 1]]), ["a", "b"]).splitlines()
    assert lines[1:] == [
        "a       66.67%   100.0%     1.00   100.0%",
        "b       33.33%    50.0%     1.00    50.0%",
    ]
