"""The checkpoint file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO, get_args, get_origin, get_type_hints

import pytest
import torch
from training import run, write_data

import models.checkpoint
from models import build_model
from models.checkpoint import (
    FORMAT_VERSION,
    Checkpoint,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)

KWARGS = {"num_labels": 3, "features": [4], "dropout": 0.0}


def checkpoint(**extra: Any) -> dict[str, Any]:
    return {
        "model": {"name": "residual_attention_unet", "kwargs": KWARGS},
        "model_state": build_model("residual_attention_unet", **KWARGS).state_dict(),
        "label_set": {"name": "three", "labels": [{"name": name} for name in "abc"]},
        "image_size": 32,
        **extra,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.pt"


def test_a_loaded_network_computes_what_the_saved_one_did(path: Path) -> None:
    torch.manual_seed(0)
    saved = build_model("residual_attention_unet", **KWARGS)
    saved(torch.rand(4, 3, 8, 8))  # moves the batch statistics
    save_checkpoint(path, checkpoint(model_state=saved.state_dict()))
    loaded = model_from_checkpoint(load_checkpoint(path))
    images = torch.rand(2, 3, 8, 8)
    assert not loaded.training
    assert torch.equal(loaded(images), saved.eval()(images))


def test_everything_else_comes_back_as_it_was(path: Path) -> None:
    save_checkpoint(path, checkpoint(epoch=3, best_score=0.25, args={"lr": 1e-4, "run": None}))
    loaded = load_checkpoint(path)
    assert loaded["format_version"] == FORMAT_VERSION
    assert (loaded["epoch"], loaded["best_score"]) == (3, 0.25)
    assert loaded["args"] == {"lr": 1e-4, "run": None}


def test_no_other_file_is_left_beside_a_checkpoint(path: Path) -> None:
    save_checkpoint(path, checkpoint())
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_checkpoint(path: Path) -> None:
    save_checkpoint(path, checkpoint(epoch=1))
    with pytest.raises(AttributeError):
        save_checkpoint(path, checkpoint(epoch=2, cannot_be_pickled=lambda: None))
    assert load_checkpoint(path)["epoch"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_truncated_file_is_an_error_by_name_wherever_it_was_cut(path: Path) -> None:
    save_checkpoint(path, checkpoint())
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"last\.pt cannot be read as a checkpoint"):
            load_checkpoint(path)


def test_another_kind_of_file_is_an_error_by_name(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    with pytest.raises(ValueError, match=r"last\.pt cannot be read as a checkpoint"):
        load_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(path: Path) -> None:
    torch.save({"format_version": 1, "model": Path("/")}, path)
    with pytest.raises(ValueError, match=r"last\.pt cannot be read as a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, [1, 2], {"format_version": "a"}])
def test_a_pytorch_file_of_another_project_is_an_error_by_name(path: Path, content: object) -> None:
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"last\.pt is a PyTorch file but no checkpoint"):
        load_checkpoint(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    torch.save({**checkpoint(), "format_version": FORMAT_VERSION + 1}, path)
    with pytest.raises(ValueError, match=rf"format {FORMAT_VERSION + 1}.*update"):
        load_checkpoint(path)


def test_a_missing_part_is_named(path: Path) -> None:
    torch.save({"format_version": 1, "model": {}, "model_state": {}}, path)
    with pytest.raises(ValueError, match="lacks label_set, image_size"):
        load_checkpoint(path)


@pytest.mark.parametrize("labels", [[], [{"name": "a"}, {"name": "b"}], [{"name": "a"}] * 4])
def test_a_label_set_that_does_not_fit_the_network_is_an_error_by_name(
    path: Path, labels: list[dict[str, str]]
) -> None:
    save_checkpoint(path, checkpoint(label_set={"name": "x", "labels": labels}))
    told = rf"last\.pt contradicts itself: its network has 3 labels, .* names {len(labels)};"
    with pytest.raises(ValueError, match=told):
        load_checkpoint(path)


@pytest.mark.parametrize("side", [0, "16", None])
def test_a_shorter_side_is_a_number_of_pixels(path: Path, side: object) -> None:
    save_checkpoint(path, checkpoint(shorter_side=side))
    with pytest.raises(ValueError, match=r"last\.pt has shorter_side .*, expected a number of"):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [0, -1, [16], [16, 0], [16, 16, 16], "16", 16.0, None])
def test_an_image_size_that_is_none_is_an_error_by_name(path: Path, size: object) -> None:
    save_checkpoint(path, checkpoint(image_size=size))
    with pytest.raises(
        ValueError, match=r"last\.pt has image_size .*, expected a number of pixels"
    ):
        load_checkpoint(path)


def test_a_missing_file_stays_a_missing_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)


def test_weights_of_another_shape_are_an_error() -> None:
    other = {"name": "residual_attention_unet", "kwargs": {**KWARGS, "num_labels": 4}}
    with pytest.raises(ValueError, match="do not fit"):
        model_from_checkpoint(checkpoint(model=other))


def test_a_full_disk_is_told_in_a_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    path = tmp_path / "last.pt"
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
from pathlib import Path
from models.checkpoint import save_checkpoint
path = Path({str(path)!r})
made = {{"model": {{"kwargs": {{"num_labels": 0}}}}, "label_set": {{"labels": []}}}}
save_checkpoint(path, {{**made, "image_size": 1, "model_state": {{"w": torch.zeros(10)}}}})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save_checkpoint(path, {{**made, "image_size": 2, "model_state": {{"w": torch.zeros(10_000)}}}})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"{path} cannot be written, and is what it was before"), done
    assert load_checkpoint(path)["image_size"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_training_stores_exactly_what_the_description_names(tmp_path: Path, ema: str) -> None:
    data = write_data(tmp_path / "data")
    stored = run(data, tmp_path / "run", "--epochs", "1", "--ema", ema, "--crop")
    described = get_type_hints(Checkpoint)
    only_averages = {"training_state", "averaged_steps"} if ema == "0" else set()
    assert stored.keys() == described.keys() - only_averages
    assert stored["model"].keys() == get_type_hints(described.pop("model")).keys()
    for key in described.keys() & stored.keys():
        hint = described[key]
        hints = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        assert isinstance(stored[key], tuple(get_origin(each) or each for each in hints)), key


def test_a_checkpoint_replaced_while_it_is_read_is_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = checkpoint(epoch=1), checkpoint(epoch=2)
    save_checkpoint(path, old)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    read = models.checkpoint._checkpoint_of

    def replaced_first(file: BinaryIO, name: Path) -> Checkpoint:
        save_checkpoint(name, new)
        return read(file, name)

    monkeypatch.setattr("models.checkpoint._checkpoint_of", replaced_first)
    found, told = models.checkpoint.read_checkpoint(path)
    assert (found["epoch"], told) == (1, digest)
    assert load_checkpoint(path)["epoch"] == 2
