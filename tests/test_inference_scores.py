"""Predictions held against ground truth: scores, their files, and what is refused."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import exif
from inference_command import (
    LABELS,
    arguments,
    error_of,
    files,
    image_tensor,
    make_run,
    noise,
    plain_logits,
    run,
    write_noise,
)
from pair_folders import mapping_of
from PIL import Image

from datasets.labels import Label, LabelSet
from datasets.predictions.photos import turn
from datasets.predictions.truth import Truth, find_masks
from metrics.scores import report_dict, score_table
from models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run")


def write_masks(
    folder: Path, photos: Path, label_set: LabelSet | None = None, *, highest: int = 2
) -> dict[str, np.ndarray]:
    """Masks of noise for all photos, some pixels ignored; name -> label map."""
    folder.mkdir()
    label_maps = {}
    for number, path in enumerate(sorted(photos.iterdir())):
        size = image_tensor(path).shape[1:]
        label_map = np.random.default_rng(number).integers(0, highest + 1, size, np.uint8)
        label_map[:3] = 255
        label_maps[path.name] = label_map
        Image.fromarray(label_map).save(folder / f"{path.stem}.png")
    if label_set:
        report = {"format_version": 1, "complete": True, "label_set": label_set.to_dict()}
        (folder / "masks.json").write_text(json.dumps(report))
    return label_maps


def slow_counts(run_dir: Path, photo: Path, truth: np.ndarray) -> torch.Tensor:
    """counts[true, predicted] of one photo, pixel by pixel, by a plain loop in float32."""
    predicted = plain_logits(run_dir, image_tensor(photo)).argmax(0).numpy()
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for true, label in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if true != 255:
            counts[true, label] += 1
    return counts


def scores_of(out: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    with (out / "scores.csv").open(newline="") as file:
        return json.loads((out / "scores.json").read_text()), list(csv.DictReader(file))


def test_scores_are_those_of_a_plain_loop_over_the_images_to_the_last_bit(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_noise(tmp_path / "in", 5)
    truths = write_masks(tmp_path / "truth", photos, LABELS)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "truth", "--amp", "off")
    each = {name: slow_counts(run_dir, photos / name, truths[name]) for name in truths}
    total = torch.stack(list(each.values())).sum(0)
    scores, rows = scores_of(tmp_path / "out")
    expected = report_dict(total, LABELS.names)
    assert {key: scores[key] for key in expected} == expected
    assert capsys.readouterr().out == score_table(total, LABELS.names) + "\n"
    assert (scores["images"], scores["images_without_mask"], scores["not_scored"]) == (5, 0, [])
    by_image = {name: report_dict(counts, LABELS.names) for name, counts in each.items()}
    worst_first = sorted(by_image, key=lambda name: by_image[name]["mean"]["iou"])
    assert [row["file"] for row in rows] == worst_first
    for row in rows:
        expected = by_image[row["file"]]
        assert float(row["mean_iou"]) == expected["mean"]["iou"]
        assert float(row["pixel_accuracy"]) == expected["pixel_accuracy"]
        assert [float(row[f"iou/{label['name']}"]) for label in expected["labels"]] == [
            label["iou"] for label in expected["labels"]
        ]


def test_a_score_that_has_nothing_to_judge_is_left_empty(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 2)
    truths = write_masks(tmp_path / "truth", photos, LABELS)
    Image.fromarray(np.full_like(truths["00.png"], 255)).save(tmp_path / "truth" / "00.png")
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "truth")
    _, rows = scores_of(tmp_path / "out")
    assert [row["file"] for row in rows] == ["01.png", "00.png"]  # nothing to judge comes last
    assert set(rows[1].values()) == {"00.png", ""}


def test_labels_are_matched_by_name_whatever_their_order_and_colour(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    truths = write_masks(tmp_path / "truth", photos, LABELS)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "truth")
    background, red, sky = LABELS.labels
    other = LabelSet("other", (background, Label("sky", (1, 2, 3), categories=sky.categories), red))
    write_masks(tmp_path / "swapped", photos, other)
    for name, label_map in truths.items():
        swapped = np.array([0, 2, 1, *[9] * 252, 255], np.uint8)[label_map]
        Image.fromarray(swapped).save(tmp_path / "swapped" / name)
    run(photos, run_dir, tmp_path / "again", "--masks_dir", tmp_path / "swapped")
    assert scores_of(tmp_path / "again") == scores_of(tmp_path / "out")


def test_masks_of_fewer_labels_are_scored_with_a_remark(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = write_noise(tmp_path / "in", 1)
    red = Label("red", (255, 0, 0), categories=("dog",))
    write_masks(tmp_path / "t", photos, LabelSet("two", (LABELS.labels[0], red)), highest=1)
    with caplog.at_level(logging.WARNING):
        run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    assert "knows no sky: where the network sees one, it counts as wrong" in caplog.text
    assert "red: made of other categories than in training" in caplog.text
    assert scores_of(tmp_path / "out")[0]["labels"][2]["true_pixels"] == 0


def test_masks_of_labels_that_the_network_does_not_know_are_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_noise(tmp_path / "in", 1)
    write_masks(tmp_path / "t", photos, LabelSet("x", (*LABELS.labels, Label("cheese", (1, 1, 1)))))
    words = arguments(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    told = error_of(capsys, *words)
    assert "it has background, red, sky, cheese, the network background, red, sky" in told
    assert not (tmp_path / "out").exists()


def test_plain_masks_have_the_pixel_values_of_training(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 2)
    truths = write_masks(tmp_path / "truth", photos)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "truth")
    checkpoint = load_checkpoint(run_dir / "checkpoints" / "best.pt")
    del checkpoint["format_version"]
    path = tmp_path / "values.pt"
    save_checkpoint(path, {**checkpoint, "mask_values": [0, 100, 200]})
    (tmp_path / "gray").mkdir()
    for name, label_map in truths.items():
        gray = np.where(label_map == 255, 255, label_map * 100).astype(np.uint8)
        Image.fromarray(gray).save(tmp_path / "gray" / name)
    run(photos, path, tmp_path / "again", "--masks_dir", tmp_path / "gray")
    (again, rows), (scores, expected) = (scores_of(tmp_path / name) for name in ("again", "out"))
    assert again.pop("checkpoint_sha256") != scores.pop("checkpoint_sha256")
    assert (again, rows) == (scores, expected)


def test_masks_that_do_not_fit_are_named_and_the_others_scored(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 5)
    write_masks(tmp_path / "t", photos, LABELS)
    Image.new("L", (9, 9)).save(tmp_path / "t" / "00.png")
    (tmp_path / "t" / "02.png").write_bytes(b"no picture")
    (tmp_path / "t" / "03.png").unlink()
    report = run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t", code=1)
    assert all(entry["status"] == "written" for entry in report["images"])
    scores, rows = scores_of(tmp_path / "out")
    assert [row["file"] for row in rows] == ["01.png", "04.png"]
    assert (scores["images"], scores["images_without_mask"]) == (2, 1)
    reasons = {item["file"]: item["reason"] for item in scores["not_scored"]}
    assert list(reasons) == ["00.png", "02.png"]
    assert "is 9x9 (height x width), its image 20x26" in reasons["00.png"]


def test_no_scores_although_asked_for_is_a_failure(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    write_masks(tmp_path / "t", photos, LABELS)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    for name in ("00.png", "01.png"):
        Image.new("L", (9, 9)).save(tmp_path / "t" / name)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t", code=1)
    assert "no predicted image has a mask that can be compared" in caplog.text
    assert not list((tmp_path / "out").glob("scores.*"))


def test_masks_of_other_names_are_told_before_anything_is_predicted(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    write_masks(tmp_path / "t", photos, LABELS)
    for path in (tmp_path / "t").glob("*.png"):
        path.rename(path.with_stem(f"{path.stem}_mask"))
    words = arguments(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    assert "named like '00' and masks like '00_mask'" in error_of(capsys, *words)
    assert not (tmp_path / "out").exists()


def binary(label_map: np.ndarray) -> np.ndarray:
    return np.where(label_map == 1, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (binary, "3 masks of 0 and 255 alone: 00.png, 01.png, 02.png; 255 means ignored"),
        (lambda m: m + np.uint8(3), "3 masks with a pixel value that is no label: 00.png (3, 4, 5"),
        (lambda m: m.astype(np.uint16), "3 masks with more than 8 bits a channel: 00.png (I;16)"),
    ],
)
def test_what_training_refuses_of_masks_scoring_refuses_before_predicting(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, told: str
) -> None:
    photos = write_noise(tmp_path / "in", 3)
    for name, label_map in write_masks(tmp_path / "t", photos).items():
        Image.fromarray(spoil(label_map % 252)).save(tmp_path / "t" / name)
    words = arguments(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    assert told in error_of(capsys, *words)
    assert not (tmp_path / "out").exists()


def test_scores_and_results_never_outlive_their_masks(run_dir: Path, tmp_path: Path) -> None:
    photos, out = write_noise(tmp_path / "in", 2), tmp_path / "out"
    write_masks(tmp_path / "t", photos, LABELS)
    flags = ["--masks_dir", tmp_path / "t", "--coco_results"]
    report = run(photos, run_dir, out, *flags)
    assert scores_of(out)[0]["checkpoint_sha256"] == report["checkpoint_sha256"]
    before = files(out)
    run(photos, run_dir, out)  # does nothing, so they are still true
    assert files(out) == before
    run(photos, make_run(tmp_path / "other", seed=2), out)
    assert before.keys() - files(out).keys() == {
        *("scores.json", "scores.csv", "confusion.png", "results.json", "results_dataset.json")
    }
    report = run(photos, tmp_path / "other", out, *flags)
    assert scores_of(out)[0]["checkpoint_sha256"] == report["checkpoint_sha256"]
    before = files(out)
    (photos / "00.png").unlink()
    run(photos, tmp_path / "other", out)  # its mask stays, and so the scores are true
    assert before.keys() == files(out).keys()


def test_photos_that_training_would_leave_out_are_scored(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 2)
    write_masks(tmp_path / "t", photos, LABELS)
    deep = np.random.default_rng(0).integers(0, 65536, (20, 26), np.uint16)
    Image.fromarray(deep).save(photos / "00.png")
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    assert scores_of(tmp_path / "out")[0]["images"] == 2


def test_a_mask_is_turned_with_its_photo_unless_it_only_fits_upright(tmp_path: Path) -> None:
    truth = Truth({"p": tmp_path / "m.png"}, mapping_of(0, 1, 2))
    stored = np.random.default_rng(0).integers(0, 3, (4, 6), np.uint8)
    Image.fromarray(stored).save(tmp_path / "m.png")

    def read(size: tuple[int, ...], orientation: int) -> np.ndarray:
        entry = {"file": "p", "height": size[0], "width": size[1]}
        return truth.read({**entry, "exif_orientation": orientation})

    for orientation in range(1, 9):
        upright = turn(stored, orientation)
        assert np.array_equal(read(upright.shape, orientation), upright)
    assert np.array_equal(read((4, 6), 6), stored)


@pytest.mark.parametrize(
    ("orientation", "size", "told"),
    [(1, (20, 20), 0), (2, (20, 26), 1), (3, (20, 26), 1), (6, (20, 26), 0), (6, (20, 20), 1)],
)
def test_masks_that_fit_a_photo_turned_or_not_are_told(
    run_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    orientation: int,
    size: tuple[int, int],
    told: int,
) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    for name, tag in (("a", orientation), ("b", 1)):
        noise(*size, 3).save(photos / f"{name}.png", exif=exif(tag))
    write_masks(tmp_path / "t", photos, LABELS)
    run(photos, run_dir, tmp_path / "out", "--masks_dir", tmp_path / "t")
    text = "1 of the masks fit their photo whether EXIF turns it or not, such as that of a.png"
    assert caplog.text.count(text) == told
    assert scores_of(tmp_path / "out")[0]["images"] == 2


def test_masks_pair_with_photos_by_path_whatever_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.png", "c.jpg.png", "c.png.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    assert find_masks(tmp_path, ["a/b.JPEG", "c.jpg", "c.png", "d.png"]) == {
        "a/b.JPEG": tmp_path / "a" / "b.png",
        "c.jpg": tmp_path / "c.jpg.png",
        "c.png": tmp_path / "c.png.png",
    }
