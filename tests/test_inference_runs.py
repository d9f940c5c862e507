"""inference.py run again, in parts, stopped and killed: what is in the folder afterwards."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_command import (
    arguments,
    error_of,
    files,
    make_run,
    mask_of,
    noise,
    run,
    statuses,
    write_noise,
)
from PIL import Image

import inference
import models.checkpoint
from datasets.predictions.report import merge_reports
from models.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(inference.__file__).parent


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run")


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "masks").rglob("[!.]*.png")}


def test_the_outputs_are_the_same_bytes_whatever_reads_and_computes(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_noise(tmp_path / "in", 12)
    flags: dict[str, list[object]] = {
        "one": [],
        "workers": ["--workers", 2],
        "batch": ["--batch_size", 3],
    }
    for name, more in flags.items():
        run(photos, run_dir, tmp_path / name, *more)
        assert files(tmp_path / name) == files(tmp_path / "one")
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    run(photos, run_dir, tmp_path / "threads")
    assert files(tmp_path / "threads") == files(tmp_path / "one")


def test_running_again_keeps_everything(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_noise(tmp_path / "in", 3)
    run(photos, run_dir, tmp_path / "out", "--side_by_side")
    before, old = files(tmp_path / "out"), times(tmp_path / "out")
    monkeypatch.setattr(inference, "load_predictor", None)  # is not needed
    run(photos, run_dir, tmp_path / "out", "--side_by_side")
    assert files(tmp_path / "out") == before
    assert times(tmp_path / "out") == old


def test_a_second_run_does_not_segment_the_overlays_of_the_first(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    first = run(photos, run_dir, photos, "--coco_results")
    assert run(photos, run_dir, photos, "--coco_results") == first
    assert list(statuses(first)) == ["00.png", "01.png"]


@pytest.mark.parametrize("missing", ["overlays/00.jpg", "masks/00.png", "probabilities/00.npz"])
def test_what_is_missing_is_made_again(run_dir: Path, tmp_path: Path, missing: str) -> None:
    photos = write_noise(tmp_path / "in", 2)
    run(photos, run_dir, tmp_path / "out", "--save_probabilities")
    before, old = files(tmp_path / "out"), times(tmp_path / "out")
    (tmp_path / "out" / missing).unlink()
    run(photos, run_dir, tmp_path / "out", "--save_probabilities")
    assert files(tmp_path / "out").keys() == before.keys()
    new = times(tmp_path / "out")
    assert (new["00.png"] != old["00.png"], new["01.png"] == old["01.png"]) == (True, True)


@pytest.mark.parametrize(
    "flags",
    [
        ["--tta"],
        ["--amp", "off"],
        ["--tile", "16"],
        ["--min_confidence", "0.4"],
        ["--image_size", "20"],
        ["--no_exif"],
        ["--side_by_side"],
        ["--overwrite"],
    ],
)
def test_other_flags_make_everything_anew(run_dir: Path, tmp_path: Path, flags: list[str]) -> None:
    photos = write_noise(tmp_path / "in", 1)
    run(photos, run_dir, tmp_path / "out")
    old = times(tmp_path / "out")
    run(photos, run_dir, tmp_path / "out", *flags)
    assert times(tmp_path / "out") != old
    run(photos, run_dir, tmp_path / "fresh", *flags)
    assert np.array_equal(mask_of(tmp_path / "out", "00"), mask_of(tmp_path / "fresh", "00"))


EXTRAS = (["--side_by_side"], ["--save_probabilities"], ["--coco_results"], ["--masks_dir", "in"])


@pytest.mark.parametrize("added", [[], *EXTRAS, ["--overwrite"], ["--workers", "2"]])
def test_flags_that_do_not_touch_masks_delete_nothing(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = write_noise(Path("photos"), 3)
    for number, path in enumerate(sorted(photos.iterdir())):
        with Image.open(path) as photo:
            Path("in").mkdir(exist_ok=True)
            Image.new("L", photo.size, number).save(Path("in") / path.name)
    run(photos, run_dir, Path("out"), *(word for flags in EXTRAS for word in flags))
    before = files(Path("out"))
    report = run(photos, run_dir, Path("out"), *added)
    after = files(Path("out"))
    changed = {name for name in before if before[name] != after[name]}
    assert after.keys() == before.keys() and not changed, "the report names all that is there"
    assert "probabilities" in report["images"][0] and "side_by_side" in report["images"][0]


def test_outputs_are_added_to_those_that_are_there(run_dir: Path, tmp_path: Path) -> None:
    photos, out = write_noise(tmp_path / "in", 3), tmp_path / "out"
    run(photos, run_dir, out, "--save_probabilities", "float16")
    run(photos, run_dir, out, "--side_by_side")
    run(photos, run_dir, tmp_path / "at_once", "--side_by_side", "--save_probabilities", "float16")
    assert files(out) == files(tmp_path / "at_once")
    run(photos, run_dir, out, "--save_probabilities")
    run(photos, run_dir, tmp_path / "uint8", "--side_by_side", "--save_probabilities")
    assert files(out) == files(tmp_path / "uint8"), "of another kind they are made anew"


def test_what_was_of_other_masks_is_removed_and_told(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, out = write_noise(tmp_path / "in", 2), tmp_path / "out"
    run(photos, run_dir, out, "--side_by_side", "--save_probabilities", "--coco_results")
    Image.new("RGB", (9, 9)).save(photos / "00.png")
    with caplog.at_level("INFO"):
        run(photos, run_dir, out)
    assert {name.partition(".")[0] for name in files(out) if "by_side" in name} == {
        "side_by_side/01"
    }
    for told in ("1 of side_by_side", "1 of probabilities", "results.json, results_dataset.json"):
        assert f"removed, being of other masks: {told}" in caplog.text


def test_masks_of_files_that_are_not_among_these_are_told(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, out = write_noise(tmp_path / "in", 3), tmp_path / "out"
    run(photos, run_dir, out)
    assert inference.main(arguments(photos, run_dir, out, "--shard", "1/2")) == 0
    assert "more masks" not in caplog.text
    (photos / "02.png").unlink()
    (photos / "sub").mkdir()
    (photos / "01.png").rename(photos / "sub" / "01.png")
    report = run(photos, run_dir, out, "--tta")
    assert f"{out} holds 2 more masks, of other files than these" in caplog.text
    assert list(statuses(report)) == ["00.png", "sub/01.png"]


def test_a_picture_of_an_earlier_run_with_other_flags_is_not_taken_over(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 1)
    run(photos, run_dir, tmp_path / "out", "--side_by_side")
    run(photos, run_dir, tmp_path / "out", "--min_confidence", 1)
    run(photos, run_dir, tmp_path / "without", "--min_confidence", 1)
    assert files(tmp_path / "out") == files(tmp_path / "without")
    run(photos, run_dir, tmp_path / "out", "--min_confidence", 1, "--side_by_side")
    run(photos, run_dir, tmp_path / "fresh", "--min_confidence", 1, "--side_by_side")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_another_checkpoint_and_another_photo_make_masks_anew(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    run(photos, run_dir, tmp_path / "out")
    old = times(tmp_path / "out")
    noise(20, 26, 3, seed=9).save(photos / "00.png")
    run(photos, run_dir, tmp_path / "out")
    new = times(tmp_path / "out")
    assert (new["00.png"] != old["00.png"], new["01.png"] == old["01.png"]) == (True, True)
    run(photos, make_run(tmp_path / "other", seed=2), tmp_path / "out")
    assert all(time != new[name] for name, time in times(tmp_path / "out").items())


def test_a_command_that_is_refused_leaves_the_report_as_it_was(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = write_noise(tmp_path / "in", 2), tmp_path / "out"
    run(photos, run_dir, out)
    before = files(out)
    checkpoint = load_checkpoint(run_dir / "checkpoints" / "best.pt")
    del checkpoint["format_version"], checkpoint["model_state"]["encoder.0.conv1.weight"]
    save_checkpoint(tmp_path / "holes.pt", checkpoint)
    for path, flags, message in (
        (run_dir, ["--amp", "fp16", "--device", "cpu"], "--amp fp16: is for GPUs"),
        (tmp_path / "holes.pt", [], "Missing key(s) in state_dict"),
    ):
        assert message in error_of(capsys, *arguments(photos, path, out, *flags))
        assert files(out) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_checkpoint_replaced_while_it_is_read_stamps_no_other_masks(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    photos = write_noise(tmp_path / "in", 1)
    expected = run(photos, run_dir, tmp_path / "expected")
    shutil.copytree(run_dir, tmp_path / "run")
    newer = make_run(tmp_path / "newer", seed=2) / "checkpoints" / "best.pt"
    read = models.checkpoint.read_pytorch_file

    def read_meanwhile(file: Any, path: Path, what: str) -> object:
        content = read(file, path, what) if when == "after" else None
        newer.replace(path)
        return content or read(file, path, what)

    monkeypatch.setattr(models.checkpoint, "read_pytorch_file", read_meanwhile)
    report = run(photos, tmp_path / "run", tmp_path / "out")
    assert not newer.exists()
    assert report["checkpoint_sha256"] == expected["checkpoint_sha256"]
    assert np.array_equal(mask_of(tmp_path / "out", "00"), mask_of(tmp_path / "expected", "00"))


def test_a_foreign_file_in_a_masks_place_is_kept_unless_overwrite(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 2)
    run(photos, run_dir, tmp_path / "out")
    Image.new("P", (26, 20)).save(tmp_path / "out" / "masks" / "00.png")
    report = run(photos, run_dir, tmp_path / "out", code=1)
    assert statuses(report) == {"00.png": "failed", "01.png": "written"}
    assert "is not a mask of this command" in report["images"][0]["reason"]
    assert not mask_of(tmp_path / "out", "00").any()
    run(photos, run_dir, tmp_path / "out", "--overwrite")
    assert mask_of(tmp_path / "out", "00").any()


# Shards


@pytest.mark.parametrize("count", [2, 3, 7])
def test_merged_shards_are_byte_for_byte_the_unsharded_run(
    run_dir: Path, tmp_path: Path, count: int
) -> None:
    photos = write_noise(tmp_path / "in", 5)
    (photos / "02.jpg").write_bytes(b"no picture")  # shares its name with 02.png
    (tmp_path / "truth").mkdir()
    for number in (0, 2, 4):
        mask = np.random.default_rng(number).integers(0, 3, (20, 26 + number % 3), np.uint8)
        Image.fromarray(mask).save(tmp_path / "truth" / f"{number:02}.png")
    flags = ["--masks_dir", tmp_path / "truth", "--coco_results"]
    run(photos, run_dir, tmp_path / "whole", *flags, code=1)
    parts = tmp_path / "parts"
    for index in range(count, 0, -1):
        words = arguments(photos, run_dir, parts, *flags, "--shard", f"{index}/{count}")
        assert inference.main(words) in (0, 1)
    assert not (parts / "predictions.json").exists()
    run(photos, run_dir, parts, *flags, "--merge_reports", code=1)
    assert files(parts) == files(tmp_path / "whole")
    run(photos, run_dir, parts, *flags, "--merge_reports", code=1)  # once more does no harm
    assert files(parts) == files(tmp_path / "whole")


def test_the_environment_of_torchrun_chooses_the_shard(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_noise(tmp_path / "in", 3)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert inference.main(arguments(photos, run_dir, tmp_path / "out")) == 0
    assert list(times(tmp_path / "out")) == ["01.png"]
    assert (tmp_path / "out" / "predictions.shard-2-of-3.json").is_file()


def test_reports_that_do_not_belong_together_are_not_merged(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = write_noise(tmp_path / "in", 4), tmp_path / "out"

    def part(*flags: str) -> None:
        assert inference.main(arguments(photos, run_dir, out, "--shard", *flags)) == 0

    with pytest.raises(ValueError, match="got none"):
        merge_reports(tmp_path)
    part("1/2")
    with pytest.raises(ValueError, match=r"shard-2-of-2\.json: is missing"):
        merge_reports(out)
    part("2/2", "--tta")
    with pytest.raises(ValueError, match="they differ in options"):
        merge_reports(out)
    path = out / "predictions.shard-2-of-2.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    told = error_of(capsys, *arguments(photos, run_dir, out, "--merge_reports"))
    assert "is of a run that did not finish" in told
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a report"):
        merge_reports(out)
    path.unlink()
    part("1/3")
    with pytest.raises(ValueError, match="expected the reports of one run's shards"):
        merge_reports(out)


@pytest.mark.parametrize("change", ["more", "fewer", "renamed"])
def test_shards_of_other_files_are_not_merged(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    photos, out = write_noise(tmp_path / "in", 4), tmp_path / "out"
    assert inference.main(arguments(photos, run_dir, out, "--shard", "1/2")) == 0
    if change == "more":
        noise(9, 9, 3).save(photos / "000.png")
    elif change == "fewer":
        (photos / "00.png").unlink()
    else:
        (photos / "00.png").rename(photos / "04.png")
    assert inference.main(arguments(photos, run_dir, out, "--shard", "2/2")) == 0
    told = error_of(capsys, *arguments(photos, run_dir, out, "--merge_reports"))
    assert "they differ in all_files; run all shards with the same flags on the same files" in told
    assert not (out / "predictions.json").exists()
    assert inference.main(arguments(photos, run_dir, out, "--shard", "1/2")) == 0
    report = run(photos, run_dir, out, "--merge_reports")
    assert list(statuses(report)) == [path.name for path in sorted(photos.iterdir())]


def test_shards_may_find_the_same_checkpoint_in_different_places(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = write_noise(tmp_path / "in", 2), tmp_path / "out"
    shutil.copytree(run_dir, tmp_path / "copy")
    for part, where in (("1/2", run_dir), ("2/2", tmp_path / "copy")):
        assert inference.main(arguments(photos, where, out, "--shard", part)) == 0
    report = run(photos, run_dir, out, "--merge_reports")
    assert report["checkpoint"] == str(run_dir / "checkpoints" / "best.pt")
    for part, where in (("1/2", run_dir), ("2/2", make_run(tmp_path / "other", seed=2))):
        assert inference.main(arguments(photos, where, out, "--shard", part)) == 0
    told = error_of(capsys, *arguments(photos, run_dir, out, "--merge_reports"))
    assert "they differ in checkpoint_sha256" in told


def test_merging_replaces_no_foreign_report(run_dir: Path, tmp_path: Path) -> None:
    photos, out = write_noise(tmp_path / "in", 2), tmp_path / "out"
    for part in ("1/2", "2/2"):
        assert inference.main(arguments(photos, run_dir, out, "--shard", part)) == 0
    (out / "predictions.json").write_text("mine")
    with pytest.raises(ValueError, match="not a report of this command"):
        merge_reports(out)
    assert (out / "predictions.json").read_text() == "mine"


# Two at once


@pytest.mark.parametrize(("holds", "flags", "code"), [
    ((), (), 1), ((), ("--shard", "1/2"), 1), (("--shard", "1/2"), (), 1),
    (("--shard", "1/2"), ("--shard", "2/2"), 0), ((), ("--merge_reports",), 1),
])  # fmt: skip
def test_a_second_run_says_who_holds_the_folder_and_shards_work_side_by_side(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    holds: tuple[str, ...],
    flags: tuple[str, ...],
    code: int,
) -> None:
    photos, out, ended = write_noise(tmp_path / "in", 4), tmp_path / "out", []
    load = inference.load_predictor

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(inference, "load_predictor", load)
        ended.append(inference.main(arguments(photos, run_dir, out, *flags)))
        return load(*args)

    monkeypatch.setattr(inference, "load_predictor", meanwhile)
    assert inference.main(arguments(photos, run_dir, out, *holds)) == 0
    assert ended == [code]
    told = f"stopped: {out} is in use by process {os.getpid()} on "
    assert (told in capsys.readouterr().err) == bool(code)
    assert not list(out.glob(".*"))


# Endings


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_full_disk_is_one_line_and_no_partial_file(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    when: int,
) -> None:
    photos, out = write_noise(tmp_path / "in", 3), tmp_path / "out"
    save, calls = Image.Image.save, []

    def save_until_full(image: Image.Image, place: Any, *args: Any, **options: Any) -> None:
        calls.append(place)
        save(image, place, *args, **options)
        if len(calls) > when:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_until_full)
        told = error_of(capsys, *arguments(photos, run_dir, out), code=1)
    assert "No space left on device" in told and "; make room and run the same command" in told
    assert not [name for name in files(out) if Path(name).name.startswith(".")]
    assert json.loads((out / "predictions.json").read_text())["complete"] is False
    run(photos, run_dir, out)
    run(photos, run_dir, tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")


def test_a_file_that_cannot_be_written_fails_alone(run_dir: Path, tmp_path: Path) -> None:
    photos = write_noise(tmp_path / "in", 2)
    long = photos / ("n" * 253)  # its mask's name would be too long
    (photos / "00.png").rename(long)
    report = run(photos, run_dir, tmp_path / "out", code=1)
    assert statuses(report) == {"01.png": "written", long.name: "failed"}
    assert "File name too long" in report["images"][1]["reason"]


def test_photos_of_any_shape_are_done(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for height, width in ((1, 20_000), (20_000, 1), (5, 1000), (1000, 5)):
        Image.new("RGB", (width, height)).save(tmp_path / "in" / f"{height}x{width}.png")
    report = run(tmp_path / "in", run_dir, tmp_path / "out", "--side_by_side")
    assert list(statuses(report).values()) == ["written"] * 4


def test_a_photo_that_cannot_be_drawn_fails_alone(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_noise(tmp_path / "in", 3)

    def draw(picture: np.ndarray, *args: Any) -> np.ndarray:
        if picture.shape[1] == 27:  # 01.png
            raise ValueError("no such colour")
        return picture

    monkeypatch.setattr("datasets.predictions.outputs.with_names", draw)
    report = run(photos, run_dir, tmp_path / "out", code=1)
    assert statuses(report) == {"00.png": "written", "01.png": "failed", "02.png": "written"}
    assert report["images"][1]["reason"] == "cannot be drawn: ValueError: no such colour"


def test_too_little_memory_ends_the_run(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("datasets.predictions.outputs.with_names", draw)
    words = arguments(write_noise(tmp_path / "in", 1), run_dir, tmp_path / "out")
    with pytest.raises(MemoryError):
        inference.main(words)


def start(photos: Path, run_dir: Path, out: Path) -> subprocess.Popen[str]:
    """The command as a process of its own, in a process group of its own."""
    words = arguments(photos, run_dir, out, "--workers", 2)
    command = [sys.executable, str(ROOT / "inference.py"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_masks(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while len(list((out / "masks").glob("*.png"))) < count and process.poll() is None:
        time.sleep(0.002)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(
    run_dir: Path, tmp_path: Path
) -> None:
    photos = write_noise(tmp_path / "in", 60)
    run(photos, run_dir, tmp_path / "whole")
    process = start(photos, run_dir, tmp_path / "out")
    wait_for_masks(process, tmp_path / "out", random.Random(0).randrange(5, 40))
    process.kill()
    process.communicate()
    time.sleep(0.1)  # its workers end with it
    done = times(tmp_path / "out")
    assert 0 < len(done) < 60
    run(photos, run_dir, tmp_path / "out")
    assert done.items() <= times(tmp_path / "out").items()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_ctrl_c_ends_it_without_a_traceback(run_dir: Path, tmp_path: Path) -> None:
    photos, out = write_noise(tmp_path / "in", 200), tmp_path / "out"
    process = start(photos, run_dir, out)
    wait_for_masks(process, out, 10)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in errors and "Traceback" not in errors
    assert 10 <= len(times(out)) < 200
    assert not [name for name in files(out) if Path(name).name.startswith(".")]


def test_help_tells_every_flag_and_loads_no_torch() -> None:
    program = (
        "import sys, inference\n"
        "try:\n    inference.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parser = inference.build_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"--\w+", done.stdout)) >= {o for o in known if o.startswith("--")}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--tile", "1024"], []])
def test_a_photo_of_a_hundred_million_pixels_takes_less_than_4_gib(
    run_dir: Path, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    noise(90, 120, 3).resize((12_000, 9_000)).save(tmp_path / "in" / "large.jpg")
    words = arguments(tmp_path / "in", run_dir, tmp_path / "out", *flags)
    program = (
        f"import sys, resource, inference; code = inference.main({words!r})\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4 * 1024 * 1024  # kilobytes
    (entry,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert (entry["status"], entry["height"], entry["width"]) == ("written", 9_000, 12_000)


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_it_is(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    photos = write_noise(tmp_path / "in", 5)
    run(photos, run_dir, tmp_path / "out")
    assert "predicting" not in caplog.text  # it took less than a minute
    monkeypatch.setattr("runtime.bar.TELL_EVERY", 0.0)
    run(photos, run_dir, tmp_path / "again")
    lines = [line.message for line in caplog.records if line.message.startswith("predicting")]
    assert lines == [f"predicting: {number} of 5 images" for number in range(1, 6)]
