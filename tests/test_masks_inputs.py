"""What a run must not replace, and several runs at once; files in other clothes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mask_command import arguments, edit, fails, files, run
from PIL import Image

import generate_masks
from runtime.locks import locked

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "name", ["annotations/instances_train2017.json", "train2017/overlaps.jpg", "notes.txt"]
)
def test_only_a_label_set_is_replaced_by_a_label_set(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tiny_coco / "notes.txt").write_text("mine")
    before = files(tiny_coco)
    for flags in ([], ["--overwrite"]):
        line = fails(capsys, tiny_coco, "--write_label_set", tiny_coco / name, *flags)
        assert "is no label set, so it is not replaced; choose another name" in line
    assert files(tiny_coco) == before
    mine = tiny_coco / "new folder" / "set.json"
    assert run(tiny_coco, "--write_label_set", mine) == 0
    assert run(tiny_coco, "--write_label_set", mine, "--overwrite") == 0


def test_no_photograph_is_replaced_through_a_link(tiny_coco: Path) -> None:
    photos = tiny_coco / "train2017"
    (photos / "sub").mkdir()
    Image.new("RGB", (40, 30)).save(photos / "sub" / "a.png")
    edit(tiny_coco, lambda data: data["images"][0].update(file_name="sub/a.png"))
    (tiny_coco / "masks").mkdir()
    (tiny_coco / "masks" / "sub").symlink_to(photos / "sub")
    before = files(photos)
    for flags in ([], ["--overwrite"], ["--overwrite", "--no_check_images", "--preview", 3]):
        assert run(tiny_coco, *flags) == 0
        assert files(photos) == before


def test_no_photograph_is_replaced_by_a_preview_through_a_link(tiny_coco: Path) -> None:
    photos = tiny_coco / "train2017"
    Image.open(photos / "overlaps.jpg").save(photos / "overlaps.png")
    (tiny_coco / "masks_preview").symlink_to(photos)
    before = files(photos)
    assert run(tiny_coco, "--overwrite", "--preview", 3) == 0
    assert {name: files(photos)[name] for name in before} == before


def test_a_second_run_says_who_is_at_work_and_ends(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "masks").mkdir()
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from runtime.locks import locked\n"
        "with locked(pathlib.Path(sys.argv[2]), shared=sys.argv[3] == 'shared'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    lock = tiny_coco / "masks" / generate_masks.LOCK_NAME
    for kind, code in (("alone", 1), ("shared", 0)):
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(ROOT), str(lock), kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert other.stdout and other.stdout.readline() == "held\n"
        line = fails(capsys, tiny_coco, code=1)
        assert f"is in use by process {other.pid} on" in line
        assert run(tiny_coco, "--shard", "1/2") == code  # shards work side by side
        capsys.readouterr()
        other.kill()
        other.communicate()
        assert run(tiny_coco, "--shard", "1/2") == 0
    assert not lock.exists()


def test_a_shard_is_made_by_one_process_at_a_time(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "masks").mkdir()
    with locked(tiny_coco / "masks" / ".masks.shard-1-of-2.json.lock"):
        assert "is in use by" in fails(capsys, tiny_coco, "--shard", "1/2", code=1)
        assert run(tiny_coco, "--shard", "2/2") == 0


@pytest.mark.parametrize("flags", [["--shard", "2/2"], []])
def test_beside_shards_no_masks_of_other_options_are_made_unasked(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run(tiny_coco, "--shard", "1/2") == 0
    before = files(tiny_coco / "masks")
    line = fails(capsys, tiny_coco, "--binary", *flags)
    assert "made with other options: overlap 'priority', now 'later'; label set 'groups'" in line
    assert files(tiny_coco / "masks") == before
    assert run(tiny_coco, "--binary", "--overwrite", *flags) == 0


def test_the_lock_file_goes_with_the_last_that_shares_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, shared=True):
        refused = pytest.raises(RuntimeError, match="is in use by process")
        with locked(lock, shared=True), refused, locked(lock):
            pass
        assert lock.exists()
    assert list(tmp_path.iterdir()) == []
    with locked(lock), pytest.raises(RuntimeError), locked(lock, shared=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 252 + ".jpg", "x" * 300 + "/a.jpg", "a\0.jpg", "../a.jpg",
                                  "/elsewhere/a.jpg", "half\ud800.jpg"])  # fmt: skip
def test_a_name_that_no_mask_can_have_is_skipped_alone(tiny_coco: Path, name: str) -> None:
    edit(tiny_coco, lambda data: data["images"][0].update(file_name=name))
    assert run(tiny_coco, "--no_check_images") == 0
    made = sorted(path.name for path in (tiny_coco / "masks").glob("*.png"))
    found = json.loads((tiny_coco / "masks" / "masks.json").read_text())
    assert found["images"] + found["skipped_images"]["count"] == 3
    assert found["skipped_images"]["count"] <= 1 and len(made) >= 2


@pytest.mark.parametrize("how", ["utf-16", "utf-16-be", "utf-16-le", "utf-32", "pipe", "stdin"])
def test_annotations_in_other_clothes_are_read(tiny_coco: Path, how: str) -> None:
    assert run(tiny_coco) == 0
    expected = {k: v for k, v in files(tiny_coco / "masks").items() if k.endswith(".png")}
    path = tiny_coco / "annotations" / "instances_train2017.json"
    text, out = path.read_text(encoding="utf-8"), tiny_coco / "again"
    if how.startswith("utf"):
        path.write_text(text, encoding=how)
        assert run(tiny_coco, "--output_dir", out) == 0
    elif how == "pipe":
        pipe = tiny_coco / "pipe.json"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        assert run(tiny_coco, "--output_dir", out, "--annotations_file", pipe) == 0
        writer.join()
    else:
        command = arguments(tiny_coco, "--output_dir", out, "--annotations_file", "/dev/stdin")
        subprocess.run([sys.executable, str(ROOT / "generate_masks.py"), *command],
                       input=text, text=True, check=True)  # fmt: skip
    assert {k: v for k, v in files(out).items() if k.endswith(".png")} == expected


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii"])
def test_a_terminal_without_the_letters_ends_nothing(tiny_coco: Path, encoding: str) -> None:
    edit(tiny_coco, lambda data: data["categories"][0].update(name="\U0001f98a \u72d0"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "generate_masks.py"), *arguments(tiny_coco, "--no_grouping")],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0 and b"masks written" in done.stdout, done.stderr


def test_an_image_found_under_another_spelling_is_named(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = next(tiny_coco.rglob("*.jpg"))
    image.rename(image.with_suffix(".JPG"))
    assert run(tiny_coco) == 0
    told = "1 images have names of another suffix case or Unicode form, as their masks do: "
    assert any(told in line and image.name in line for line in caplog.messages)
    assert (tiny_coco / "masks" / f"{image.stem}.png").is_file()
