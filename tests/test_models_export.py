"""A network as a file for other programs predicts as the predictor does, at any size."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_command import LABELS, make_run, noise
from PIL import Image

from models import export
from models.checkpoint import load_checkpoint, save_checkpoint
from models.predictor import Predictor

# Of PyTorch's own modules, while it exports.
pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = [(20, 33), (2, 2), (97, 41), (16, 16), (33, 100)]


@pytest.fixture(scope="module", params=["whole", "crops"])
def run_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    run = make_run(tmp_path_factory.mktemp("run") / "run")
    best = run / "checkpoints" / "best.pt"
    if request.param == "crops":
        save_checkpoint(best, {**load_checkpoint(best), "image_size": [16, 16], "shorter_side": 40})
    return run


def sees_crops(run_dir: Path) -> bool:
    return "shorter_side" in load_checkpoint(run_dir / "checkpoints" / "best.pt")


def assert_same_labels(run_dir: Path, logits_of: Callable[[np.ndarray], np.ndarray]) -> None:
    same = total = 0
    with Predictor.load(run_dir, device="cpu", amp="off") as predictor:
        for height, width in SIZES:
            pixels = noise(height // 4 + 1, width // 4 + 1, 3, seed=height)
            photo = np.array(pixels.resize((width, height), Image.Resampling.BICUBIC))
            logits = logits_of(photo)
            assert (logits.shape, logits.dtype) == ((3, height, width), np.float32)
            same += (logits.argmax(0) == predictor(photo)).sum()
            total += height * width
    # Pixels of noise are divided closely; PyTorch resizes bytes in steps of a 32,768th.
    assert same / total >= (0.998 if sees_crops(run_dir) else 0.999)


def test_a_pt2_file_predicts_as_the_predictor_does(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if sees_crops(run_dir):
        assert export.main([str(run_dir), str(tmp_path / "out.pt2")]) == 2
        assert "has no .pt2; take .onnx" in capsys.readouterr().err
        return
    assert export.main([str(run_dir), str(tmp_path / "out.pt2")]) == 0
    extra = {"labels": ""}
    module = torch.export.load(io.BytesIO((tmp_path / "out.pt2").read_bytes()), extra_files=extra)
    assert json.loads(extra["labels"]) == list(LABELS.names)
    graph = module.module()
    assert_same_labels(run_dir, lambda photo: graph(torch.from_numpy(photo)).detach().numpy())


def test_an_onnx_file_predicts_as_the_predictor_does(run_dir: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export.main([str(run_dir), str(tmp_path / "out.onnx")]) == 0
    session = runtime.InferenceSession(tmp_path / "out.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(LABELS.names)
    assert_same_labels(run_dir, lambda photo: session.run(["logits"], {"image": photo})[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


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
