"""Which files are segmented, and what their outputs are called."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.predictions.photo_files import (
    find_photo_files,
    named_photo_files,
    output_names,
    read_list,
)
from datasets.predictions.photos import read_photo
from datasets.predictions.report import write_report
from runtime.shards import Shard, report_path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(folder: Path, **options: object) -> list[str]:
    return [file.name for file in find_photo_files(folder, **options)]  # type: ignore[arg-type]


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As chmod would, which does not stop the superuser."""
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_files_of_subfolders_count_unless_told_otherwise_and_hidden_ones_never(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "b.jpg", "a/c.jpg", "a/d/e.jpg", ".h.jpg", ".t/f.jpg", "a.jpg")
    assert names(tmp_path) == ["a/c.jpg", "a/d/e.jpg", "a.jpg", "b.jpg"]
    assert names(tmp_path, recursive=False) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)])
def test_predictions_of_other_runs_do_not_count(tmp_path: Path, shard: Shard) -> None:
    outputs = ("masks/a.png", "overlays/a.jpg", "side_by_side/a.jpg", "probabilities/a.npz")
    reports = ("scores.json", "scores.csv", "confusion.png", "results.json", "results_dataset.json")
    touch(tmp_path, "a.jpg", *(f"one/{name}" for name in (*outputs, *reports, "b.jpg")))
    about = {"checkpoint": "a/" * 200, "checkpoint_sha256": "0"}
    report = report_path(tmp_path / "one" / "predictions.json", shard)
    write_report(report, about, [], complete=True)
    assert names(tmp_path) == ["a.jpg", "one/b.jpg"]
    touch(tmp_path, *(f"others/{name}" for name in (*outputs[:2], "predictions.json")))
    assert names(tmp_path / "others") == ["masks/a.png", "overlays/a.jpg", "predictions.json"]


def test_a_link_to_a_folder_is_followed_once_and_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    assert names(tmp_path / "photos") == ["a.jpg", "link/b.jpg"]


def test_a_folder_that_cannot_be_read_is_named_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg", "notes.txt")
    close(monkeypatch, tmp_path / "closed")
    found = find_photo_files(tmp_path)
    assert [(f.name, f.is_picture) for f in found] == [
        *(("a.jpg", True), ("closed", True), ("notes.txt", False))
    ]
    assert read_photo(found[1]).problem == "a folder that cannot be read"
    assert names(tmp_path, recursive=False) == ["a.jpg", "notes.txt"]
    with pytest.raises(ValueError, match="closed: cannot be read: Permission denied"):
        find_photo_files(tmp_path / "closed")


def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an empty folder, expected images"):
        find_photo_files(tmp_path)
    touch(tmp_path, "a/b.jpg")
    with pytest.raises(ValueError, match="its sub-folders do not count"):
        find_photo_files(tmp_path, recursive=False)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        find_photo_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a/b.jpg", "c.PNG"], ["a/b", "c"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["A.jpg", "a.png", "a/a.png"], ["A.jpg", "a.png", "a/a"]),
        (["a.jpg", "a.txt", "b", "c.tar.gz"], ["a", "a.txt", "b", "c.tar.gz"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["a.b.jpg", "a.jpg"], ["a.b", "a"]),
    ],
)
def test_outputs_are_called_like_their_photo_and_by_its_suffix_only_if_they_must(
    given: list[str], expected: list[str]
) -> None:
    assert output_names(given) == expected


ANY_NAME = st.text("aB.pngj", min_size=1).filter(lambda name: not set(name) <= {"."})
PICTURE = st.text("aB.", min_size=1).map(lambda text: f"{text}.jpg")


@given(st.lists(PICTURE | ANY_NAME, unique_by=str.casefold))
def test_no_two_files_share_an_output(given: list[str]) -> None:
    outputs = [name.casefold() for name in output_names(given)]
    assert len(set(outputs)) == len(given)
    assert all(n.casefold().startswith(o) for n, o in zip(given, outputs, strict=True))


def test_named_files_are_relative_to_the_folder_that_holds_them_all(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "y/z/b.jpg")
    found = named_photo_files([tmp_path / "y/z/b.jpg", tmp_path / "x/a.jpg"])
    assert [file.name for file in found] == ["y/z/b.jpg", "x/a.jpg"]
    assert [file.output for file in found] == ["y/z/b", "x/a"]
    assert [file.path for file in found] == [tmp_path / "y/z/b.jpg", tmp_path / "x/a.jpg"]
    assert [file.name for file in named_photo_files([tmp_path / "x/a.jpg"])] == ["a.jpg"]
    assert all(file.is_picture for file in named_photo_files([tmp_path / "notes.txt"]))


def test_a_list_names_files_of_a_folder_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "p/a.jpg", "p/s/b.jpg")
    (tmp_path / "list.txt").write_bytes("\ufeffs/b.jpg\r\n\n./a.jpg\na.jpg\n".encode())
    paths = read_list(tmp_path / "list.txt")
    assert [file.name for file in named_photo_files(paths, tmp_path / "p")] == ["s/b.jpg", "a.jpg"]
    monkeypatch.chdir(tmp_path / "p")
    assert [file.name for file in named_photo_files(paths, Path())] == ["s/b.jpg", "a.jpg"]
    with pytest.raises(ValueError, match=r"out\.jpg is not in"):
        named_photo_files([Path("../out.jpg")], tmp_path / "p")
    with pytest.raises(ValueError, match="no files are named"):
        named_photo_files([])


def test_paths_may_lead_upwards_and_a_file_counts_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "p/a.jpg", "p/s/b.jpg", "other/x")
    monkeypatch.chdir(tmp_path / "other")
    assert [file.name for file in named_photo_files([Path("../p/a.jpg")])] == ["a.jpg"]
    paths = [Path("a.jpg"), Path("./a.jpg"), tmp_path / "p/a.jpg", Path("s/../a.jpg")]
    for folder in (Path("../p"), tmp_path / "p"):
        found = named_photo_files([*paths, Path("s/b.jpg")], folder)
        assert [(file.name, file.output) for file in found] == [("a.jpg", "a"), ("s/b.jpg", "s/b")]
        assert all(file.path.is_file() for file in found)


def test_a_list_may_hold_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"caf\xe9.jpg\n")
    assert [os.fsencode(path) for path in read_list(tmp_path / "list")] == [b"caf\xe9.jpg"]


@pytest.mark.parametrize("content", ["a.jpg\nb.jpg\n".encode("utf-16"), b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_list_in_another_encoding_and_a_picture_are_no_lists(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ValueError, match="list: expected UTF-8 text, a path a line"):
        read_list(tmp_path / "list")
