"""Holes, ignored categories, and several annotation files, against slow oracles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, box_polygon
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mask_command import arguments, edit, fails, report, run
from oracles import annotation_region

import generate_masks
from datasets.coco.segmentations import even_odd, has_holes, rasterise, runs_of
from datasets.mask_files import read_mask

BOX = st.tuples(*[st.integers(-2, 14)] * 2, *[st.integers(0, 9)] * 2).map(
    lambda b: box_polygon(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
SHAPES = st.one_of(BOX, st.lists(st.integers(-3, 17).map(float), min_size=6, max_size=6))


def covered(polygons: list[list[float]]) -> list[np.ndarray]:
    return [annotation_region({"segmentation": [p]}, 12, 15) for p in polygons]


def filled(runs: Any) -> np.ndarray:
    """The pixels of runs, drawn one by one."""
    region = np.zeros(12 * 15, bool)
    for start, end in zip(*map(np.ndarray.tolist, runs), strict=True):
        region[start:end] = True
    return region.reshape(15, 12).T


@settings(max_examples=300, deadline=None)
@given(polygons=st.lists(SHAPES, min_size=2, max_size=5))
def test_holes_are_found_and_cut_as_counting_pixel_by_pixel_has_it(
    polygons: list[list[float]],
) -> None:
    encoded = rasterise([np.array(p, np.float64) for p in polygons], 12, 15)
    runs = runs_of(encoded)
    regions = covered(polygons)
    times = np.sum(regions, axis=0)
    assert np.array_equal(filled(even_odd(runs)), times % 2 == 1)
    inside = [
        one.any() and not (one & ~other).any() and one.sum() < other.sum()
        for one in regions
        for other in regions
    ]
    assert has_holes(encoded) == any(inside)


def ring(data: dict[str, Any]) -> None:
    data["annotations"][0]["segmentation"] = [
        box_polygon(2, 2, 22, 22), box_polygon(6, 6, 16, 16), box_polygon(8, 8, 10, 10),
        box_polygon(30, 20, 36, 28),
    ]  # fmt: skip
    data["annotations"] = data["annotations"][:1]


def test_holes_are_told_with_their_share_and_cut_on_demand(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(tiny_coco, ring)
    assert run(tiny_coco, "--binary") == 0
    regions = [
        annotation_region({"segmentation": [polygon]}, HEIGHT, WIDTH)
        for polygon in json.loads(
            (tiny_coco / "annotations" / "instances_train2017.json").read_text()
        )["annotations"][0]["segmentation"]
    ]
    times = np.sum(regions, axis=0)
    union, holes = (times > 0).sum(), ((times > 0) & (times % 2 == 0)).sum()
    told = f"1 annotations, {holes:,} pixels ({holes / union:.1%} of theirs)"
    assert told in capsys.readouterr().out
    shown = {path.name: read_mask(path) for path in (tiny_coco / "masks").glob("*.png")}
    name = next(name for name, mask in shown.items() if mask.any())
    assert np.array_equal(shown[name], times > 0)
    assert run(tiny_coco, "--binary") == 0
    assert told in capsys.readouterr().out  # kept masks tell it too
    assert run(tiny_coco, "--binary", "--holes", "cut") == 2  # other options
    assert run(tiny_coco, "--binary", "--holes", "cut", "--overwrite") == 0
    assert np.array_equal(read_mask(tiny_coco / "masks" / name), times % 2)
    assert run(tiny_coco, "--binary") == 2
    assert report(tiny_coco)["options"]["holes"] == "cut"


@pytest.mark.parametrize("priority", [None, 2.0])
@pytest.mark.parametrize("unknown_first", [False, True])
def test_ignored_categories_are_painted_255(
    tiny_coco: Path, priority: float | None, unknown_first: bool
) -> None:
    one, other = box_polygon(2, 2, 20, 20), box_polygon(10, 10, 30, 28)

    def scene(data: dict[str, Any]) -> None:
        image = data["images"][0]["id"]
        pair = [
            {"id": 1, "image_id": image, "category_id": 900, "segmentation": [one]},
            {"id": 2, "image_id": image, "category_id": 901, "segmentation": [other]},
        ]
        data["annotations"] = pair if unknown_first else pair[::-1]
        data["categories"] = [{"id": 900, "name": "unknown"}, {"id": 901, "name": "dog"}]

    edit(tiny_coco, scene)
    dog = {"name": "pet", "categories": ["dog"], "priority": priority}
    labels = {"name": "x", "labels": [{"name": "background"}, dog], "ignore": ["unknown"]}
    (tiny_coco / "set.json").write_text(json.dumps(labels))
    assert run(tiny_coco, "--label_set", tiny_coco / "set.json") == 0
    masks = [read_mask(path) for path in (tiny_coco / "masks").glob("*.png")]
    (mask,) = [mask for mask in masks if mask.any()]
    unknown, pet = (annotation_region({"segmentation": [p]}, HEIGHT, WIDTH) for p in (one, other))
    wins = priority or unknown_first
    expected = np.where(pet if wins else pet & ~unknown, 1, np.where(unknown, 255, 0))
    assert np.array_equal(mask, expected)


CATEGORIES = ["cat", "dog", "cow"]


@st.composite
def several_files(draw: Any) -> list[dict[str, Any]]:
    """COCO files that share images and categories under ids of their own."""
    files = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.permutations(CATEGORIES))
        shown = draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1))
        ids = draw(st.lists(st.integers(1, 6), unique=True, min_size=len(shown),
                            max_size=len(shown)))  # fmt: skip
        polygons = draw(st.lists(st.tuples(st.sampled_from(ids), st.integers(1, 3), BOX),
                                 max_size=5))  # fmt: skip
        files.append({
            "images": [{"id": id, "file_name": f"{name}.jpg", "height": 12, "width": 15}
                       for id, name in zip(ids, shown, strict=True)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
            "annotations": [{"id": n, "image_id": image, "category_id": category,
                             "segmentation": [polygon]}
                            for n, (image, category, polygon) in enumerate(polygons)],
        })  # fmt: skip
    return files


def painted(files: list[dict[str, Any]], labels: list[str]) -> dict[str, np.ndarray]:
    """Every file in turn, every annotation in turn, pixel by pixel."""
    masks: dict[str, np.ndarray] = {}
    for file in files:
        names = {image["id"]: image["file_name"][0] for image in file["images"]}
        categories = {each["id"]: each["name"] for each in file["categories"]}
        for name in names.values():
            masks.setdefault(name, np.zeros((12, 15), np.uint8))
        for annotation in file["annotations"]:
            label = labels.index(categories[annotation["category_id"]]) + 1
            masks[names[annotation["image_id"]]][annotation_region(annotation, 12, 15)] = label
    return masks


@settings(max_examples=60, deadline=None)
@given(files=several_files())
def test_several_files_are_one_file_in_a_row(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]]
) -> None:
    assume(len({json.dumps(file) for file in files}) == len(files))
    folder = tmp_path_factory.mktemp("several")
    (folder / "images").mkdir()
    paths = [folder / f"{number}.json" for number in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_text(json.dumps(file))
    command = ["--images_dir", folder / "images", "--output_dir", folder / "masks", "--no_grouping"]
    command += ["--no_check_images", "--workers", 1, "--annotations_file", *paths]
    code = generate_masks.main([str(part) for part in command])
    drawn = any(mask.any() for mask in painted(files, CATEGORIES).values())
    assert code == 0 or not drawn
    found = json.loads((folder / "masks" / "masks.json").read_text())
    labels = [label["name"] for label in found["label_set"]["labels"]][1:]
    expected = painted(files, labels)
    assert {path.stem for path in (folder / "masks").glob("*.png")} == expected.keys()
    for name, mask in expected.items():
        assert np.array_equal(read_mask(folder / "masks" / f"{name}.png"), mask)
    assert len(found["source"].get("files", [0])) == len(files)


def test_one_file_twice_is_refused_also_as_a_copy(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_coco / "annotations" / "instances_train2017.json"
    copy = path.with_name("instances_train2017 (1).json")
    copy.write_bytes(path.read_bytes())
    for other in (path, copy):
        line = fails(capsys, tiny_coco, "--annotations_file", path, other)
        assert f"{other}: holds the same as {path}" in line


def test_several_files_resume_shard_and_tell_contradicting_sizes(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_coco / "annotations" / "instances_train2017.json"
    data = json.loads(path.read_text())
    data["images"][0]["height"] += 1
    other = path.with_name("other.json")
    other.write_text(json.dumps(data))
    both = arguments(tiny_coco, "--annotations_file", path, other)
    assert generate_masks.main(both) == 0
    found = report(tiny_coco)
    assert found["skipped_images"]["by_reason"] == {
        "image has another size in another annotation file": 1
    }
    whole = {p.name: p.read_bytes() for p in (tiny_coco / "masks").iterdir()}
    assert generate_masks.main(both) == 0
    assert "0 masks written, 2 kept" in capsys.readouterr().out
    for index in (1, 2):
        assert generate_masks.main([*both, "--shard", f"{index}/2"]) == 0
    assert generate_masks.main([*both, "--merge_reports"]) == 0
    assert {p.name: p.read_bytes() for p in (tiny_coco / "masks").iterdir()} == whole
    digests = [each["sha256"] for each in found["source"]["files"]]
    assert len({*digests, found["source"]["sha256"]}) == 3
    capsys.readouterr()
    assert run(tiny_coco) == 2
    told = "annotations file 'instances_train2017.json, other.json', now 'instances_train2017.json'"
    assert told in capsys.readouterr().err


def test_two_entries_of_one_name_in_one_of_several_files_are_refused_by_their_ids(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_coco / "annotations" / "instances_train2017.json"
    data = json.loads(path.read_text())
    data["images"].append({**data["images"][0], "id": 90})
    path.with_name("b.json").write_text(json.dumps(data))
    for files in ([path.with_name("b.json")], [path, path.with_name("b.json")]):
        shown = files if len(files) == 1 else files[::-1]
        line = fails(capsys, tiny_coco, "--annotations_file", *shown)
        assert "(id 1) and" in line and "(id 90)" in line


def test_an_id_of_a_contradicted_image_is_no_other_images(tiny_coco: Path) -> None:
    path = tiny_coco / "annotations" / "instances_train2017.json"
    first = json.loads(path.read_text())
    second = json.loads(path.read_text())
    first["images"] = first["images"][:1]
    second["images"] = [
        {**first["images"][0], "id": 5, "height": 3},
        {**second["images"][1], "id": 1},
    ]
    path.write_text(json.dumps(first))
    path.with_name("b.json").write_text(json.dumps(second))
    assert run(tiny_coco, "--annotations_file", path, path.with_name("b.json"), "--binary") == 0
    assert {p.name for p in (tiny_coco / "masks").glob("*.png")} == {"encodings.png"}
    rows = [a for a in second["annotations"] if a["image_id"] == 1]
    expected = np.any([annotation_region(a, HEIGHT, WIDTH) for a in rows], axis=0)
    assert np.array_equal(read_mask(tiny_coco / "masks" / "encodings.png") == 1, expected)
