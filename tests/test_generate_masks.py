"""generate_masks.py as its user meets it: what each flag does, and what it says of mistakes."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, tiny_annotations
from mask_command import edit, fails, files, report, run, times
from oracles import paint_one_by_one
from PIL import Image

from datasets.label_sets import GROUPS, VOC, binary_label_set, category_label_set
from datasets.mask_files import read_mask

NAMES = {row["id"]: row["name"] for row in tiny_annotations()["categories"]}


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no ids; expected one a line"),
        (b"\n \n", "holds no ids; expected one a line"),
        (b"\xef\xbb\xbf\r\n", "holds no ids; expected one a line"),
        ("7\n".encode("utf-16"), "expected text in UTF-8"),
    ],
)
def test_image_ids_that_are_none_are_blamed_on_their_file(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tiny_coco / "ids").write_bytes(content)
    line = fails(capsys, tiny_coco, "--image_ids", tiny_coco / "ids")
    assert f"--image_ids {tiny_coco / 'ids'}: {message}" in line


def test_image_ids_may_begin_with_the_mark_of_windows_editors(tiny_coco: Path) -> None:
    (tiny_coco / "ids").write_bytes(b"\xef\xbb\xbf1\r\n7\r\n")
    assert run(tiny_coco, "--image_ids", tiny_coco / "ids") == 0
    assert times(tiny_coco).keys() == {"overlaps.png", "empty.png"}


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
    warning = "annotation 900 (image id 1): polygon has an odd count of values"
    assert caplog.text.count(warning) == 1
    assert "skipped annotations: 1 x polygon has an odd count" in capsys.readouterr().out
    assert report(tiny_coco)["file_remarks"] == {
        "annotation is not an object": 1, "annotation of an image that is not listed": 1
    }  # fmt: skip


@pytest.mark.parametrize("flags", [["--crowd", "ignore"], ["--crowd", "background"], []])
def test_a_file_of_crowds_is_warned_of_unless_they_are_painted(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture, flags: list[str]
) -> None:
    edit(tiny_coco, lambda data: [row.update(iscrowd=1) for row in data["annotations"]])
    assert run(tiny_coco, *flags) == 0
    assert ("7 of 7 annotations are marked as crowds" in caplog.text) == bool(flags)


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


def test_a_file_in_a_previews_place_that_is_not_ours_is_kept_unless_overwrite(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tiny_coco, "--preview", 3) == 0
    assert run(tiny_coco, "--preview", 3) == 0  # ours are replaced
    assert "3 previews in" in capsys.readouterr().out and caplog.text == ""
    places = tiny_coco / "masks_preview"
    drawn = files(places)
    Image.new("RGB", (5, 5)).save(places / "overlaps.png")
    (places / "empty.png").write_text("notes")
    foreign = files(places)
    assert run(tiny_coco, "--preview", 3) == 0
    assert files(places) == foreign
    assert "1 previews in" in capsys.readouterr().out
    told = "2 files in the place of previews were not made by this command and are kept, such as "
    assert caplog.text.count(told + "overlaps.png, empty.png; --overwrite") == 1
    assert run(tiny_coco, "--preview", 3, "--overwrite") == 0
    assert files(places) == drawn


def test_a_preview_is_no_mask_of_ours(tiny_coco: Path) -> None:
    assert run(tiny_coco, "--preview", 1) == 0
    shutil.copy(tiny_coco / "masks_preview" / "overlaps.png", tiny_coco / "masks")
    assert run(tiny_coco) == 0
    assert report(tiny_coco)["skipped_images"]["count"] == 1


# Mistakes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images_dir", "missing"], "--images_dir missing: no such folder"),
        (["--annotations_file", "missing.json"], "--annotations_file missing.json: no such file"),
        (["--annotations_file", "."], "--annotations_file .: is a folder, expected a file"),
        (["--image_ids", "missing"], "--image_ids missing: no such file"),
        (["--max_images", "0"], "--max_images: got 0, expected a whole number, 1 or more"),
        (["--max_images", "-5"], "--max_images: got -5, expected a whole number, 1 or more"),
        (["--max_images", "many"], "--max_images: got many, expected a whole number"),
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
