import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from datasets.label_sets import GROUPS
from datasets.sample.__main__ import main
from datasets.sample.scene import FIGURES, TREE, annotation_of, run_lengths

IMAGES = {"train2017": 24, "val2017": 4}


def draw(folder: Path, seed: int = 0, **images: int) -> Path:
    counts = {"train": 3, "val": 1} | images
    flags = [f"--{split}_images={count}" for split, count in counts.items()]
    assert main([f"--output_dir={folder}", f"--seed={seed}", *flags]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def annotation_file(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("sample"), train=24, val=4)


@pytest.fixture(scope="module")
def train(sample: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(annotation_file(sample, "train2017").read_text())
    return value


@pytest.mark.parametrize("split", IMAGES)
def test_pycocotools_reads_it_and_sizes_areas_and_boxes_agree(sample: Path, split: str) -> None:
    coco = COCO(str(annotation_file(sample, split)))
    assert len(coco.imgs) == IMAGES[split]
    for image in coco.imgs.values():
        with Image.open(sample / split / image["file_name"]) as picture:
            assert (picture.height, picture.width) == (image["height"], image["width"])
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
    for annotation in coco.anns.values():
        region = coco.annToMask(annotation)
        rows, columns = np.nonzero(region)
        assert annotation["area"] == region.sum() > 0
        left, top, width, height = annotation["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)


def test_it_has_every_kind_of_annotation(train: dict[str, Any]) -> None:
    kinds = {
        "crowd as uncompressed RLE": lambda a: (
            a["iscrowd"] and type(a["segmentation"]["counts"]) is list
        ),
        "compressed RLE": lambda a: not a["iscrowd"] and isinstance(a["segmentation"], dict),
        "one polygon": lambda a: len(a["segmentation"]) == 1,
        "several polygons": lambda a: (
            isinstance(a["segmentation"], list) and len(a["segmentation"]) > 1
        ),
    }
    for name, is_one in kinds.items():
        assert any(is_one(annotation) for annotation in train["annotations"]), name


def test_some_images_have_no_annotation_and_some_objects_overlap(train: dict[str, Any]) -> None:
    annotated = {annotation["image_id"] for annotation in train["annotations"]}
    assert {image["id"] for image in train["images"]} - annotated == {11}  # one in twenty
    sizes = {image["id"]: (image["height"], image["width"]) for image in train["images"]}
    covered = {id: np.zeros(size, int) for id, size in sizes.items()}
    coco = COCO()
    coco.dataset = train
    coco.createIndex()
    for annotation in train["annotations"]:
        covered[annotation["image_id"]] += coco.annToMask(annotation)
    assert sum((count > 1).any() for count in covered.values()) > 10


def test_categories_are_real_ones_of_all_groups_and_one_of_none() -> None:
    groups = {GROUPS.index_by_category[figure.name] for figure in FIGURES}
    assert groups == set(range(1, len(GROUPS)))
    assert TREE.name not in GROUPS.index_by_category
    ids = [figure.id for figure in (*FIGURES, TREE)]
    assert len(set(ids)) == len(ids)


def test_polygons_stay_inside_their_image(train: dict[str, Any]) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in train["images"]}
    for annotation in train["annotations"]:
        if isinstance(annotation["segmentation"], list):
            for polygon in annotation["segmentation"]:
                points = np.reshape(polygon, (-1, 2))
                assert (points >= 0).all()
                assert (points <= sizes[annotation["image_id"]]).all()


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    first, again, other = (
        contents(draw(tmp_path / name, seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_more_images_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few, many = contents(draw(tmp_path / "a")), contents(draw(tmp_path / "b", train=5))
    pictures = [name for name in few if name.endswith(".jpg")]
    assert len(pictures) == 4
    assert all(few[name] == many[name] for name in pictures)


def test_training_and_validation_share_no_image_and_no_id(sample: Path) -> None:
    splits = [json.loads(annotation_file(sample, split).read_text()) for split in IMAGES]
    for kind in ("images", "annotations"):
        train_ids, val_ids = ({row["id"] for row in data[kind]} for data in splits)
        assert not train_ids & val_ids
    train_bytes, val_bytes = (
        {path.read_bytes() for path in (sample / split).iterdir()} for split in IMAGES
    )
    assert not train_bytes & val_bytes


def test_an_object_cut_off_by_the_edge_covers_what_is_left_of_it() -> None:
    outline = np.array([[-6.0, 4.0], [5.0, 4.0], [5.0, 30.0], [-6.0, 30.0]])
    found = annotation_of(1, [outline], "polygons", (12, 16))
    region = coco_mask.decode(found["segmentation"])
    expected = np.zeros((12, 16), np.uint8)
    expected[4:, :5] = 1
    assert np.array_equal(region, expected)


@given(
    st_numpy.arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 1)
    )
)
def test_run_lengths_are_what_pycocotools_reads(region: np.ndarray) -> None:
    counts = run_lengths(region)
    rle = coco_mask.frPyObjects({"size": list(region.shape), "counts": counts}, *region.shape)
    assert np.array_equal(coco_mask.decode(rle), region)
    assert min(counts[1:], default=1) > 0


def test_annotations_of_another_data_set_are_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = annotation_file(tmp_path, "val2017")
    path.parent.mkdir()
    path.write_text('{"info": {"description": "COCO 2017 Dataset"}}')
    assert main([f"--output_dir={tmp_path}"]) == 2
    assert "instances_val2017.json is of another data set" in capsys.readouterr().err
    assert list(tmp_path.rglob("*.jpg")) == []


@pytest.mark.parametrize("name", ["000000000001.jpg", "photo.jpg", "notes.txt", "sub"])
def test_a_folder_with_files_of_others_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / name).write_bytes(b"somebody's")
    assert main([f"--output_dir={tmp_path}", "--train_images=1", "--val_images=1"]) == 2
    assert f"{name} was not drawn by this command" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["val2017", name]


def test_what_a_stopped_run_left_is_drawn_over(tmp_path: Path) -> None:
    whole = contents(draw(tmp_path))
    file = annotation_file(tmp_path, "train2017")
    info = json.loads(file.read_text())["info"]
    file.unlink()
    assert main([f"--output_dir={tmp_path}", "--train_images=1", "--val_images=1"]) == 2
    file.write_text(json.dumps({"info": info}))  # as it is while images are drawn
    assert contents(draw(tmp_path)) == whole


def test_a_sample_that_is_not_all_drawn_is_marked_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("datasets.sample.__main__.ordered_map", interrupted)
    assert main([f"--output_dir={tmp_path}"]) == 130
    assert not annotation_file(tmp_path, "train2017").exists()  # nobody trains on a part
    (tmp_path / "train2017" / "000000000001.jpg").touch()
    monkeypatch.undo()
    assert contents(draw(tmp_path)) == contents(draw(tmp_path / "again"))


def test_images_of_a_larger_sample_stay(tmp_path: Path) -> None:
    flags = [f"--output_dir={tmp_path}", "--val_images=1"]
    assert main([*flags, "--train_images=3"]) == 0
    assert main([*flags, "--train_images=1"]) == 0
    assert len(list((tmp_path / "train2017").iterdir())) == 3


def test_images_of_a_larger_sample_are_told_and_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = [f"--output_dir={tmp_path}", "--val_images=1"]
    assert main([*flags, "--train_images=3"]) == 0
    for _ in range(2):
        assert main([*flags, "--train_images=1"]) == 0
        told = "holds 2 more images, left of an earlier, larger sample: 000000000002.jpg to 0000"
        assert told in caplog.text
        caplog.clear()
    assert len(list((tmp_path / "train2017").iterdir())) == 3


def test_drawing_again_over_a_sample_is_allowed(tmp_path: Path) -> None:
    assert contents(draw(tmp_path)) == contents(draw(tmp_path))


@pytest.mark.parametrize("flags", [["--train_images=0"], ["--val_images=-1"], ["--seed=-1"]])
def test_impossible_numbers_are_refused(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--output_dir={tmp_path / 'new'}", *flags])
    assert not (tmp_path / "new").exists()
