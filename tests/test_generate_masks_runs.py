"""generate_masks.py run again, in parts, stopped and killed: what is in the folder afterwards."""

from __future__ import annotations

import errno
import hashlib
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
from conftest import HEIGHT, WIDTH, box_polygon, rectangle, tiny_annotations, write_coco
from mask_command import arguments, edit, fails, files, report, run, times, write_many
from PIL import Image

import generate_masks
import runtime.files
from datasets.mask_files import read_mask
from datasets.masks import writer

ROOT = Path(__file__).parents[1]


# Going on, and other files


def test_running_again_keeps_every_mask(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_coco) == 0
    before, old, out = files(tiny_coco), times(tiny_coco), capsys.readouterr().out
    assert "3 masks written, 0 kept" in out
    assert run(tiny_coco) == 0
    assert files(tiny_coco) == before and times(tiny_coco) == old
    again = capsys.readouterr().out
    assert "0 masks written, 3 kept" in again
    assert again.splitlines()[:-1] == out.splitlines()[:-1]  # the same report


def test_an_edited_annotation_rewrites_its_mask_alone(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    old = times(tiny_coco)

    def change(data: dict[str, Any]) -> None:
        data["annotations"][0]["segmentation"] = [box_polygon(0, 0, 3, 3)]
        data["info"] = {"version": "2"}

    edit(tiny_coco, change)
    assert run(tiny_coco) == 0
    new = times(tiny_coco)
    assert {name for name in new if new[name] != old[name]} == {"overlaps.png"}
    assert read_mask(tiny_coco / "masks" / "overlaps.png")[1, 1] == 1


def test_an_edited_size_rewrites_its_mask(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    edit(tiny_coco, lambda data: data["images"][2].update(height=5))
    assert run(tiny_coco, "--no_check_images") == 0
    assert read_mask(tiny_coco / "masks" / "empty.png").shape == (5, WIDTH)


def test_masks_of_another_kind_are_rewritten_also_if_masks_json_is_gone(tiny_coco: Path) -> None:
    assert run(tiny_coco, "--png_mode", "gray") == 0
    (tiny_coco / "masks" / "masks.json").unlink()
    assert run(tiny_coco) == 0
    with Image.open(tiny_coco / "masks" / "overlaps.png") as image:
        assert image.mode == "P"


def test_overwrite_redoes_every_mask_to_the_same_bytes(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    before, old = files(tiny_coco), times(tiny_coco)
    time.sleep(0.02)
    assert run(tiny_coco, "--overwrite") == 0
    assert files(tiny_coco) == before
    assert all(new > old[name] for name, new in times(tiny_coco).items())


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--binary"], "label set 'groups', now 'binary'"),
        (["--crowd", "ignore"], "crowd 'paint', now 'ignore'"),
        (["--overlap", "later"], "overlap 'priority', now 'later'"),
        (["--png_mode", "gray"], "png_mode 'palette', now 'gray'"),
        (["--binary", "--shard", "1/2"], "label set 'groups', now 'binary'"),
    ],
)
def test_a_folder_of_other_options_is_refused_unless_overwrite(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], flags: list[str], difference: str
) -> None:
    assert run(tiny_coco) == 0
    before = files(tiny_coco)
    capsys.readouterr()
    line = fails(capsys, tiny_coco, *flags)
    assert difference in line and "--overwrite" in line and str(tiny_coco / "masks") in line
    assert files(tiny_coco) == before
    assert run(tiny_coco, *flags, "--overwrite") == 0
    assert files(tiny_coco) != before


def test_a_folder_of_another_annotation_file_is_refused(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_coco) == 0
    path = tiny_coco / "annotations" / "instances_train2017.json"
    shutil.copy(path, path.with_name("other.json"))
    capsys.readouterr()
    line = fails(capsys, tiny_coco, "--annotations_file", path.with_name("other.json"))
    assert "annotations file 'instances_train2017.json', now 'other.json'" in line


@pytest.mark.parametrize(
    "text", ["", "[]", '{"my": "notes"}', '{"format_version": 2}', '{"format_version": 1}']
)
def test_a_masks_json_that_is_not_ours_is_told_by_name(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tiny_coco / "masks").mkdir()
    (tiny_coco / "masks" / "masks.json").write_text(text)
    before = files(tiny_coco)
    for flags in ([], ["--overwrite"], ["--overwrite", "--shard", "1/2"], ["--merge_reports"]):
        line = fails(capsys, tiny_coco, *flags)
        assert "masks.json" in line and "move it away or choose a new folder" in line
        assert files(tiny_coco) == before


def test_masks_of_other_options_never_stay_beside_new_ones(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tiny_coco) == 0
    before = files(tiny_coco)
    for flags in (["--binary"], ["--png_mode", "gray"], ["--overlap", "later"]):
        line = fails(capsys, tiny_coco, *flags, "--max_images", 1, "--overwrite")
        assert "2 masks of images that are not selected now" in line and "'empty.png'" in line
        assert "choose a new folder, delete them, or select their images too" in line
        assert files(tiny_coco) == before
    assert "more masks" not in caplog.text
    assert run(tiny_coco, "--max_images", 1, "--overwrite") == 0  # the same options
    assert "holds 2 more masks, of images that are not selected now: masks.json" in caplog.text
    (tiny_coco / "masks" / "masks.json").unlink()  # nor is the report needed to see it
    assert "2 masks of images" in fails(capsys, tiny_coco, "--binary", "--max_images", 1)
    (tiny_coco / "masks" / "empty.png").unlink()
    (tiny_coco / "masks" / "encodings.png").unlink()
    assert run(tiny_coco, "--binary", "--max_images", 1) == 0


def test_masks_of_empty_images_made_before_are_other_masks_to_skip_empty(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tiny_coco) == 0
    assert run(tiny_coco, "--skip_empty", "--preview", 3) == 0
    assert "holds 1 more masks, of images that are not selected now: masks.json" in caplog.text
    assert report(tiny_coco)["images"] == 2 and len(times(tiny_coco)) == 3
    assert not (tiny_coco / "masks_preview" / "empty.png").exists()
    before = files(tiny_coco)
    line = fails(capsys, tiny_coco, "--skip_empty", "--binary", "--overwrite")
    assert "1 masks of images that are not selected now" in line and "'empty.png'" in line
    assert files(tiny_coco) == before


def test_unfinished_and_foreign_files_and_folders_of_their_own_are_no_other_masks(
    tiny_coco: Path,
) -> None:
    masks = tiny_coco / "masks"
    assert run(tiny_coco, "--output_dir", masks / "sub") == 0
    Image.new("L", (5, 5)).save(masks / "foreign.png")
    shutil.copy(masks / "sub" / "empty.png", masks / ".empty.png")
    assert run(tiny_coco, "--binary", "--max_images", 1) == 0
    assert (masks / "foreign.png").exists()


def test_a_mask_that_is_cut_off_damaged_or_emptied_is_made_again(tiny_coco: Path) -> None:
    assert run(tiny_coco, "--max_images", 1) == 0
    whole = files(tiny_coco)
    path = tiny_coco / "masks" / "overlaps.png"
    data = path.read_bytes()
    pixels = data.index(b"IDAT")  # what is cut off before it does not say whose it is
    damaged = [data[:size] for size in range(pixels + 4, len(data))]
    damaged += [data[: pixels + 9] + b"?" + data[pixels + 10 :], data + b"?", b"", bytes(4096)]
    for content in damaged:
        path.write_bytes(content)
        assert run(tiny_coco, "--max_images", 1) == 0
        assert path.read_bytes() == data, content
    assert files(tiny_coco) == whole


def test_what_is_in_the_place_of_a_mask_that_is_not_made_stays_and_is_told(
    tiny_coco: Path,
) -> None:
    assert run(tiny_coco) == 0
    (tiny_coco / "train2017" / "overlaps.jpg").unlink()
    old = (tiny_coco / "masks" / "overlaps.png").read_bytes()
    assert run(tiny_coco, "--overwrite") == 0
    assert (tiny_coco / "masks" / "overlaps.png").read_bytes() == old
    reason = "image file is missing; what is in its mask's place stays"
    assert report(tiny_coco)["skipped_images"]["by_reason"] == {reason: 1}


def test_a_folder_in_a_masks_place_is_told_and_stays(tiny_coco: Path) -> None:
    (tiny_coco / "masks" / "overlaps.png").mkdir(parents=True)
    assert run(tiny_coco) == 0
    assert (tiny_coco / "masks" / "overlaps.png").is_dir()
    assert report(tiny_coco)["skipped_images"]["count"] == 1


def test_a_foreign_file_in_a_masks_place_is_kept_unless_overwrite(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "masks").mkdir()
    place = tiny_coco / "masks" / "overlaps.png"
    Image.new("RGB", (5, 5)).save(place)
    foreign = place.read_bytes()
    assert run(tiny_coco) == 0
    assert place.read_bytes() == foreign
    reason = "a file that is not ours has the mask's name"
    assert report(tiny_coco)["skipped_images"]["by_reason"] == {reason: 1}
    assert "not made by this command" not in capsys.readouterr().out
    assert run(tiny_coco, "--overwrite") == 0
    assert read_mask(place).shape == (HEIGHT, WIDTH)
    told = "3 masks written (1 in place of files not made by this command), 0 kept"
    assert told in capsys.readouterr().out
    assert run(tiny_coco, "--overwrite") == 0  # all are ours now
    assert "3 masks written, 0 kept" in capsys.readouterr().out


def test_nothing_else_in_the_folder_is_touched(tiny_coco: Path) -> None:
    others = {"notes.txt": b"x", "other.png": b"not a picture", "masks.csv": b"", "sub/a.png": b"y"}
    for name, content in others.items():
        path = tiny_coco / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert run(tiny_coco) == 0
    assert run(tiny_coco, "--overwrite", "--binary") == 0
    found = files(tiny_coco / "masks")
    assert {name: found[name] for name in others} == others
    assert len(found) == len(others) + 4


def test_a_classes_txt_of_somebody_else_is_kept(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tiny_coco / "classes.txt").write_text("mine\n")
    assert run(tiny_coco) == 0
    assert (tiny_coco / "classes.txt").read_text() == "mine\n"
    assert "classes.txt lists other categories and is left as it is" in caplog.text


def test_folders_in_file_names_are_kept_below_the_mask_folder(tmp_path: Path) -> None:
    data = tiny_annotations()
    data["images"][0]["file_name"] = "a/b c/overlaps.jpg"
    write_coco(tmp_path, data)
    assert run(tmp_path) == 0
    assert read_mask(tmp_path / "masks" / "a" / "b c" / "overlaps.png").any()


def test_names_that_collide_end_it_before_anything_is_written(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(tiny_coco, lambda data: data["images"][1].update(file_name="empty.png"))
    before = files(tiny_coco)
    assert "'empty.png' (id " in fails(capsys, tiny_coco)
    assert files(tiny_coco) == before


@pytest.mark.parametrize("name", ["../out.jpg", "/out.jpg", "C:\\out.jpg", "a\0.jpg"])
def test_a_name_that_leads_out_is_skipped_alone(tiny_coco: Path, name: str) -> None:
    edit(tiny_coco, lambda data: data["images"][1].update(file_name=name))
    before = files(tiny_coco)
    assert run(tiny_coco) == 0
    (item,) = report(tiny_coco)["skipped_images"]["items"]
    assert item["image"] == name and "leads out of the images folder" in item["reason"]
    made = files(tiny_coco).keys() - before.keys()
    assert len(made) == 4 and all(n == "classes.txt" or n.startswith("masks/") for n in made)


@pytest.mark.parametrize("output", [".", "./", "sub/.."])
def test_the_output_folder_may_be_the_current_one(
    tiny_coco: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tiny_coco / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tiny_coco / "here")
    assert run(tiny_coco, "--output_dir", output, "--preview", 1) == 0
    assert (tiny_coco / "here" / "overlaps.png").exists()


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_merged_shards_are_byte_for_byte_the_unsharded_run(tiny_coco: Path, count: int) -> None:
    def change(data: dict[str, Any]) -> None:
        for number in range(4):
            bad = {"id": f"b{number}", "image_id": [1, 2, 7, 1][number], "category_id": 1}
            data["annotations"].append({**bad, "segmentation": [[1, 2, 3]]})
        data["annotations"] += [None, {"id": 5, "image_id": 55}]
        data["images"].append({"id": 9, "file_name": "", "height": 1, "width": 1})
        data["images"].append({"id": 8, "file_name": "gone.jpg", "height": 1, "width": 1})

    edit(tiny_coco, change)
    assert run(tiny_coco) == 0
    whole = tiny_coco / "shards"
    for index in range(count, 0, -1):
        assert run(tiny_coco, "--output_dir", whole, "--shard", f"{index}/{count}") == 0
    if count > 1:
        assert not (whole / "masks.json").exists()
        assert run(tiny_coco, "--output_dir", whole, "--merge_reports") == 0
    assert files(whole) == files(tiny_coco / "masks")


def test_shards_of_different_selections_are_not_merged(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "ids").write_text("1 7")
    assert run(tiny_coco, "--shard", "2/2") == 0
    for flags in (["--max_images", 2], ["--skip_empty"], ["--image_ids", tiny_coco / "ids"]):
        assert run(tiny_coco, "--shard", "1/2", *flags) == 0
        capsys.readouterr()
        line = fails(capsys, tiny_coco, "--merge_reports")
        assert "masks.shard-1-of-2.json and masks.shard-2-of-2.json are not of one run" in line
        assert "differ in selection" in line and str(flags[0]) in line
        assert not (tiny_coco / "masks" / "masks.json").exists()
    assert run(tiny_coco, "--shard", "1/2", "--max_images", 3) == 0  # the same three in other words
    assert run(tiny_coco, "--merge_reports") == 0
    assert report(tiny_coco)["images"] == 3


def test_the_environment_of_torchrun_chooses_the_shard(
    tiny_coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert run(tiny_coco) == 0
    assert files(tiny_coco / "masks").keys() == {"encodings.png", "masks.shard-2-of-3.json"}


# Endings


def test_the_bytes_are_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    write_many(tmp_path, 40)
    for workers in (1, 2):
        flags = ["--no_check_images", "--output_dir", tmp_path / str(workers)]
        assert run(tmp_path, *flags, "--workers", workers) == 0
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert len(one) == 41 and one == two


def test_workers_take_no_other_package_of_the_same_name(tmp_path: Path) -> None:
    write_many(tmp_path, 20)
    (tmp_path / "datasets").mkdir()  # such as Hugging Face's
    (tmp_path / "datasets" / "__init__.py").touch()
    paths = ["--images_dir", "train2017", "--output_dir", "out"]  # are still seen from here
    command = [sys.executable, ROOT / "generate_masks.py", *arguments(tmp_path, *paths)]
    done = subprocess.run(
        [*map(str, command), "--no_check_images", "--workers", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 20


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_full_disk_is_one_line_and_no_partial_file(
    tiny_coco: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    when: int,
) -> None:
    write, calls = writer.write_mask, []

    def write_until_full(path: Path, *args: Any) -> None:
        calls.append(path)
        if len(calls) > when:
            with runtime.files.replacing(path) as temporary:
                temporary.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_mask", write_until_full)
        line = fails(capsys, tiny_coco, code=1)
    assert "No space left on device" in line and ".png'; make room and run the same" in line
    names = files(tiny_coco / "masks").keys()
    assert len(names) == when + 1 and not any(Path(name).name.startswith(".") for name in names)
    assert report(tiny_coco)["complete"] is False
    assert run(tiny_coco) == 0
    assert run(tiny_coco, "--output_dir", tiny_coco / "again") == 0
    assert files(tiny_coco / "masks") == files(tiny_coco / "again")


def test_a_full_disk_at_the_report_is_one_line_too(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as when writing, not opening

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        line = fails(capsys, tiny_coco, code=1)
    place = tiny_coco / "masks" / "masks.json"
    assert f"No space left on device: {str(place)!r}; make room and run the same command" in line
    assert files(tiny_coco / "masks") == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["masks/masks.json", "masks/overlaps.png", "classes.txt"])
def test_a_file_that_a_full_disk_does_not_take_is_named(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place = tiny_coco / name
    place.parent.mkdir(exist_ok=True)
    digest = hashlib.sha256(place.name.encode()).hexdigest()[:16]
    place.with_name(f".{digest}.{runtime.files.HOST}-{os.getpid()}.tmp").symlink_to("/dev/full")
    line = fails(capsys, tiny_coco, code=1)
    assert f"No space left on device: {str(place)!r}; make room and run the same command" in line
    assert not place.exists()
    assert run(tiny_coco) == 0
    assert place.exists()


def test_ctrl_c_in_this_process_is_exit_code_130(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_mask", interrupt)
        assert "interrupted; the same command goes on" in fails(capsys, tiny_coco, code=130)
    assert files(tiny_coco / "masks").keys() == {"masks.json"}


def start(folder: Path, *flags: object) -> subprocess.Popen[str]:
    """The command as a process of its own, in a process group of its own."""
    command = [sys.executable, str(ROOT / "generate_masks.py"), *arguments(folder, *flags)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_masks(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    while len(list(folder.glob("*.png"))) < count and process.poll() is None:
        time.sleep(0.002)


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_ctrl_c_ends_all_workers_without_a_traceback_and_is_continued(tmp_path: Path) -> None:
    write_many(tmp_path, 600)
    flags = ["--no_check_images", "--workers", 2]
    process = start(tmp_path, *flags)
    wait_for_masks(process, tmp_path / "masks", 50)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted; the same command goes on" in errors and "Traceback" not in errors
    names = files(tmp_path / "masks").keys()
    assert 50 <= len(names) < 600 and not any(name.startswith(".") for name in names)
    assert report(tmp_path)["complete"] is False


def wait_for_writers(folder: Path) -> None:
    """Until no process is left of those that unfinished files in a folder are named after."""
    end = time.monotonic() + 30
    time.sleep(0.3)
    while time.monotonic() < end:
        found = (runtime.files.LEFTOVER.fullmatch(path.name) for path in folder.iterdir())
        if all(runtime.files._is_left(m[1], int(m[2]), folder.stat()) for m in found if m):
            return
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    write_many(tmp_path, 300)
    assert run(tmp_path, "--no_check_images", "--output_dir", tmp_path / "whole") == 0
    whole = files(tmp_path / "whole")
    for seed in range(3):
        out = tmp_path / f"killed{seed}"
        process = start(tmp_path, "--no_check_images", "--workers", 2, "--output_dir", out)
        wait_for_masks(process, out, random.Random(seed).randrange(250))
        process.kill()
        process.communicate()
        wait_for_writers(out)  # its workers end with it, a moment later
        runtime.files._remove_leftovers.cache_clear()  # as in a process of its own
        assert run(tmp_path, "--no_check_images", "--output_dir", out) == 0
        assert files(out) == whole


def test_leftovers_of_a_killed_run_are_removed(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    whole = files(tiny_coco)
    (tiny_coco / "masks" / "overlaps.png").unlink()
    for name in ("overlaps", "masks", "other"):
        left = tiny_coco / "masks" / f".{name}.{runtime.files.HOST}-999999999.tmp"
        left.write_bytes(b"half")
    runtime.files._remove_leftovers.cache_clear()  # as in a process of its own
    assert run(tiny_coco) == 0
    assert files(tiny_coco) == whole


def test_help_tells_every_flag_and_loads_no_torch() -> None:
    program = (
        "import sys, generate_masks\n"
        "try:\n    generate_masks.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    flags = set(re.findall(r"--\w+", done.stdout))
    parser = generate_masks.build_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    assert flags >= {option for option in known if option.startswith("--")}


def test_a_whole_run_loads_no_torch(tiny_coco: Path) -> None:
    program = (
        "import sys, generate_masks\n"
        f"generate_masks.main({arguments(tiny_coco, '--preview', 1)!r})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert np.array_equal(
        read_mask(tiny_coco / "masks" / "encodings.png") == 1, rectangle(25, 8, 38, 28) == 1
    )
