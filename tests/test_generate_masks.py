"""generate_masks.py as its user meets it: every flag, every ending, every file it leaves."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, box_polygon, rectangle, tiny_annotations, write_coco
from oracles import paint_one_by_one
from PIL import Image

import generate_masks
from datasets.label_set import GROUPS, binary_label_set, category_label_set
from datasets.label_set_file import VOC
from datasets.masks import read_mask

ROOT = Path(__file__).parents[1]
NAMES = {row["id"]: row["name"] for row in tiny_annotations()["categories"]}


def arguments(folder: Path, *flags: object) -> list[str]:
    """A command line on the folder in the layout of COCO; flags that come later count."""
    command = ["--images_dir", folder / "train2017", "--output_dir", folder / "masks"]
    command += ["--annotations_file", folder / "annotations" / "instances_train2017.json"]
    return [str(part) for part in [*command, "--workers", 1, *flags]]


def run(folder: Path, *flags: object) -> int:
    """Run the command in this process; its exit code."""
    try:
        return generate_masks.main(arguments(folder, *flags))
    except SystemExit as end:
        return int(end.code or 0)


def fails(capsys: pytest.CaptureFixture[str], folder: Path, *flags: object, code: int = 2) -> str:
    """Run the command, which must fail with the code and one line; that line."""
    assert run(folder, *flags) == code
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    ours = [line for line in errors.splitlines() if line]
    lines = [line for line in ours if not line.startswith(("usage:", " ", "WARNING:"))]
    assert len(lines) == 1, errors
    return lines[0]


def report(folder: Path, name: str = "masks/masks.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: name -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the annotation file."""
    path = folder / "annotations" / "instances_train2017.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "masks").glob("*.png")}


def write_many(folder: Path, count: int) -> None:
    """An annotation file of many images with a few rectangles each, without the images."""
    draw = random.Random(0)
    images = [
        {"id": n, "file_name": f"{n:04}.jpg", "height": 120, "width": 160} for n in range(count)
    ]
    annotations = []
    for number in range(3 * count):
        left, top = draw.randrange(120), draw.randrange(80)
        polygon = box_polygon(left, top, left + draw.randrange(5, 40), top + draw.randrange(5, 40))
        category = draw.choice([1, 3, 15, 44])
        annotations.append({"id": number, "image_id": number // 3, "category_id": category,
                            "segmentation": [polygon], "iscrowd": 0})  # fmt: skip
    data = {**tiny_annotations(), "images": images, "annotations": annotations}
    path = folder / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data))
    (folder / "train2017").mkdir()


# What the masks show


@pytest.mark.parametrize(
    ("flags", "label_set", "overlap", "crowd"),
    [
        ([], GROUPS, "priority", "paint"),
        (["--binary"], binary_label_set(NAMES.values()), "later", "paint"),
        (["-binary"], binary_label_set(NAMES.values()), "later", "paint"),
        (["--no_grouping"], category_label_set(NAMES.values()), "later", "paint"),
        (["--label_set", "groups"], GROUPS, "priority", "paint"),
        (["--label_set", "voc"], VOC, "later", "paint"),
        (["--overlap", "later"], GROUPS, "later", "paint"),
        (["--overlap", "smaller"], GROUPS, "smaller", "paint"),
        (["--overlap", "ignore"], GROUPS, "ignore", "paint"),
        (["--overlap", "priority"], GROUPS, "priority", "paint"),
        (["--crowd", "background"], GROUPS, "priority", "background"),
        (["--crowd", "ignore"], GROUPS, "priority", "ignore"),
        (["--no_grouping", "--overlap", "ignore", "--crowd", "ignore"],
         category_label_set(NAMES.values()), "ignore", "ignore"),
    ],
)  # fmt: skip
def test_every_choice_gives_the_masks_painted_one_by_one(
    tiny_coco: Path, flags: list[str], label_set: Any, overlap: str, crowd: str
) -> None:
    assert run(tiny_coco, *flags) == 0
    data = tiny_annotations()
    label_of = {id: label_set.index_by_category.get(name, 0) for id, name in NAMES.items()}
    for image in data["images"]:
        rows = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        expected = paint_one_by_one(rows, HEIGHT, WIDTH, label_of, label_set, overlap, crowd)
        mask = read_mask((tiny_coco / "masks" / image["file_name"]).with_suffix(".png"))
        assert np.array_equal(mask, expected), image["file_name"]
    found = report(tiny_coco)
    assert found["complete"] is True and found["images"] == 3
    assert found["options"] == {"overlap": overlap, "crowd": crowd, "png_mode": "palette"}
    assert found["label_set"] == label_set.to_dict()


def test_the_report_counts_what_the_masks_show(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    found = report(tiny_coco)
    masks = [read_mask(path) for path in (tiny_coco / "masks").glob("*.png")]
    for label in found["labels"]:
        shown = [int((mask == label["index"]).sum()) for mask in masks]
        assert label["pixels"] == sum(shown)
        assert label["images"] == sum(count > 0 for count in shown)
    assert found["unmapped"] == {"dragon": 1}
    assert found["totals"]["annotations"] == 8 and found["totals"]["crowds"] == 1
    pairs = {(pair["winner"], pair["loser"]): pair["pixels"] for pair in found["contested"]}
    assert pairs == {(1, 2): 120, (2, 7): 6, (2, 6): 8, (6, 7): 18}  # counted by hand
    assert found["totals"]["contested_pixels"] == 150 and found["totals"]["contested_images"] == 2
    assert found["source"]["annotations_file"] == "instances_train2017.json"


def test_classes_txt_lists_the_categories_beside_the_folder(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    text = (tiny_coco / "classes.txt").read_text()
    assert text == "person\ncar\nbench\nbottle\napple\ndragon\n"


def test_a_label_set_file_decides_names_indices_and_priorities(tiny_coco: Path) -> None:
    mine = tiny_coco / "mine.json"
    mine.write_text(json.dumps({"name": "mine", "labels": [
        {"name": "nothing"},
        {"name": "wheels", "categories": ["car"], "priority": 5, "color": [1, 2, 3]},
        {"name": "rest", "categories": ["person", "dragon"], "priority": 1},
    ]}))  # fmt: skip
    assert run(tiny_coco, "--label_set", mine) == 0
    mask = read_mask(tiny_coco / "masks" / "overlaps.png")
    assert mask[12, 12] == 1 and mask[6, 6] == 2 and mask[5, 35] == 2 and mask[26, 10] == 0
    with Image.open(tiny_coco / "masks" / "overlaps.png") as image:
        assert image.convert("RGB").getpixel((12, 12)) == (1, 2, 3)
    assert report(tiny_coco)["options"]["overlap"] == "priority"


def test_write_label_set_writes_one_label_a_category_and_stops(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tiny_coco / "mine.json"
    assert run(tiny_coco, "--write_label_set", mine) == 0
    assert not (tiny_coco / "masks").exists()
    names = [label["name"] for label in json.loads(mine.read_text())["labels"]]
    assert names == ["background", *NAMES.values()]
    assert "exists already; --overwrite" in fails(capsys, tiny_coco, "--write_label_set", mine)
    assert run(tiny_coco, "--write_label_set", mine, "--overwrite") == 0


@pytest.mark.parametrize(("mode", "expected"), [("palette", "P"), ("gray", "L")])
def test_png_mode_decides_the_kind_of_png_not_its_values(
    tiny_coco: Path, mode: str, expected: str
) -> None:
    assert run(tiny_coco, "--png_mode", mode) == 0
    with Image.open(tiny_coco / "masks" / "overlaps.png") as image:
        assert image.mode == expected
        assert np.unique(np.asarray(image)).tolist() == [0, 1, 2, 6, 7]


# Which images


def test_max_images_takes_the_first_in_ascending_order_of_id(tiny_coco: Path) -> None:
    edit(tiny_coco, lambda data: data["images"].reverse())
    assert run(tiny_coco, "--max_images", 2) == 0
    assert times(tiny_coco).keys() == {"overlaps.png", "encodings.png"}
    assert report(tiny_coco)["images"] == 2
    assert report(tiny_coco)["file_remarks"] == {}  # the third image's are not unknown


def test_image_ids_takes_those_of_the_file(tiny_coco: Path) -> None:
    (tiny_coco / "ids").write_text("7\n\n 1 \n1\n")
    assert run(tiny_coco, "--image_ids", tiny_coco / "ids") == 0
    assert times(tiny_coco).keys() == {"overlaps.png", "empty.png"}
    assert run(tiny_coco, "--image_ids", tiny_coco / "ids", "--max_images", 1, "--overwrite") == 0
    assert report(tiny_coco)["images"] == 1


def test_image_ids_that_are_not_there_are_named(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "ids").write_text("7\n8\nnine\n")
    line = fails(capsys, tiny_coco, "--image_ids", tiny_coco / "ids")
    assert "2 of its 3 ids" in line and "8, nine" in line
    (tiny_coco / "ids").write_text("\n")
    assert "no usable image is left" in fails(capsys, tiny_coco, "--image_ids", tiny_coco / "ids")


def test_an_image_without_annotations_gets_a_mask_unless_skip_empty(tiny_coco: Path) -> None:
    assert run(tiny_coco, "--skip_empty") == 0
    assert times(tiny_coco).keys() == {"overlaps.png", "encodings.png"}
    assert run(tiny_coco) == 0
    assert not read_mask(tiny_coco / "masks" / "empty.png").any()


def test_images_that_are_not_as_annotated_get_no_mask_and_are_reported(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tiny_coco / "train2017" / "empty.jpg").unlink()
    Image.new("RGB", (9, 9)).save(tiny_coco / "train2017" / "encodings.jpg")
    assert run(tiny_coco) == 0
    assert times(tiny_coco).keys() == {"overlaps.png"}
    skipped = report(tiny_coco)["skipped_images"]
    assert skipped["by_reason"] == {
        "image file has another size than its annotations": 1, "image file is missing": 1
    }  # fmt: skip
    assert [item["image"] for item in skipped["items"]] == ["encodings.jpg", "empty.jpg"]
    assert "image empty.jpg (id 7): image file is missing" in caplog.text
    out = capsys.readouterr().out
    assert "2 images skipped" in out and "encodings.jpg" in out
    assert run(tiny_coco, "--no_check_images") == 0
    assert len(times(tiny_coco)) == 3


def test_bad_annotations_are_warned_of_once_each_and_counted(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bad = {"id": 900, "image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3]]}
    lost = {**bad, "id": 901, "image_id": 55}
    edit(tiny_coco, lambda data: data["annotations"].extend([bad, None, lost]))
    assert run(tiny_coco) == 0
    warning = "annotation 900 (image id 1): polygon has an odd count of numbers"
    assert caplog.text.count(warning) == 1
    assert "skipped annotations: 1 x polygon has an odd count" in capsys.readouterr().out
    assert report(tiny_coco)["file_remarks"] == {
        "annotation is not an object": 1, "annotation of an image that is not listed": 1
    }  # fmt: skip


def test_a_polygon_dropped_for_the_reason_of_a_skipped_annotation_is_listed_apart(
    tiny_coco: Path,
) -> None:
    odd = [1, 2, 3, 4, 5, 6, 7]
    rows = [
        {"id": 900, "image_id": 1, "category_id": 1, "segmentation": [odd]},
        {"id": 901, "image_id": 1, "category_id": 1, "segmentation": [odd, [1, 1, 5, 1, 5, 5]]},
    ]
    edit(tiny_coco, lambda data: data["annotations"].extend(rows))
    assert run(tiny_coco) == 0
    found = report(tiny_coco)
    assert [i["annotation"] for i in found["skipped_annotations"]["items"]] == ["900"]
    assert [i["annotation"] for i in found["dropped_polygons"]["items"]] == ["901"]


def test_the_annotation_file_may_be_compressed(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    path = tiny_coco / "annotations" / "instances_train2017.json"
    packed = path.with_suffix(".json.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert run(tiny_coco, "--annotations_file", packed, "--output_dir", tiny_coco / "again") == 0
    one, other = files(tiny_coco / "masks"), files(tiny_coco / "again")
    assert one.pop("masks.json") != other.pop("masks.json")  # another source
    assert one == other


def test_text_that_utf8_cannot_hold_ends_nothing(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["annotations"][0].update(id="\ud800", segmentation=5)
        data["images"].append({"id": 9, "file_name": "\ud800.jpg", "height": 3, "width": 4})
        data["categories"].append({"id": 95, "name": "\udce9"})

    edit(tiny_coco, change)
    assert run(tiny_coco) == 0
    assert report(tiny_coco)["skipped_images"]["items"][0]["image"] == "\ud800.jpg"
    assert "\\ud800" in capsys.readouterr().out


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 2}', '{"format_version": 1}'])
def test_a_masks_json_that_is_not_ours_is_told_by_name(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tiny_coco / "masks").mkdir()
    (tiny_coco / "masks" / "masks.json").write_text(text)
    line = fails(capsys, tiny_coco)
    assert "masks.json" in line and "move it away or choose a new folder" in line
    assert (tiny_coco / "masks" / "masks.json").read_text() == text


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
    assert run(tiny_coco, "--overwrite") == 0
    assert read_mask(place).shape == (HEIGHT, WIDTH)


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


@pytest.mark.parametrize("name", ["../out.jpg", "/out.jpg", "C:\\out.jpg", "a\0.jpg", "empty.png"])
def test_names_that_lead_out_or_collide_end_it_before_anything_is_written(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    edit(tiny_coco, lambda data: data["images"][1].update(file_name=name))
    before = files(tiny_coco)
    assert repr(name) in fails(capsys, tiny_coco)
    assert files(tiny_coco) == before


@pytest.mark.parametrize("output", [".", "./", "sub/.."])
def test_the_output_folder_may_be_the_current_one(
    tiny_coco: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tiny_coco / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tiny_coco / "here")
    assert run(tiny_coco, "--output_dir", output, "--preview", 1) == 0
    assert (tiny_coco / "here" / "overlaps.png").exists()


# Previews


def test_preview_draws_the_first_images_beside_their_masks(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "train2017" / "overlaps.jpg").unlink()  # gets neither mask nor preview
    assert run(tiny_coco, "--preview", 1) == 0
    assert [p.name for p in (tiny_coco / "masks_preview").iterdir()] == ["encodings.png"]
    assert f"1 previews in {tiny_coco / 'masks_preview'}" in capsys.readouterr().out
    with Image.open(tiny_coco / "masks_preview" / "encodings.png") as image:
        pixels = np.asarray(image)
    with Image.open(tiny_coco / "train2017" / "encodings.jpg") as photo:
        assert np.array_equal(pixels[:HEIGHT, :WIDTH], np.asarray(photo))
    mask = read_mask(tiny_coco / "masks" / "encodings.png")
    overlay = pixels[:HEIGHT, WIDTH + 4 : 2 * WIDTH + 4]
    assert np.array_equal((overlay != pixels[:HEIGHT, :WIDTH]).any(axis=2) | (mask > 0), mask > 0)


def test_a_picture_that_is_damaged_behind_its_header_has_a_mask_but_no_preview(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_coco / "train2017" / "overlaps.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    assert run(tiny_coco, "--preview", 3) == 0
    assert len(times(tiny_coco)) == 3
    assert len(list((tiny_coco / "masks_preview").iterdir())) == 2
    assert "no preview of" in caplog.text


def test_an_image_of_another_size_than_its_mask_has_no_preview(tiny_coco: Path) -> None:
    Image.new("RGB", (9, 9)).save(tiny_coco / "train2017" / "overlaps.jpg")
    assert run(tiny_coco, "--no_check_images", "--preview", 3) == 0
    assert len(times(tiny_coco)) == 3
    assert len(list((tiny_coco / "masks_preview").iterdir())) == 2


# Mistakes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images_dir", "missing"], "--images_dir missing: no such folder"),
        (["--annotations_file", "missing.json"], "--annotations_file missing.json: no such file"),
        (["--annotations_file", "."], "--annotations_file .: no such file"),
        (["--image_ids", "missing"], "--image_ids missing: no such file"),
        (["--max_images", "0"], "--max_images: got 0, expected a whole number from 1"),
        (["--max_images", "-5"], "--max_images: got -5, expected a whole number from 1"),
        (["--max_images", "many"], "--max_images: invalid"),
        (["--workers", "0"], "--workers: got 0"),
        (["--preview", "0"], "--preview: got 0"),
        (["--overlap", "first"], "--overlap: invalid choice: 'first'"),
        (["--crowd", "skip"], "--crowd: invalid choice: 'skip'"),
        (["--png_mode", "rgb"], "--png_mode: invalid choice: 'rgb'"),
        (["--shard", "3/2"], "--shard: got shard 3/2, expected I/N"),
        (["--shard", "x"], "--shard: got shard 'x', expected I/N"),
        (["--binary", "--no_grouping"], "not allowed with argument"),
        (["--binary", "--label_set", "voc"], "not allowed with argument"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["--label_set", "cats"], "--label_set cats: neither a file nor one of groups, voc"),
        (["--no_grouping", "--overlap", "priority"], "'categories' has no priorities"),
        (["--merge_reports"], "expected the reports of one run's shards"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_exit_code_2(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    before = files(tiny_coco)
    assert message in fails(capsys, tiny_coco, *flags)
    assert files(tiny_coco) == before


def test_an_output_folder_that_is_a_file_or_the_images_is_refused(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "file").touch()
    assert "is a file" in fails(capsys, tiny_coco, "--output_dir", tiny_coco / "file")
    images = tiny_coco / "masks" / ".." / "train2017"
    line = fails(capsys, tiny_coco, "--output_dir", images, "--overwrite")
    assert "is the folder of the images" in line


def test_a_folder_without_the_images_is_told(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco / "none").mkdir()
    line = fails(capsys, tiny_coco, "--images_dir", tiny_coco / "none")
    assert "holds none of the 3 images" in line and "is it the right folder?" in line
    assert not (tiny_coco / "masks").exists()


def test_a_file_of_which_no_category_is_in_the_label_set_is_told_with_the_way_out(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(tiny_coco, lambda data: data.update(categories=[{"id": 1, "name": "dragon"}]))
    line = fails(capsys, tiny_coco)
    assert "'dragon'" in line and "--no_grouping" in line and "--write_label_set" in line
    assert not (tiny_coco / "masks").exists()
    assert run(tiny_coco, "--no_grouping") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": [], "annotations": []}', "\0"])
def test_a_broken_annotation_file_is_told_by_name(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tiny_coco / "annotations" / "instances_train2017.json").write_text(text)
    assert "instances_train2017.json: " in fails(capsys, tiny_coco)
    assert not (tiny_coco / "masks").exists()


def test_a_mistake_in_the_shards_environment_is_told_with_the_way_out(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert "--shard 1/1 for everything" in fails(capsys, tiny_coco)
    assert run(tiny_coco, "--shard", "1/1") == 0


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


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_full_disk_is_one_line_and_no_partial_file(
    tiny_coco: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    when: int,
) -> None:
    save, calls = Image.Image.save, []

    def save_until_full(image: Image.Image, path: Path, *args: Any, **options: Any) -> None:
        calls.append(path)
        save(image, path, *args, **options)
        if len(calls) > when:
            path.write_bytes(path.read_bytes()[:20])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_until_full)
        line = fails(capsys, tiny_coco, code=1)
    assert "No space left on device" in line and "the same command goes on from here" in line
    names = files(tiny_coco / "masks").keys()
    assert len(names) == when + 1 and not any(Path(name).name.startswith(".") for name in names)
    assert report(tiny_coco)["complete"] is False
    assert run(tiny_coco) == 0
    assert run(tiny_coco, "--output_dir", tiny_coco / "again") == 0
    assert files(tiny_coco / "masks") == files(tiny_coco / "again")


def test_a_full_disk_at_the_report_is_one_line_too(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str, **options: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert "No space left" in fails(capsys, tiny_coco, code=1)
    assert files(tiny_coco / "masks") == {}


def test_ctrl_c_in_this_process_is_exit_code_130(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", interrupt)
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
        time.sleep(0.1)  # its workers end with it
        assert run(tmp_path, "--no_check_images", "--output_dir", out) == 0
        assert files(out) == whole


def test_leftovers_of_a_killed_run_are_replaced(tiny_coco: Path) -> None:
    assert run(tiny_coco) == 0
    whole = files(tiny_coco)
    (tiny_coco / "masks" / "overlaps.png").unlink()
    (tiny_coco / "masks" / ".overlaps.tmp.png").write_bytes(b"half")
    (tiny_coco / "masks" / ".masks.tmp.json").write_bytes(b"half")
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
