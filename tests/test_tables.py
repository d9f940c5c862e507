"""A file and a row in a table add a loss, ...: train.py need not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from training import run, write_data

import losses
import train
from losses import Loss, Option
from runtime.command_line import at_least

# Python 3.12 and later warn that a process with threads is forked; PyTorch's loaders do that.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FOCAL = """
from torch import nn

from losses.simple import cross_entropy


class Focal(nn.Module):
    def __init__(self, ignore_index, gamma):
        super().__init__()
        self.ignore_index, self.gamma = ignore_index, gamma

    def forward(self, logits, label_map):
        print("focal loss of gamma", self.gamma)
        return cross_entropy(logits, label_map, self.ignore_index) ** self.gamma


def build(label_pixels, ignore_index, *, gamma):
    return Focal(ignore_index, gamma)
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_a_loss_with_an_option_of_its_own_is_a_file_and_two_rows(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "focal.py").write_text(FOCAL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(losses.OPTIONS, "gamma", Option(at_least(0.0), "G", "how hard it looks"))
    monkeypatch.setitem(losses.LOSSES, "focal", Loss("focal:build", "focal loss", {"gamma": 2.0}))

    state = run(data_dir, tmp_path / "own", "--epochs", "1", "--loss", "focal")
    assert "focal loss of gamma 2.0" in capsys.readouterr().out
    assert (state["args"]["loss"], state["args"]["gamma"]) == ("focal", None)
    run(data_dir, tmp_path / "given", "--epochs", "1", "--loss", "focal", "--gamma", "3")
    assert "focal loss of gamma 3.0" in capsys.readouterr().out
    for flags, told in (
        (["--gamma", "3"], "--gamma is for --loss focal, not simple"),
        (["--loss", "focal", "--gamma", "-1"], "--gamma: got -1, expected a number, 0.0 or more"),
        (["--loss", "focal", "--dice_weight", "1"], "--dice_weight is for --loss dice_ce, not foc"),
    ):
        with pytest.raises(SystemExit):
            train.main(["--data_dir", str(data_dir), *flags])
        assert told in capsys.readouterr().err
    help_text = " ".join(train.build_parser().format_help().split())
    assert "focal: how hard it looks (default: 2)" in help_text
