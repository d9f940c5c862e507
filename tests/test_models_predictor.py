"""A checkpoint in use, as a library and with many images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_command import LABELS, SIZE, image_tensor, make_run, noise, plain_logits
from PIL import Image
from torch import Tensor

from models.execution import Network
from models.prediction import View, label_map_from_logits
from models.predictor import Predictor, tensor_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run")


def tensors(count: int) -> list[tuple[int, Tensor]]:
    return [(n, tensor_of(noise(18 + n % 3, 20, 3, seed=n))) for n in range(count)]


def test_the_lines_in_the_readme_work(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (code,) = (block for block in blocks if "Predictor" in block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "NAME").symlink_to(run_dir)
    noise(20, 33, 3).save(tmp_path / "photo.jpg")
    found: dict[str, object] = {}
    exec(code, found)
    label_map = found["label_map"]
    assert isinstance(label_map, np.ndarray)
    assert (label_map.shape, label_map.dtype) == ((20, 33), np.uint8)
    assert any(name in capsys.readouterr().out for name in LABELS.names)


def test_a_predictor_takes_arrays_and_pictures_and_knows_its_labels(
    run_dir: Path, tmp_path: Path
) -> None:
    noise(20, 33, 3).save(tmp_path / "a.png")
    with Predictor.load(run_dir, device="cpu", amp="off") as predictor:
        assert predictor.label_names == LABELS.names
        with Image.open(tmp_path / "a.png") as image:
            label_map = predictor(image)
            assert np.array_equal(predictor(np.asarray(image)), label_map)
        expected = plain_logits(run_dir, image_tensor(tmp_path / "a.png")).argmax(0)
        assert np.array_equal(label_map, expected.numpy())


@pytest.mark.parametrize("image", [noise(9, 9), noise(9, 9, 4), np.zeros((9, 9, 3)), np.zeros(3)])
def test_images_of_another_kind_are_refused(run_dir: Path, image: object) -> None:
    with pytest.raises(ValueError, match=r'give image\.convert\("RGB"\)'):
        tensor_of(image)  # type: ignore[arg-type]


def in_batches(predictor: Predictor, batch_size: int) -> Predictor:
    """As on a GPU, though on the processor."""
    predictor.close()
    predictor.network = Network(predictor.network.forward, View.of(SIZE), 2, batch_size)
    return predictor


@pytest.mark.parametrize("tile", [None, 16])
def test_batches_give_what_threads_give(run_dir: Path, tile: int | None) -> None:
    pairs = tensors(11)
    with Predictor.load(run_dir, device="cpu", amp="off", tile=tile) as predictor:
        threads = list(predictor.stream(pairs))
        with in_batches(predictor, 4) as batches:
            assert [key for key, _ in threads] == list(range(11))
            for (key, one), (other_key, other) in zip(threads, batches.stream(pairs), strict=True):
                assert key == other_key
                same = (one.label_map == other.label_map).double().mean()
                assert same > 0.99  # a batch of four rounds otherwise than one


def test_images_of_several_sizes_go_in_batches_of_one_size(run_dir: Path) -> None:
    pairs = [(n, tensor_of(noise(*((20, 30), (30, 20))[n % 3 // 2], 3, seed=n))) for n in range(9)]
    with Predictor.load(run_dir, device="cpu", amp="off") as predictor:
        seen: list[tuple[int, ...]] = []

        def forward(images: Tensor) -> Tensor:
            seen.append(tuple(images.shape))
            return model(images)

        model, view = predictor.network.forward, View(SIZE, SIZE, 16)
        predictor.close()
        predictor.network = Network(forward, view, 1, batch_size=8)
        found = list(predictor.stream(pairs))
        assert [key for key, _ in found] == list(range(9))
        assert seen == [(6, 3, 16, 24), (2, 3, 24, 16), (1, 3, 24, 16)]
        for (_, image), (_, prediction) in zip(pairs, found, strict=True):
            alone = model(view(image)[None])[0]
            expected = label_map_from_logits(alone, tuple(image.shape[1:]))
            assert (prediction.label_map == expected).double().mean() > 0.99


def test_images_are_taken_only_a_few_ahead(run_dir: Path) -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, Tensor]]:
        nonlocal taken
        for pair in tensors(40):
            taken += 1
            yield pair

    with Predictor.load(run_dir, device="cpu") as predictor:
        results = predictor.stream(endless())
        next(results)
        assert taken <= 2 * torch.get_num_threads() + 1
        results.close()


def test_large_images_are_taken_one_by_one(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.execution.MOST_PIXELS", 500)
    taken = 0

    def counted() -> Iterator[tuple[int, Tensor]]:
        nonlocal taken
        for pair in tensors(5):
            taken += 1
            yield pair

    with Predictor.load(run_dir, device="cpu") as predictor:
        for number, _ in enumerate(predictor.stream(counted())):
            assert taken <= number + 2


@pytest.mark.slow
def test_compiled_code_predicts_the_same(run_dir: Path) -> None:
    pairs = tensors(4)
    with Predictor.load(run_dir, device="cpu") as predictor:
        expected = [prediction.label_map for _, prediction in predictor.stream(pairs)]
    with Predictor.load(run_dir, device="cpu", compile=True) as predictor:
        for (_, prediction), label_map in zip(predictor.stream(pairs), expected, strict=True):
            assert (prediction.label_map == label_map).double().mean() > 0.95
