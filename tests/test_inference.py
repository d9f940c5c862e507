"""The command inference.py, with a network of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import inference
from datasets.label_set import Label, LabelSet
from datasets.transforms import eval_preset
from models import build_model
from models.checkpoint import save_checkpoint
from models.prediction import resize_image
from runtime.devices import DEVICES

# Python 3.12 and later warn that a process with threads is forked; PyTorch's loaders do that.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

LABELS = LabelSet(
    "three", (Label("background", (0, 0, 0)), Label("red", (255, 0, 0)), Label("sky", (0, 9, 255)))
)
SIZE = 16


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose best.pt gives every label some pixels."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    torch.manual_seed(1)
    kwargs = {"num_labels": 3, "features": [4, 8], "dropout": 0.0}
    model = build_model("residual_attention_unet", **kwargs)
    model(torch.rand(8, 3, SIZE, SIZE))
    checkpoint = {
        "model": {"name": "residual_attention_unet", "kwargs": kwargs},
        "model_state": model.state_dict(),
        "label_set": LABELS.to_dict(),
        "image_size": SIZE,
    }
    save_checkpoint(folder / "checkpoints" / "best.pt", checkpoint)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of many sizes, modes and suffixes, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "sub folder").mkdir(parents=True)
    chance = np.random.default_rng(0)

    def noise(height: int, width: int, *channels: int) -> Image.Image:
        return Image.fromarray(chance.integers(0, 256, (height, width, *channels), np.uint8))

    noise(20, 33, 3).save(folder / "wide.jpg")
    noise(41, 9, 3).save(folder / "sub folder" / "tall ü.JPEG")
    noise(16, 16).save(folder / "gray.png")
    noise(1, 1, 3).save(folder / "pixel.bmp")
    noise(12, 14, 4).save(folder / "alpha.webp", lossless=True)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("no picture")
    cut = folder / "cut.jpg"
    noise(30, 30, 3).save(cut)
    cut.write_bytes(cut.read_bytes()[:400])
    return folder


GOOD = {
    "alpha.webp": (12, 14),
    "gray.png": (16, 16),
    "pixel.bmp": (1, 1),
    "sub folder/tall ü.JPEG": (41, 9),
    "wide.jpg": (20, 33),
}


def run(photos: Path, checkpoint: Path, output_dir: Path, *flags: str) -> dict[str, Any]:
    """Predict; give the report."""
    paths = ["--images_dir", photos, "--checkpoint", checkpoint, "--output_dir", output_dir]
    assert inference.main([*map(str, paths), "--workers", "0", *flags]) == 0
    report: dict[str, Any] = json.loads((output_dir / "predictions.json").read_text())
    return report


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail as a user's mistake; give what it says last."""
    try:
        code = inference.main([*map(str, arguments)])
    except SystemExit as stop:  # argparse
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_every_image_gets_a_palette_mask_of_its_size_and_an_overlay(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    run(photos, run_dir, tmp_path / "out")
    for name, (height, width) in GOOD.items():
        with Image.open((tmp_path / "out" / "masks" / name).with_suffix(".png")) as mask:
            assert (mask.mode, mask.size) == ("P", (width, height))
            assert mask.getpalette()[:9] == [0, 0, 0, 255, 0, 0, 0, 9, 255]
        with Image.open((tmp_path / "out" / "overlays" / name).with_suffix(".jpg")) as overlay:
            assert overlay.size == (width, height)
    assert len([path for path in tmp_path.glob("out/**/*.*") if path.is_file()]) == 2 * 5 + 1


def test_masks_are_the_argmax_of_enlarged_scores(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    run(photos, run_dir, tmp_path / "out")
    checkpoint = torch.load(run_dir / "checkpoints" / "best.pt")
    model = build_model(checkpoint["model"]["name"], **checkpoint["model"]["kwargs"]).eval()
    model.load_state_dict(checkpoint["model_state"])
    seen: set[int] = set()
    for name, size in GOOD.items():
        pixels = np.array(Image.open(photos / name).convert("RGB"))
        image = resize_image(torch.from_numpy(pixels).permute(2, 0, 1), SIZE)
        with torch.no_grad():
            scores = F.interpolate(model(image[None]), size, mode="bilinear")[0].numpy()
        mask = np.array(Image.open((tmp_path / "out" / "masks" / name).with_suffix(".png")))
        best = scores.max(axis=0)
        chosen = np.take_along_axis(scores, mask[None].astype(int), axis=0)[0]
        assert np.allclose(chosen, best, atol=1e-5)  # a batch of five rounds otherwise than one
        seen |= set(mask.ravel().tolist())
    assert seen == {0, 1, 2}


def test_the_report_has_an_entry_for_every_file(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    report = run(photos, run_dir, tmp_path / "out")
    entries = {entry["file"]: entry for entry in report["images"]}
    assert len(entries) == len(report["images"])
    status = {name: entry["status"] for name, entry in entries.items()}
    assert status == {**dict.fromkeys(GOOD, "written"), "notes.txt": "skipped", "cut.jpg": "failed"}
    assert report["complete"] is True
    assert LabelSet.from_dict(report["label_set"]) == LABELS
    assert "cannot be read as an image" in entries["notes.txt"]["reason"]
    for name, (height, width) in GOOD.items():
        entry = entries[name]
        assert (entry["height"], entry["width"]) == (height, width)
        mask = np.array(Image.open(tmp_path / "out" / entry["mask"]))
        shares = {label: float((mask == i).mean()) for i, label in enumerate(LABELS.names)}
        assert entry["label_shares"] == pytest.approx(shares, abs=1e-6)
        assert (tmp_path / "out" / entry["overlay"]).is_file()


def test_number_of_workers_changes_nothing(photos: Path, run_dir: Path, tmp_path: Path) -> None:
    one = run(photos, run_dir, tmp_path / "one")
    two = run(photos, run_dir, tmp_path / "two", "--workers", "1")
    assert one == two
    for path in (tmp_path / "one").glob("**/*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_one_image_at_a_time_works_and_a_batch_may_hold_no_image(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    best = run_dir / "checkpoints" / "best.pt"
    report = run(photos, best, tmp_path / "out", "--batch_size", "1", "--device", "cpu")
    assert [entry["status"] for entry in report["images"]].count("written") == len(GOOD)


def test_a_second_run_replaces_the_first_and_does_not_segment_its_overlays(
    photos: Path, run_dir: Path
) -> None:
    first = run(photos, run_dir, photos / "out")
    second = run(photos, run_dir, photos / "out")
    assert first == second


def test_two_images_of_one_name_do_not_overwrite_each_other(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (5, 4)).save(photos / "wide.png")
    report = run(photos, run_dir, tmp_path / "out")
    entries = {entry["file"]: entry for entry in report["images"]}
    assert entries["wide.jpg"]["status"] == "written"
    assert entries["wide.png"]["reason"] == "its mask would replace that of wide.jpg"
    with Image.open(tmp_path / "out" / "masks" / "wide.png") as mask:
        assert mask.size == (33, 20)


def test_masks_that_someone_else_made_are_not_touched(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "masks").mkdir()
    told = error_of(
        capsys, "--images_dir", photos, "--checkpoint", run_dir, "--output_dir", tmp_path
    )
    assert "masks exists and holds no predictions" in told
    assert list((tmp_path / "masks").iterdir()) == []


def test_a_folder_without_any_image_is_an_error(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    flags = ["--checkpoint", run_dir, "--output_dir", tmp_path / "out", "--workers", 0]
    assert "in: an empty folder" in error_of(capsys, "--images_dir", tmp_path / "in", *flags)
    (tmp_path / "in" / "a.txt").write_text("no picture")
    told = error_of(capsys, "--images_dir", tmp_path / "in", *flags)
    assert "in: none of its files is an image that can be read" in told


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images_dir": "nowhere"}, "nowhere: no such folder"),
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt: no such file, expected a checkpoint or the"),
        ({"checkpoint": "."}, "best.pt: no such file"),
        ({"batch_size": "0"}, "--batch_size is 0, expected 1 or more"),
        ({"workers": "-1"}, "--workers is -1, expected 0 or more"),
        ({"device": "abacus"}, "invalid choice: 'abacus'"),
    ],
)
def test_a_mistake_in_the_flags_is_told_in_a_line(
    photos: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"images_dir": photos, "checkpoint": run_dir, "output_dir": "out", **wrong}
    told = error_of(capsys, *(word for name in flags for word in (f"--{name}", flags[name])))
    assert message in told
    assert not Path("out").exists()


def test_a_file_that_is_no_checkpoint_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", photos / "notes.txt", "--output_dir", tmp_path / "out"]
    told = error_of(capsys, "--images_dir", photos, *flags)
    assert "notes.txt cannot be read as a checkpoint" in told


def test_a_wrong_path_is_told_before_pytorch_is_loaded() -> None:
    code = (
        "import sys, inference; code = inference.main('--images_dir nowhere --checkpoint x"
        " --output_dir y'.split()); print(code, 'torch' in sys.modules)"
    )
    root = Path(inference.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        "2 False\n",
        "inference.py: error: nowhere: no such folder\n",
    )


def test_training_and_inference_resize_an_image_alike() -> None:
    chance = torch.Generator().manual_seed(0)
    for size in ((20, 33), (50, 9), (16, 16), (1, 1)):
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=chance)
        trained_on, _ = eval_preset(SIZE)(image, torch.zeros(size, dtype=torch.uint8))
        assert torch.equal(resize_image(image, SIZE), trained_on)


def test_the_devices_are_those_that_exist() -> None:
    choices = {action.dest: action.choices for action in inference.build_parser()._actions}
    assert list(choices["device"]) == list(DEVICES)
