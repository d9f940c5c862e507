"""The command inference.py, with a network of random weights."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import (
    HEIGHT,
    OTHER_FILES,
    SPECIAL_FILES,
    WIDTH,
    bad_files,
    good_files,
    write_hostile,
)
from inference_command import (
    LABELS,
    SIZE,
    arguments,
    error_of,
    files,
    image_tensor,
    make_run,
    mask_of,
    noise,
    plain_logits,
    run,
    statuses,
    write_noise,
)
from PIL import Image

import inference
from datasets.labels import LabelSet
from models.checkpoint import load_checkpoint, save_checkpoint
from models.prediction import View

ROOT = Path(inference.__file__).parent


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of many sizes, modes and suffixes, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "sub folder").mkdir(parents=True)
    noise(20, 33, 3).save(folder / "wide.jpg")
    noise(41, 9, 3).save(folder / "sub folder" / "tall ü.JPEG")
    noise(16, 16).save(folder / "gray.png")
    noise(1, 1, 3).save(folder / "pixel.bmp")
    noise(12, 14, 4).save(folder / "alpha.webp", lossless=True)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("no picture")
    return folder


GOOD = {
    "alpha.webp": (12, 14),
    "gray.png": (16, 16),
    "pixel.bmp": (1, 1),
    "sub folder/tall ü.JPEG": (41, 9),
    "wide.jpg": (20, 33),
}


# What is written


def test_every_image_gets_a_palette_mask_of_its_size_and_an_overlay_of_its_pixels(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    run(photos, run_dir, tmp_path / "out")
    for name, (height, width) in GOOD.items():
        with Image.open((tmp_path / "out" / "masks" / name).with_suffix(".png")) as mask:
            assert (mask.mode, mask.size) == ("P", (width, height))
            assert mask.getpalette()[:9] == [0, 0, 0, 255, 0, 0, 0, 9, 255]
        with Image.open((tmp_path / "out" / "overlays" / name).with_suffix(".jpg")) as overlay:
            assert overlay.width >= width and overlay.height > height  # a legend below
    assert len([path for path in tmp_path.glob("out/**/*.*") if path.is_file()]) == 2 * 5 + 1


def test_in_float32_masks_are_those_of_a_plain_loop_to_the_last_bit(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    run(photos, run_dir, tmp_path / "out", "--amp", "off", "--workers", 2)
    seen: set[int] = set()
    for name in GOOD:
        expected = plain_logits(run_dir, image_tensor(photos / name)).argmax(0)
        mask = mask_of(tmp_path / "out", str(Path(name).with_suffix("")))
        assert np.array_equal(mask, expected.numpy())
        seen |= set(mask.ravel().tolist())
    assert seen == {0, 1, 2}


def test_by_default_masks_are_those_of_a_plain_loop_but_for_ties(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    run(photos, run_dir, tmp_path / "out")
    for name in GOOD:
        logits = plain_logits(run_dir, image_tensor(photos / name))
        mask = torch.from_numpy(mask_of(tmp_path / "out", str(Path(name).with_suffix(""))))
        chosen = logits.gather(0, mask[None].long())[0]
        assert torch.allclose(chosen, logits.amax(0), atol=0.1 * float(logits.std()))


def test_the_report_has_an_entry_for_every_file(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    report = run(photos, run_dir, tmp_path / "out")
    assert statuses(report) == {**dict.fromkeys(GOOD, "written"), "notes.txt": "skipped"}
    assert report["complete"] is True
    assert LabelSet.from_dict(report["label_set"]) == LABELS
    entries = {entry["file"]: entry for entry in report["images"]}
    assert "not a picture in a known format" in entries["notes.txt"]["reason"]
    for name, (height, width) in GOOD.items():
        entry = entries[name]
        assert (entry["height"], entry["width"]) == (height, width)
        mask = np.array(Image.open(tmp_path / "out" / entry["mask"]))
        shares = {label: float((mask == i).mean()) for i, label in enumerate(LABELS.names)}
        assert entry["label_shares"] == pytest.approx(shares, abs=1e-6)
        assert (tmp_path / "out" / entry["overlay"]).is_file()


def test_a_hostile_folder_ends_with_code_1_and_every_good_image_segmented(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = good_files(), bad_files()
    assert len(bad) + len(SPECIAL_FILES) >= 23
    report = run(write_hostile(tmp_path / "in"), run_dir, tmp_path / "out", "--workers", 2, code=1)
    expected = {
        **dict.fromkeys(good, "written"),
        **dict.fromkeys([*bad, *SPECIAL_FILES], "failed"),
        **dict.fromkeys(OTHER_FILES, "skipped"),
    }
    assert statuses(report) == expected
    reasons = {name: reason for name, (_, reason) in bad.items()} | SPECIAL_FILES
    said = capsys.readouterr().err
    for entry in report["images"]:
        if entry["file"] in reasons:
            assert re.search(reasons[entry["file"]], entry["reason"])
            assert f"failed {entry['file']}: {entry['reason']}" in said
        elif entry["status"] == "written":
            with Image.open(tmp_path / "out" / entry["mask"]) as mask:
                assert mask.size == (WIDTH, HEIGHT)
    assert not list((tmp_path / "out").rglob(".*"))


def test_two_images_of_one_name_each_have_a_mask(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (5, 4)).save(photos / "wide.png")
    run(photos, run_dir, tmp_path / "out")
    assert mask_of(tmp_path / "out", "wide.jpg").shape == (20, 33)
    assert mask_of(tmp_path / "out", "wide.png").shape == (4, 5)
    assert not (tmp_path / "out" / "masks" / "wide.png").exists()


def test_a_turned_photo_is_segmented_upright_or_as_stored(run_dir: Path, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    (tmp_path / "in").mkdir()
    noise(20, 33, 3).save(tmp_path / "in" / "a.png", exif=tags)
    stored = image_tensor(tmp_path / "in" / "a.png")
    for flags, image in ((["--no_exif"], stored), ([], stored.rot90(-1, (1, 2)))):
        report = run(tmp_path / "in", run_dir, tmp_path / "out", "--amp", "off", *flags)
        expected = plain_logits(run_dir, image.contiguous()).argmax(0).numpy()
        assert np.array_equal(mask_of(tmp_path / "out", "a"), expected)
    assert report["images"][0]["exif_orientation"] == 6


def test_side_by_side_shows_photo_labels_and_overlay(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 1, 30, 40)
    run(photos, run_dir, tmp_path / "out", "--side_by_side")
    with Image.open(tmp_path / "out" / "side_by_side" / "00.jpg") as opened:
        picture = np.array(opened).astype(int)
    photo = image_tensor(photos / "00.png").permute(1, 2, 0).numpy()
    colors = np.array([label.color for label in LABELS.labels])[mask_of(tmp_path / "out", "00")]
    assert np.abs(picture[:30, :40] - photo).mean() < 12
    assert np.abs(picture[:30, 44:84] - colors).mean() < 12
    assert picture.shape[0] > 30


@pytest.mark.parametrize(("name", "scale"), [("uint8", 255), ("float16", 1)])
def test_probabilities_are_the_softmax_of_enlarged_logits(
    run_dir: Path, tmp_path: Path, name: str, scale: int
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    run(photos, run_dir, tmp_path / "out", "--save_probabilities", name, "--amp", "off")
    for path in sorted(photos.iterdir()):
        expected = plain_logits(run_dir, image_tensor(path)).double().softmax(0).numpy()
        with np.load(tmp_path / "out" / "probabilities" / f"{path.stem}.npz") as saved:
            assert saved["labels"].tolist() == list(LABELS.names)
            assert saved["probabilities"].dtype == name
            difference = np.abs(saved["probabilities"].astype(float) / scale - expected)
        assert difference.max() <= 0.5 / 255 + 1e-5


def test_pixels_of_low_confidence_are_background(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 1)
    run(photos, run_dir, tmp_path / "out", "--min_confidence", 0.5, "--amp", "off")
    best, label = plain_logits(run_dir, image_tensor(photos / "00.png")).softmax(0).max(0)
    expected = label.where(best >= 0.5, 0).numpy()
    assert (label.numpy() != expected).sum() > 0
    assert np.array_equal(mask_of(tmp_path / "out", "00"), expected)


def test_the_mirror_image_has_its_say(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 1)
    run(photos, run_dir, tmp_path / "out", "--tta", "--amp", "off")
    image = View.of(SIZE)(image_tensor(photos / "00.png"))
    both = [plain_logits(run_dir, image), plain_logits(run_dir, image.flip(-1)).flip(-1)]
    mean = torch.nn.functional.interpolate((both[0] + both[1])[None] / 2, (20, 26), mode="bilinear")
    mask = mask_of(tmp_path / "out", "00")
    assert np.array_equal(mask, mean[0].argmax(0).numpy())
    alone = plain_logits(run_dir, image_tensor(photos / "00.png")).argmax(0)
    assert not np.array_equal(mask, alone.numpy())


def test_the_network_may_see_another_size(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 1)
    report = run(photos, run_dir, tmp_path / "out", "--image_size", 24, "--amp", "off")
    expected = plain_logits(run_dir, image_tensor(photos / "00.png"), 24).argmax(0)
    assert np.array_equal(mask_of(tmp_path / "out", "00"), expected.numpy())
    assert report["image_size"] == 24
    report = run(photos, run_dir, tmp_path / "out", "--image_size", 24, 40, "--amp", "off")
    expected = plain_logits(run_dir, image_tensor(photos / "00.png"), (24, 40)).argmax(0)
    assert np.array_equal(mask_of(tmp_path / "out", "00"), expected.numpy())
    assert report["image_size"] == [24, 40]


@pytest.fixture
def cropped_dir(run_dir: Path, tmp_path: Path) -> Path:
    """The same network as if it were trained on crops."""
    checkpoint = load_checkpoint(run_dir / "checkpoints" / "best.pt")
    (tmp_path / "cropped" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "cropped" / "checkpoints" / "best.pt"
    save_checkpoint(path, {**checkpoint, "image_size": [SIZE, SIZE], "shorter_side": 24})
    return tmp_path / "cropped"


def test_a_network_trained_on_crops_sees_a_photo_in_its_own_shape(
    run_dir: Path, cropped_dir: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    for name, size in (("wide", (20, 30)), ("tall", (40, 30))):
        noise(*size, 3).save(photos / f"{name}.png")

    def expect(wide: int | tuple[int, int], tall: int | tuple[int, int]) -> None:
        for name, size in (("wide", wide), ("tall", tall)):
            expected = plain_logits(run_dir, image_tensor(photos / f"{name}.png"), size).argmax(0)
            assert np.array_equal(mask_of(out, name), expected.numpy())

    report = run(photos, cropped_dir, out, "--amp", "off")
    expect((24, 36), (32, 24))
    assert (report["image_size"], report["shorter_side"]) == ([SIZE, SIZE], 24)
    report = run(photos, cropped_dir, out, "--amp", "off", "--image_size", 48)
    expect((48, 72), (64, 48))
    assert report["shorter_side"] == 48
    report = run(photos, cropped_dir, out, "--amp", "off", "--image_size", 16, 24)
    expect((16, 24), (16, 24))
    assert report["image_size"] == [16, 24] and "shorter_side" not in report
    run(photos, cropped_dir, out, "--amp", "off", "--tile", 64)  # one window, of the crop's size
    expect(SIZE, SIZE)


def test_a_window_has_the_shape_of_what_the_network_sees(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 1, 20, 60)
    flags = ("--image_size", 10, 15, "--tile", 20, "--tile_overlap", 0, "--amp", "off")
    run(photos, run_dir, tmp_path / "out", *flags)
    image = image_tensor(photos / "00.png")
    windows = [plain_logits(run_dir, part, (10, 15)).argmax(0) for part in image.split(30, dim=2)]
    assert np.array_equal(mask_of(tmp_path / "out", "00"), torch.cat(windows, 1).numpy())


# Which files


def test_files_on_the_command_line_or_in_a_list_are_those_of_the_folder(
    photos: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, run_dir, tmp_path / "folder")
    (tmp_path / "list").write_text("wide.jpg\ngray.png\n")
    flags = ["--checkpoint", str(run_dir), "--workers", "0", "--output_dir"]
    for name, words in {
        "named": [photos / "wide.jpg", photos / "gray.png"],
        "listed": ["--images_dir", photos, "--list", tmp_path / "list"],
        "here": ["--list", tmp_path / "list"],
    }.items():
        monkeypatch.chdir(photos)
        assert inference.main([*map(str, words), *flags, str(tmp_path / name)]) == 0
        found = files(tmp_path / name)
        report = json.loads(found.pop("predictions.json"))
        assert [entry["file"] for entry in report["images"]] == ["wide.jpg", "gray.png"]
        assert len(found) == 4
        for mask in ("wide", "gray"):
            assert np.array_equal(
                mask_of(tmp_path / name, mask), mask_of(tmp_path / "folder", mask)
            )


def test_subfolders_count_unless_told_otherwise(
    photos: Path, run_dir: Path, tmp_path: Path
) -> None:
    for flags, count in (([], 6), (["--no_recursive"], 5)):
        assert len(run(photos, run_dir, tmp_path / "out", *flags)["images"]) == count


def test_a_folder_without_any_image_is_an_error(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    words = arguments(tmp_path / "in", run_dir, tmp_path / "out")
    assert "in: an empty folder" in error_of(capsys, *words)
    (tmp_path / "in" / "a.txt").write_text("no picture")
    assert "none of the 1 files is an image" in error_of(capsys, *words)


def test_a_named_file_that_is_no_image_is_a_failure(run_dir: Path, photos: Path) -> None:
    flags = ["--checkpoint", str(run_dir), "--output_dir", str(photos / "out"), "--workers", "0"]
    named = [str(photos / name) for name in ("notes.txt", "gone.jpg", "wide.jpg")]
    assert inference.main([*named, *flags]) == 1
    report = json.loads((photos / "out" / "predictions.json").read_text())
    assert list(statuses(report).values()) == ["failed", "failed", "written"]


# Mistakes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images_dir": "nowhere"}, "nowhere: no such folder"),
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt: no such file, expected a checkpoint or the"),
        ({"checkpoint": "."}, "best.pt: no such file"),
        ({"output_dir": __file__}, "is a file, expected a folder"),
        ({"output_dir": "dangling"}, "dangling is a link to nothing, expected a folder"),
        ({"output_dir": f"{__file__}/a/b"}, "test_inference.py is a file, expected a folder"),
        ({"masks_dir": "nowhere"}, "--masks_dir nowhere: no such folder"),
        ({"masks_dir": "out/masks"}, "--masks_dir out/masks: no such folder"),
        ({"list": "nowhere"}, "--list nowhere: cannot be read: No such file or directory"),
        ({"batch_size": "0"}, "--batch_size: got 0, expected a whole number, 1 or more"),
        ({"workers": "-1"}, "--workers: got -1, expected a whole number, 0 or more"),
        ({"image_size": "0"}, "--image_size: got 0, expected a whole number, 1 or more"),
        ({"tile": "15"}, "--tile: got 15, expected a whole number, 16 or more"),
        ({"tile_overlap": "0.95"}, "--tile_overlap: got 0.95, expected a number, 0 to 0.9"),
        ({"tile_overlap": "0.5"}, "--tile_overlap is of the windows that --tile asks for"),
        ({"tile_overlap": "0.25"}, "--tile_overlap is of the windows that --tile asks for"),
        ({"images_dir": __file__}, "test_inference.py: is a file; give it without --images_dir"),
        ({"min_confidence": "1.5"}, "--min_confidence: got 1.5, expected a number, 0 to 1"),
        ({"device": "abacus"}, "invalid choice: 'abacus'"),
        ({"amp": "int4"}, "invalid choice: 'int4'"),
        ({"shard": "3/2"}, "got shard 3/2, expected I/N"),
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
    Path("dangling").symlink_to("nowhere")
    flags = {"images_dir": photos, "checkpoint": run_dir, "output_dir": "out", **wrong}
    told = error_of(capsys, *(word for name in flags for word in (f"--{name}", flags[name])))
    assert message in told
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        ("home", "--output_dir home/out: home may not be written to"),
        ("run/checkpoints/best.pt", "run/checkpoints/best.pt: this checkpoint may not be read"),
    ],
)
def test_a_path_without_permission_is_told_in_a_line(
    photos: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    forbidden: str,
    message: str,
) -> None:
    (tmp_path / "run").symlink_to(run_dir)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: path.absolute() != tmp_path / forbidden)
    monkeypatch.setattr("models.checkpoint.load_checkpoint", None)
    flags = ["--images_dir", photos, "--checkpoint", "run"]
    told = error_of(capsys, *flags, "--output_dir", "home/out")
    assert message in told.replace(f"{tmp_path}/", "")
    assert files(tmp_path / "home") == {}


def test_photos_come_from_one_place(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", run_dir, "--output_dir", tmp_path / "out"]
    for words in ([], [photos / "wide.jpg", "--images_dir", photos]):
        assert "expected photos from one place" in error_of(capsys, *words, *flags)
    spaced = photos / "sub folder"
    assert f"give it as --images_dir '{spaced}'" in error_of(capsys, spaced, *flags)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["wide.jpg", "--no_recursive"], "is of --images_dir"),
        (["--images_dir", ".", "--list", "list", "--no_recursive"], "is of --images_dir"),
        (["--images_dir", ".", "--shard", "1/2", "--merge_reports"], "leave out --shard"),
        (["--images_dir", ".", "--merge_reports"], "no such folder, expected the reports of"),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused(
    photos: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(photos)
    flags = ["--checkpoint", run_dir, "--output_dir", tmp_path / "out"]
    assert told in error_of(capsys, *words, *flags)
    assert not (tmp_path / "out").exists()


def test_a_batch_size_that_a_processor_does_not_heed_is_told(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = write_noise(tmp_path / "in", 1)
    for flags, number in (((), 0), (("--batch_size", 8), 1)):
        run(photos, run_dir, tmp_path / "out", "--device", "cpu", *flags)
        assert caplog.text.count("--batch_size: of no effect on a processor") == number


@pytest.mark.parametrize("place", [".", "run", "run/checkpoints"])
def test_a_checkpoint_near_the_place_that_was_named_is_told(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.pt").touch()
    monkeypatch.chdir(tmp_path)
    told = error_of(capsys, *arguments(photos, Path(place), Path("out")))
    assert told.endswith("a training run; there is run/checkpoints/last.pt")


def test_predictions_are_not_compared_with_themselves(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(photos, run_dir, tmp_path / "out")
    flags = ["--masks_dir", tmp_path / "out" / "masks"]
    told = error_of(capsys, *arguments(photos, run_dir, tmp_path / "out", *flags))
    assert "predictions would be compared with themselves" in told


def test_masks_that_someone_else_made_are_not_touched(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("masks", "overlays"):
        (out / name).mkdir(parents=True)
    (out / "masks" / "other.png").write_text("mine")
    told = error_of(capsys, *arguments(photos, run_dir, out, "--overwrite"))
    assert "out: holds masks, and no predictions.json that says that this command wrote" in told
    assert "Choose another output folder, or move them away" in told
    assert files(out) == {"masks/other.png": b"mine"}
    (out / "masks" / "other.png").unlink()
    run(photos, run_dir, out)  # empty folders are no loss


@pytest.mark.parametrize(
    "name",
    ["overlays/00.jpg", "results.json", "results_dataset.json", "scores.json", "confusion.png"],
)
def test_a_file_that_someone_else_made_is_not_replaced(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    told = error_of(capsys, *arguments(photos, run_dir, tmp_path / "out"))
    assert f"holds {name.partition('/')[0]}, and no predictions.json" in told
    assert files(tmp_path / "out") == {name: b"mine"}


@pytest.mark.parametrize("name", ["predictions.json", "predictions.shard-1-of-2.json"])
@pytest.mark.parametrize("text", ['{"mine": 1}', "{", "[]", "", "[" * 100_000])
def test_a_report_that_someone_else_made_is_not_replaced(
    photos: Path,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    told = error_of(capsys, *arguments(photos, run_dir, tmp_path / "out"))
    assert f"{name}: not a report of this command, or damaged; it is not replaced" in told
    assert files(tmp_path / "out") == {name: text.encode()}


class Trap:
    """Pickled into a checkpoint, it would write a file when that is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "opened"))


def test_a_file_that_is_no_checkpoint_is_named_and_nothing_in_it_is_run(
    photos: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run_dir / "checkpoints" / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({"format_version": 1, "trap": Trap(tmp_path / "trapped")}, tmp_path / "trap.pt")
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    torch.save({"format_version": 99}, tmp_path / "newer.pt")
    for path, message in (
        (photos / "notes.txt", "notes.txt cannot be read as a checkpoint"),
        (tmp_path / "cut.pt", "cut.pt cannot be read as a checkpoint"),
        (tmp_path / "trap.pt", "trap.pt cannot be read as a checkpoint"),
        (tmp_path / "other.pt", "other.pt is a PyTorch file but no checkpoint of this project"),
        (tmp_path / "newer.pt", "newer.pt has checkpoint format 99"),
    ):
        told = error_of(capsys, *arguments(photos, path, tmp_path / "out"))
        assert message in told and "weights_only" not in told
    assert not (tmp_path / "trapped").exists()
    assert not (tmp_path / "out").exists()


def test_a_wrong_path_is_told_in_a_second_before_pytorch_is_loaded() -> None:
    code = (
        "import sys, inference; code = inference.main('--images_dir nowhere --checkpoint x"
        " --output_dir y'.split()); print(code, 'torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        "2 False\n",
        "inference.py: error: nowhere: no such folder\n",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_photos_of_which_none_exists_are_told_before_pytorch_is_loaded(
    run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("nope.png\nneither.png\n")
    flags = f"--checkpoint {run_dir} --output_dir {tmp_path / 'out'}"
    for words, message in (
        ("nope.png", "nope.png: no such file\n"),
        (f"--list {tmp_path / 'list'}", "nope.png: no such file, nor are there the others\n"),
    ):
        code = (
            f"import sys, inference; code = inference.main({f'{words} {flags}'.split()})\n"
            "print(code, 'torch' in sys.modules)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        said = f"inference.py: error: {ROOT}/{message}"
        assert (done.stdout, done.stderr) == ("2 False\n", said)
    assert not (tmp_path / "out").exists()
