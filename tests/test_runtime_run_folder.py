"""The files of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.run_folder import RunFolder, find_checkpoint

SETTINGS = {"train_images": "/data", "epochs": 2, "loss": "simple"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.create(SETTINGS)
    return folder


def epochs(folder: RunFolder) -> list[str]:
    lines = (folder.path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss"
    return [line.partition(",")[0] for line in lines[1:]]


def test_settings_come_back(folder: RunFolder) -> None:
    assert RunFolder(folder.path).settings() == SETTINGS


def test_a_folder_without_settings_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"args\.json: not the settings of a run"):
        RunFolder(tmp_path).settings()


@pytest.mark.parametrize(
    "name",
    ["metrics.csv", "report.json", "checkpoints/mine.pt", "predictions/epoch_0001.png"],
)
def test_a_folder_is_occupied_by_what_a_run_would_replace(folder: RunFolder, name: str) -> None:
    folder.check_is_free()  # args.json alone: it ended before it had done anything
    (folder.path / name).touch()
    with pytest.raises(ValueError, match=f"{name} is there and would be replaced"):
        folder.check_is_free()


@pytest.mark.parametrize("text", ['{"lr": 1}', "[]", "not JSON", '{"epochs": 3, "model": "x"}'])
def test_settings_of_somebody_else_are_in_the_way(tmp_path: Path, text: str) -> None:
    (tmp_path / "args.json").write_text(text)
    with pytest.raises(ValueError, match=r"args\.json is there and would be replaced"):
        RunFolder(tmp_path).check_is_free()


def test_runs_of_the_same_second_get_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "now")
    paths = [RunFolder.named_by_time(tmp_path / "runs").path for _ in range(3)]
    assert [path.name for path in paths] == ["now", "now_2", "now_3"]
    assert all(path.is_dir() for path in paths)


@pytest.mark.parametrize("text", ["epoch;loss\n1;2\n", "epoch,loss\n1,0.5\n,\n"])
def test_damaged_numbers_are_named(folder: RunFolder, text: str) -> None:
    (folder.path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.csv: line \d has no epoch"):
        folder.keep_rows(1)


def test_settings_that_are_no_object_are_named(folder: RunFolder) -> None:
    (folder.path / "args.json").write_text("[]")
    with pytest.raises(ValueError, match=r"args\.json: not the settings of a run"):
        folder.settings()


def test_pruning_leaves_copies_that_somebody_made(folder: RunFolder) -> None:
    for name in ("epoch_0010.pt", "epoch_0010_good.pt", "epoch_0020.pt", "best.pt"):
        (folder.checkpoints / name).touch()
    folder.prune_checkpoints(1)
    left = sorted(path.name for path in folder.checkpoints.iterdir())
    assert left == ["best.pt", "epoch_0010_good.pt", "epoch_0020.pt"]


def test_going_on_after_an_epoch_neither_doubles_nor_loses_a_row(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        folder.add_row({"epoch": epoch, "loss": 0.5})
    again = RunFolder(folder.path)
    again.keep_rows(2)
    again.add_row({"epoch": 3, "loss": 0.25})
    again.add_row({"epoch": 4, "loss": 0.125})
    assert epochs(folder) == ["1", "2", "3", "4"]
    assert (folder.path / "metrics.csv").read_text().splitlines()[3] == "3,0.25"


def test_a_checkpoint_is_found_in_its_run_and_its_run_from_it(folder: RunFolder) -> None:
    best = folder.checkpoints / "best.pt"
    best.touch()
    assert find_checkpoint(folder.path, "best.pt") == best
    assert find_checkpoint(best, "last.pt") == best
    assert RunFolder.of_checkpoint(best).path == folder.path
    with pytest.raises(ValueError, match=r"last\.pt: no such file"):
        find_checkpoint(folder.path, "last.pt")
