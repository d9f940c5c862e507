"""The files of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.run_folder import RunFolder, find_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.create({"lr": 0.1, "features": [4, 8]})
    return folder


def epochs(folder: RunFolder) -> list[str]:
    lines = (folder.path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss"
    return [line.partition(",")[0] for line in lines[1:]]


def test_settings_come_back(folder: RunFolder) -> None:
    assert folder.exists()
    assert RunFolder(folder.path).settings() == {"lr": 0.1, "features": [4, 8]}


def test_a_folder_without_settings_is_no_run(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).exists()
    with pytest.raises(ValueError, match=r"args\.json: not the settings of a run"):
        RunFolder(tmp_path).settings()


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
