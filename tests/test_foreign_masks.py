"""Masks that other tools export, made up small: read as they are meant, or refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.label_mapping import LabelMapping, mapping_to_labels_of, read_label_map
from datasets.label_sets import load_label_set, read_description, write_survey
from datasets.labels import Label, LabelSet, voc_color
from datasets.pairs import pair_images_and_masks
from datasets.training.data import TrainingData, check_data

SIZE = (24, 32)
COLORS = np.array([[0, 0, 0], [128, 64, 0], [0, 128, 255], [224, 224, 192]], np.uint8)
BORDER = 3


def label_map_of(number: int) -> np.ndarray:
    """Two objects with a border around them: 0 background, 1, 2, BORDER."""
    label_map = np.zeros(SIZE, np.uint8)
    for label, (top, left) in ((1, (2 + number, 3)), (2, (8, 14 + number))):
        label_map[top : top + 10, left : left + 12] = BORDER
        label_map[top + 1 : top + 9, left + 1 : left + 11] = label
    return label_map


def palette_picture(label_map: np.ndarray, colors: np.ndarray) -> Image.Image:
    image = Image.fromarray(label_map)
    image.putpalette(colors.astype(np.uint8).tobytes())
    return image


def shuffled_palette(label_map: np.ndarray) -> Image.Image:
    """Indices in the order in which colours are met, as picture editors give them."""
    order = list(dict.fromkeys(label_map[::-1].ravel().tolist()))
    index = np.argsort(np.array(order)) if len(order) == 4 else np.zeros(4, int)
    return palette_picture(index.astype(np.uint8)[label_map], COLORS[order])


def gray(values: tuple[int, ...]) -> Callable[[np.ndarray], Image.Image]:
    return lambda label_map: Image.fromarray(np.array(values, np.uint8)[label_map])


VOC_COLORS = np.array([voc_color(index) for index in range(255)] + [(224, 224, 192)], np.uint8)
CVAT = """# label:color_rgb:parts:actions
car:128,64,0::
a:b:0,128,255::
background:0,0,0::
void:224,224,192::
"""
NAMED = {"background": [0], "car": [1], "a:b": [2], "void": [BORDER]}
COLORED = {
    "name": "human",
    "labels": [
        {"name": name, "values": [color]}
        for name, color in zip(("background", "car", "a:b"), COLORS.tolist(), strict=False)
    ],
    "ignore": [COLORS[BORDER].tolist()],
}
# export -> (a mask, the file that describes it and its content, ignored labels)
EXPORTS: dict[str, tuple[Callable[[np.ndarray], Image.Image], str, Any, bool]] = {
    "CVAT, palette": (lambda m: palette_picture(m, COLORS), "labelmap.txt", CVAT, False),
    "CVAT, RGB": (lambda m: Image.fromarray(COLORS[m]), "labelmap.txt", CVAT, False),
    "an editor's palette": (shuffled_palette, "labels.json", COLORED, True),
    "Supervisely, human": (
        lambda m: Image.fromarray(COLORS[m]).convert("RGBA"),
        "labels.json",
        COLORED,
        True,
    ),
    "Supervisely, machine": (
        lambda m: Image.fromarray(m).convert("RGB"),
        "labels.json",
        {
            "name": "machine",
            "labels": [
                {"name": "car", "values": 1},
                {"name": "a:b", "values": [2]},
                {"name": "background", "values": [0]},
            ],
            "ignore": [BORDER],
        },
        True,
    ),
    "labelme": (
        lambda m: palette_picture(np.asarray(gray((0, 1, 2, 255))(m)), VOC_COLORS),
        "names.txt",
        "__ignore__\n_background_\ncar\na:b\n",
        True,
    ),
    "VOC": (
        lambda m: palette_picture(np.asarray(gray((0, 7, 15, 255))(m)), VOC_COLORS),
        "names.txt",
        "background\n\n\n\n\n\n\ncar\n\n\n\n\n\n\n\na:b\n",
        True,
    ),
    "several values a label": (
        gray((0, 5, 9, 200)),
        "labels.json",
        {
            "name": "several",
            "labels": [
                {"name": "background", "values": [0, 1]},
                {"name": "car", "values": [5, 6]},
                {"name": "a:b", "values": [9]},
            ],
            "ignore": [200, 255],
        },
        True,
    ),
}


def write_export(folder: Path, export: str) -> Path:
    """images/ and masks/ with four pairs, and the description beside the masks."""
    picture, name, content, _ = EXPORTS[export]
    for each in ("images", "masks"):
        (folder / each).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for number in range(4):
        Image.fromarray(noise).save(folder / f"images/{number}.jpg")
        picture(label_map_of(number)).save(folder / f"masks/{number}.png")
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "masks" / name).write_text(text)
    return folder


def checked(folder: Path, described: LabelSet | None = None) -> TrainingData:
    pairs = pair_images_and_masks(folder / "images", folder / "masks")
    return check_data(pairs, pairs, 1, described)


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_is_read_as_it_is_meant(tmp_path: Path, export: str) -> None:
    data = checked(write_export(tmp_path, export))
    names = [name.strip("_") for name in data.label_set.names]
    ignores = EXPORTS[export][3]
    assert names == ["background", "car", "a:b", *["void"] * (not ignores)]
    assert data.label_set.has_background
    for number, (_, path) in enumerate(data.train.pairs):
        expected = label_map_of(number)
        if ignores:
            expected[expected == BORDER] = 255
        assert np.array_equal(read_label_map(path, data.mapping), expected)
        counts = [int((expected == label).sum()) for label in range(len(names))]
        assert data.label_counts[number].tolist() == counts


@pytest.mark.parametrize("export", EXPORTS)
def test_a_checkpoint_carries_the_description(tmp_path: Path, export: str) -> None:
    mapping = checked(write_export(tmp_path, export)).mapping
    checkpoint = {"label_set": mapping.label_set.to_dict(), "mask_values": mapping.mask_values}
    assert LabelMapping.of_training(json.loads(json.dumps(checkpoint))) == mapping


@pytest.mark.parametrize("export", ["CVAT, RGB", "Supervisely, machine", "VOC"])
def test_masks_of_another_form_are_scored_by_name(
    tmp_path: Path, export: str, caplog: pytest.LogCaptureFixture
) -> None:
    trained = checked(write_export(tmp_path / "a", "several values a label")).mapping
    write_export(tmp_path / "b", export)
    about = {"label_set": trained.label_set.to_dict(), "mask_values": None}
    if export == "CVAT, RGB":  # a label more than the network has
        with pytest.raises(ValueError, match=r"its labels do not fit the network's: .*void"):
            mapping_to_labels_of(tmp_path / "b/masks", about)
        return
    mapping = mapping_to_labels_of(tmp_path / "b/masks", about)
    assert caplog.text == ""
    expected = label_map_of(2)
    expected[expected == BORDER] = 255
    assert np.array_equal(read_label_map(tmp_path / "b/masks/2.png", mapping), expected)


def test_brush_masks_of_label_studio_are_black_and_white(tmp_path: Path) -> None:
    write_export(tmp_path, "VOC")
    (tmp_path / "masks/names.txt").unlink()
    for number in range(4):
        white = Image.fromarray((label_map_of(number) == 1) * np.uint8(255))
        form = ("L", "RGB", "1", "RGBA")[number]  # as optimisers of pictures leave them
        white.convert(form).save(tmp_path / f"masks/{number}.png")
    labels = LabelSet(
        "brush", (Label("other", (0, 0, 0), values=(0,)), Label("cat", (1, 1, 1), values=(255,)))
    )
    expected = [[int((label_map_of(n) == 1).sum()) for n in range(4)]]
    for described in (None, labels):
        data = checked(tmp_path, described)
        assert data.label_counts[:, 1].tolist() == expected[0]
        assert data.label_counts.sum() == 4 * SIZE[0] * SIZE[1]
    assert not data.label_set.has_background


CAMVID_LIKE = {
    "name": "street",
    "labels": [{"name": n, "values": [v]} for v, n in enumerate("abc")],
}


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("gray", r'0\.png \(3; known are 0, 1, 2, and 255 for ignored pixels\), .*; in a file .* '
         r'name it by \{"name": "NAME", "values": \[VALUE\]\} .*, or add VALUE to "ignore"'),
        ("palette", r"0\.png \(3 \(colour \[224, 224, 192\]\); known are 0, 1, 2"),
        ("RGB", r"0\.png \(\[0, 128, 255\], \[128, 64, 0\], \[224, 224, 192\]; known are"),
    ],
)  # fmt: skip
def test_what_is_not_described_is_named_with_the_line_to_add(
    tmp_path: Path, form: str, told: str
) -> None:
    forms = {
        "gray": gray((0, 1, 2, 3)),
        "palette": EXPORTS["CVAT, palette"][0],
        "RGB": EXPORTS["CVAT, RGB"][0],
    }
    write_export(tmp_path, "VOC")
    (tmp_path / "masks/names.txt").unlink()
    for number in range(4):
        forms[form](label_map_of(number)).save(tmp_path / f"masks/{number}.png")
    with pytest.raises(ValueError, match=told):
        checked(tmp_path, LabelSet.from_dict(CAMVID_LIKE))


def test_colours_that_nobody_described_are_told_with_what_to_do(tmp_path: Path) -> None:
    write_export(tmp_path, "CVAT, RGB")
    (tmp_path / "masks/labelmap.txt").unlink()
    with pytest.raises(ValueError, match=r"\[0, 128, 255\], .*python -m datasets\.label_sets"):
        checked(tmp_path)


def test_palettes_are_counted_anew_when_their_colours_begin_to_count(tmp_path: Path) -> None:
    write_export(tmp_path, "CVAT, palette")
    (tmp_path / "masks/labelmap.txt").rename(tmp_path / "later.txt")
    assert checked(tmp_path).label_set.names == ("background", "value 1", "value 2", "value 3")
    data = checked(tmp_path, read_description(tmp_path / "later.txt"))
    assert data.label_set.names == ("background", "car", "a:b", "void")
    assert data.label_counts[0].tolist() == np.bincount(label_map_of(0).ravel()).tolist()


def test_masks_from_1_on_have_no_background(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_export(tmp_path, "VOC")
    (tmp_path / "masks/names.txt").unlink()
    for number in range(4):
        gray((1, 2, 3, 255))(label_map_of(number)).save(tmp_path / f"masks/{number}.png")
    with caplog.at_level("INFO"):
        data = checked(tmp_path)
    assert data.label_set.names == ("value 1", "value 2", "value 3")
    assert not data.label_set.has_background
    assert "none is 0, so there is no background: value 1 is a label like others" in caplog.text
    border = sum(int((label_map_of(number) == BORDER).sum()) for number in range(4))
    share = 100 * border / (4 * SIZE[0] * SIZE[1])
    assert f"{share:.2f}% of the pixels are ignored, in 4 of 4 masks" in caplog.text


def test_two_files_that_say_what_masks_mean_are_one_too_many(tmp_path: Path) -> None:
    write_export(tmp_path, "VOC")
    report = {"format_version": 1, "complete": True, "label_set": LabelSet.from_dict(
        {"name": "x", "labels": [{"name": "background"}]}).to_dict()}  # fmt: skip
    (tmp_path / "masks/masks.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"holds masks\.json and names\.txt"):
        checked(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "x", "labels": [{"name": "a"}]}', "says no pixel values"),
        ('{"name": "x", "labels": [{"name": "a", "values": [1]}, {"name": "b"}]}', "values to b"),
        (
            '{"name": "x", "labels": [{"name": "a", "values": [1]}, {"name": "b", "values": [1]}]}',
            "value 1 is in label 'a' and in label 'b'",
        ),
        ('{"name": "x", "labels": [{"name": "a", "values": [128, 0, 0]}]}', r"\[\[red, green"),
        ('{"name": "x", "labels": [{"name": "a", "values": [256]}]}', "expected 0 to 255"),
        (
            '{"name": "x", "labels": [{"name": "a", "values": ["1"]}]}',
            "value is '1', expected a number",
        ),
        ('{"name": "x", "labels": [{"name": "a", "valeus": [1]}]}', "the nearest is 'values'"),
        (
            '{"name": "x", "labels": [{"name": "a", "values": [1]}], "ignore": [1]}',
            "and in label 'igno",
        ),
        ("{", r"labels\.json: "),
        ("a:1,2,3::\nb:1,2::", "line 'b:1,2::', expected NAME:RED,GREEN,BLUE::"),
        ("a:1,2,3::\nb:1,2,3::", r"value \(1, 2, 3\) is in label 'a' and in label 'b'"),
    ],
)
def test_a_bad_description_is_told_by_name(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / ("labelmap.txt" if "::" in text else "labels.json")
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_description(path)


VALUES = {
    "CVAT, palette": [0, 1, 2, 3],
    "CVAT, RGB": sorted(COLORS.tolist()),
    "an editor's palette": sorted(COLORS.tolist()),
    "Supervisely, human": sorted(COLORS.tolist()),
    "Supervisely, machine": [0, 1, 2, 3],
    "VOC": [0, 7, 15],
}


@pytest.mark.parametrize("export", VALUES)
def test_a_look_at_a_folder_writes_a_file_that_describes_it(tmp_path: Path, export: str) -> None:
    masks = write_export(tmp_path, export) / "masks"
    (masks / EXPORTS[export][1]).unlink()
    if export == "an editor's palette":  # another order of colours in one mask
        order = [3, 2, 1, 0]
        palette_picture(np.argsort(order).astype(np.uint8)[label_map_of(0)], COLORS[order]).save(
            masks / "0.png"
        )
    assert write_survey(masks) == 0
    written = json.loads((masks / "labels.json").read_text())
    assert [label["values"] for label in written["labels"]] == [[v] for v in VALUES[export]]
    assert written["ignore"] == [255] * (export == "VOC")
    data = checked(tmp_path)
    pixels = data.label_counts.sum(axis=0) / (4 * SIZE[0] * SIZE[1])
    assert [label["share"] for label in written["labels"]] == pytest.approx(pixels, abs=1e-5)
    if export in ("CVAT, palette", "VOC"):
        shown = (VOC_COLORS if export == "VOC" else COLORS)[VALUES[export]]
        assert [label["color"] for label in written["labels"]] == shown.tolist()
    with pytest.raises(ValueError, match=r"labels\.json is there, and says what the masks mean"):
        write_survey(masks)


CAMVID = Path(os.environ.get("CAMVID_DIR", ""))  # with val/ and masks_val/, as SegNet has them
CAMVID_NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)


@pytest.mark.skipif(not CAMVID.name, reason="CAMVID_DIR names no folder of CamVid")
def test_camvid_has_eleven_labels_no_background_and_void() -> None:
    pairs = pair_images_and_masks(CAMVID / "val", CAMVID / "masks_val")
    labels = [{"name": name, "values": [value]} for value, name in enumerate(CAMVID_NAMES)]
    described = LabelSet.from_dict({"name": "camvid", "labels": labels, "ignore": [11]})
    data = check_data(pairs, pairs, 1, described)
    assert len(data.train.pairs) == len(pairs.pairs) > 0
    assert data.label_set.names == CAMVID_NAMES
    assert not data.label_set.has_background
    for number in (0, len(pairs.pairs) // 2):
        with Image.open(pairs.pairs[number][1]) as mask:
            expected = np.bincount(np.asarray(mask).ravel(), minlength=12)
        assert data.label_counts[number].tolist() == expected[:11].tolist()


def test_making_masks_refuses_a_description_of_masks(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(COLORED))
    with pytest.raises(ValueError, match="describes masks that are there"):
        load_label_set(str(tmp_path / "labels.json"), ["car"])
