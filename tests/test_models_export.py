"""A network as a file for other programs predicts as the predictor does, at any size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_command import LABELS, make_run, noise
from PIL import Image

from models import export
from models.checkpoint import load_checkpoint, save_checkpoint
from models.prediction import View
from models.predictor import Predictor

# Of PyTorch's own modules, while it exports.
pytestmark = pytest.mark.filterwarnings("ignore")

# Older versions resize bytes otherwise.
EXACT = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)


@pytest.fixture(scope="module", params=["whole", "crops"])
def run_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    if request.param == "crops" and not EXACT:
        pytest.skip("networks trained with --crop are exported by PyTorch 2.14")
    run = make_run(tmp_path_factory.mktemp("run") / "run")
    best = run / "checkpoints" / "best.pt"
    if request.param == "crops":
        save_checkpoint(best, {**load_checkpoint(best), "image_size": [16, 16], "shorter_side": 40})
    return run


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Landscape, portrait, square, panorama, tiny; real photographs if COCO_DIR names some."""
    sizes = [(20, 33), (97, 41), (16, 16), (33, 300), (2, 2), (1, 5)]
    grains = [noise(h // 4 + 1, w // 4 + 1, 3, seed=h).resize((w, h)) for h, w in sizes]
    folder = Path(os.environ.get("COCO_DIR", "")) / "val2017"
    real = sorted(folder.iterdir())[:8] if "COCO_DIR" in os.environ else []
    return [np.array(each.convert("RGB")) for each in (*grains, *map(Image.open, real))]


def assert_same_labels(run_dir: Path, photos: list[np.ndarray], logits: list[np.ndarray]) -> None:
    with Predictor.load(run_dir, device="cpu", amp="off") as predictor:
        for photo, scores in zip(photos, logits, strict=True):
            assert (scores.shape, scores.dtype) == ((3, *photo.shape[:2]), np.float32)
            assert (scores.argmax(0) == predictor(photo)).mean() >= (0.999 if EXACT else 0.98)


def test_a_pt2_file_predicts_as_the_predictor_does_with_torch_alone(
    run_dir: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    assert export.main([str(run_dir), str(tmp_path / "out.pt2")]) == 0
    np.savez(tmp_path / "photos.npz", *photos)
    program = """
import json, numpy, torch
extra = {"labels": ""}
graph = torch.export.load("out.pt2", extra_files=extra).module()
photos = [torch.from_numpy(photo) for photo in numpy.load("photos.npz").values()]
numpy.savez("logits.npz", *[graph(photo).detach().numpy() for photo in photos])
print(json.loads(extra["labels"]))
"""
    command = [sys.executable, "-c", program]  # the project is not on its path
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(list(LABELS.names)), done.stderr
    assert_same_labels(run_dir, photos, [*np.load(tmp_path / "logits.npz").values()])


def test_an_onnx_file_predicts_as_the_predictor_does(
    run_dir: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export.main([str(run_dir), str(tmp_path / "out.onnx")]) == 0
    session = runtime.InferenceSession(tmp_path / "out.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(LABELS.names)
    logits = [session.run(["logits"], {"image": photo})[0] for photo in photos]
    assert_same_labels(run_dir, photos, logits)
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


@pytest.mark.skipif(not EXACT, reason="older versions of PyTorch resize otherwise")
@pytest.mark.parametrize("seed", range(40))
def test_resizing_gives_the_bytes_that_pytorch_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width, h, w = map(int, random.integers(1, (60, 900, 200, 300)))
    pixels = torch.from_numpy(random.integers(0, 256, (3, height, width), np.uint8))
    if seed % 4 == 0:
        pixels = (pixels > 127).to(torch.uint8) * 255
    across = export._resized(pixels.double(), 2, w, w + 3)
    ours = export._resized(across, 1, h, h + seed % 2)
    theirs = View(h, w)(pixels)
    expected = torch.cat((theirs, theirs[:, :, -1:].expand(-1, -1, 3)), 2)
    assert torch.equal(ours[:, :h], expected.double())


def test_an_older_pytorch_is_told_that_it_cannot_export_crops(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.6.0"))
    trained_on_crops = "shorter_side" in load_checkpoint(run_dir / "checkpoints" / "best.pt")
    assert export.main([str(run_dir), str(tmp_path / "out.pt2")]) == 2 * trained_on_crops
    assert ("need PyTorch 2.14, not 2.6.0" in capsys.readouterr().err) == trained_on_crops


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.pt", "out.pt: expected a name that ends in .onnx or .pt2"),
        (f"{__file__}/out.pt2", "is a file, expected a folder"),
        ("out.onnx", "out.onnx: ONNX needs pip install onnx onnxscript; or write a .pt2"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    message: str,
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        export.main([str(run_dir), output])
    assert ended.value.code == 2 and message in capsys.readouterr().err
