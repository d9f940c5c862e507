"""Bad data ends in the message that a user needs, one kind at a time."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_folders import LABELS, MAPPING, NOISE, check, counted, save, write_pairs
from PIL import Image, ImageFile

import datasets.inspection
from datasets.images import turn
from datasets.inspection import KINDS, Finding, look_at
from datasets.label_sets import GROUPS
from datasets.mask_checks import check_pairs, told
from datasets.pairs import Pairs, PathPairs, pair_images_and_masks
from datasets.training.dataset import CocoSegmentationDataset
from runtime.files import write_json


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(data: Path, kind: str) -> None:
    """Give the pair b, and sometimes more, one kind of problem."""
    image, mask = data / "images/b.jpg", data / "masks/b.png"
    spoilers: dict[str, Callable[[], Any]] = {
        "image without mask": mask.unlink,
        "mask without image": image.unlink,
        "empty image": lambda: image.write_bytes(b""),
        "empty mask": lambda: mask.write_bytes(b""),
        "cut image": lambda: cut(image),
        "text image": lambda: image.write_text("not found"),
        "cut mask": lambda: cut(mask),
        "text mask": lambda: mask.write_text("not found"),
        "broken link": lambda: (image.unlink(), image.symlink_to("nowhere")),
        "size": lambda: save(mask, LABELS[:20]),
        "turned": lambda: save(mask, LABELS.T),
        "jpeg mask": lambda: save(mask, LABELS, format="JPEG"),
        "RGB mask": lambda: save(mask, NOISE),
        "RGBA mask": lambda: save(mask, np.dstack([NOISE, LABELS])),
        "16-bit mask": lambda: save(mask, LABELS.astype(np.uint16)),
        "label": lambda: save(mask, LABELS + 2),
        "one 0/255": lambda: save(mask, (LABELS > 0) * np.uint8(255)),
        "all 0/255": lambda: [
            save(path, (LABELS > 0) * np.uint8(255)) for path in (data / "masks").iterdir()
        ],
    }
    spoilers[kind]()


LEFT_OUT = {
    "image without mask": "/images: 1 image without a mask, left out: b.jpg",
    "mask without image": "/masks: 1 mask without an image, left out: b.png",
    "empty image": "/images: 1 image of zero bytes, left out: b.jpg; copy or download it again",
    "empty mask": "/masks: 1 mask of zero bytes, left out: b.png; make it again",
    "cut image": "/images: 1 image that cannot be read, left out: b.jpg (image file is truncated",
    "text image": "/images: 1 image that cannot be read, left out: b.jpg (not a picture)",
    "cut mask": "/masks: 1 mask that cannot be read, left out: b.png (",
    "text mask": "/masks: 1 mask that cannot be read, left out: b.png (not a picture)",
    "broken link": "/images: 1 image that cannot be read, left out: b.jpg (No such file",
    "size": "/masks: 1 mask of another size than its image, left out: b.png (20x40, its image "
    "30x40); make the masks of these very images",
    "turned": "b.png (40x30, its image 30x40)",
}

FATAL = {
    "jpeg mask": "/masks: 1 mask in JPEG format: b.png; JPEG changes pixel values",
    "RGB mask": "/masks: 1 mask of more than 1,024 colours: b.png (1,200); photographs, from",
    "RGBA mask": "/masks: 1 mask of more than 1,024 colours: b.png (1,200); photographs",
    "16-bit mask": "/masks: 1 mask with more than 8 bits a channel: b.png (I;16); save label",
    "label": "/masks: 1 mask with a pixel value that is no label: b.png (3, 4; known are 0, 1, 2, "
    "and 255 for ignored pixels); make all masks of a network with one label set",
    "all 0/255": "/masks: 4 masks of 0 and 255 alone: a.png, b.png, c.png, d.png; 255 means "
    "ignored here, so no object would count; give the object the value of its label",
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_bad_pair_is_left_out_and_told(data: Path, kind: str) -> None:
    spoil(data, kind)
    checked = check(data)
    (problem,) = checked.problems
    assert LEFT_OUT[kind] in problem.removeprefix(str(data))
    assert [image.stem for image, _ in checked.pairs] == ["a", "c", "d"]
    expected = [[int((label == LABELS).sum()) for label in range(3)]] * 3
    assert checked.label_counts.tolist() == expected


@pytest.mark.parametrize("kind", FATAL)
def test_what_would_teach_something_else_stops_before_training(data: Path, kind: str) -> None:
    spoil(data, kind)
    with pytest.raises(ValueError, match=r"masks: these masks cannot be trained on:\n") as caught:
        check(data)
    assert f"  {data}{FATAL[kind]}" in str(caught.value)


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.float32])
def test_an_image_of_more_than_8_bits_is_used_and_told(data: Path, kind: type) -> None:
    Image.fromarray(LABELS.astype(kind)).save(data / "images" / "b.jpg", format="TIFF")
    checked = check(data)
    (problem,) = checked.problems
    text = "/images: 1 image seen otherwise than it is stored, kept: b.jpg (more than 8 bits a"
    assert problem.startswith(f"{data}{text}") and len(checked.pairs) == 4


def test_a_pair_without_problems_has_none(data: Path) -> None:
    assert check(data).problems == ()


def test_every_kind_of_problem_is_tested() -> None:
    told = "".join((*LEFT_OUT.values(), *FATAL.values()))
    untold = [kind for kind, row in KINDS.items() if f"{row.role} {row.what}" not in told]
    assert untold == [
        "upright",
        "either_way",
        "odd_image",
        "some_binary",
        "binary",
        "smeared",
    ]  # told by their own tests
    assert len({(row.what, row.role, row.outcome) for row in KINDS.values()}) == len(KINDS)


DOWN, RIGHT = np.mgrid[:60, :80]
BLOBS = ((DOWN - 25) ** 2 + (RIGHT - 30) ** 2 < 400) + 2 * (abs(DOWN - 45) + abs(RIGHT - 60) < 13)


def as_jpeg(labels: np.ndarray) -> Image.Image:
    data = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8)).save(data, "JPEG", quality=80)
    return Image.open(data)


def resized(labels: np.ndarray, how: Image.Resampling, scale: float) -> Image.Image:
    size = (round(scale * labels.shape[1]), round(scale * labels.shape[0]))
    return Image.fromarray(labels.astype(np.uint8)).resize(size, how)


SMEARS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "JPEG": as_jpeg,
    "bilinear, larger": lambda labels: resized(labels, Image.Resampling.BILINEAR, 1.7),
    "bicubic, smaller": lambda labels: resized(labels, Image.Resampling.BICUBIC, 0.6),
    "Lanczos": lambda labels: resized(labels, Image.Resampling.LANCZOS, 1.3),
}


@pytest.mark.parametrize("values", [(0, 255, 255), (0, 128, 255), (10, 20, 200)])
@pytest.mark.parametrize("how", SMEARS)
def test_smeared_masks_are_refused_unless_trusted(
    tmp_path: Path, how: str, values: tuple[int, ...]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name in "abc":
        mask = SMEARS[how](np.array(values, np.uint8)[np.roll(BLOBS, ord(name))])
        mask.save(tmp_path / f"masks/{name}.png")
        Image.new("RGB", mask.size).save(tmp_path / f"images/{name}.jpg")
    pairs = pair_images_and_masks(tmp_path / "images", tmp_path / "masks")
    told = r"3 masks of smeared values.*: [abc]\.png \(.*--trust_values"
    with pytest.raises(ValueError, match=told):
        check_pairs(pairs, None, 1)
    assert len(check_pairs(pairs, None, 1, trust_values=True).label_mapping.values) > 6


@pytest.mark.parametrize("labels", [5, 30, 150])
def test_masks_of_many_labels_in_plain_patches_are_not_smeared(tmp_path: Path, labels: int) -> None:
    chance = np.random.default_rng(labels)
    patches = np.kron(chance.integers(0, labels, (16, 16), np.uint8), np.ones((4, 4), np.uint8))
    data = write_pairs(tmp_path)
    for name in "abcd":
        save(data / f"masks/{name}.png", np.roll(patches, ord(name)))
        Image.new("RGB", (64, 64)).save(data / f"images/{name}.jpg")
    assert check(data, None).problems == ()


BACK = {6: 8, 8: 6}  # the others are their own inverse


def save_turned(path: Path, upright: np.ndarray, orientation: int) -> None:
    """As a camera does: the file's pixels are turned back, EXIF says how to turn them upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turn(upright, BACK.get(orientation, orientation))).save(path, exif=exif)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photo_is_turned_where_its_mask_only_fits_upright(data: Path, orientation: int) -> None:
    save_turned(data / "images/b.png", NOISE, orientation)
    (data / "images/b.jpg").unlink()
    checked = check(data)
    (problem,) = checked.problems
    assert "1 image with an EXIF orientation and an upright mask, kept: b.png" in problem
    image, label_map = CocoSegmentationDataset(checked.pairs, MAPPING)[1]
    assert np.array_equal(image.permute(1, 2, 0), NOISE)
    assert label_map.shape == (30, 40)
    assert check(data).problems == checked.problems  # told by every run


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_a_photo_whose_mask_fits_both_ways_is_taken_as_stored_and_told(
    data: Path, orientation: int
) -> None:
    square = NOISE[:, :30] if orientation == 6 else NOISE
    save_turned(data / "images/b.png", square, orientation)
    (data / "images/b.jpg").unlink()
    save(data / "masks/b.png", LABELS[:, :30] if orientation == 6 else LABELS)
    checked = check(data)
    (problem,) = checked.problems
    assert "1 image with an EXIF orientation whose mask fits turned or not, kept: b.png" in problem
    image, _ = CocoSegmentationDataset(checked.pairs, MAPPING)[1]
    assert np.array_equal(image.permute(1, 2, 0), turn(square, BACK.get(orientation, orientation)))


def test_a_photo_whose_mask_fits_as_stored_alone_is_no_problem(data: Path) -> None:
    save_turned(data / "images/b.png", NOISE.swapaxes(0, 1), 6)
    (data / "images/b.jpg").unlink()
    assert check(data).problems == ()


def test_a_few_masks_of_0_and_255_are_kept_and_told(data: Path) -> None:
    spoil(data, "one 0/255")
    checked = check(data)
    (problem,) = checked.problems
    assert "1 mask of 0 and 255 alone, kept: b.png; 255 means ignored here" in problem
    assert checked.label_counts[1].tolist() == [int((LABELS == 0).sum()), 0, 0]


def test_0_and_255_are_two_labels_without_masks_json(data: Path) -> None:
    spoil(data, "all 0/255")
    checked = check(data, None)
    assert checked.label_mapping.values == (0, 255)
    assert checked.problems == ()
    objects = int((LABELS > 0).sum())
    assert checked.label_counts.tolist() == [[LABELS.size - objects, objects]] * 4


def test_0_and_255_are_refused_where_masks_json_says_otherwise(data: Path) -> None:
    spoil(data, "all 0/255")
    write_json(data / "masks/masks.json", {"format_version": 1, "label_set": GROUPS.to_dict()})
    with pytest.raises(ValueError, match=r"4 masks of 0 and 255 alone: .* --label_set FILE"):
        check(data, None)


def test_0_and_255_are_no_mistake_in_masks_made_with_ignored_pixels(data: Path) -> None:
    spoil(data, "all 0/255")
    options = {"overlap": "priority", "crowd": "ignore"}
    report = {"format_version": 1, "label_set": GROUPS.to_dict(), "options": options}
    write_json(data / "masks/masks.json", report)
    assert check(data, None).problems == ()


def test_a_mask_that_is_ignored_altogether_is_not_one_of_0_and_255(data: Path) -> None:
    save(data / "masks/b.png", np.full_like(LABELS, 255))
    assert check(data).problems == ()


def test_all_fatal_problems_are_told_at_once(data: Path) -> None:
    save(data / "masks/a.png", NOISE)
    save(data / "masks/b.png", LABELS, format="JPEG")
    save(data / "masks/c.png", LABELS + 9)
    (data / "images/d.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be trained on") as caught:
        check(data)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("/masks: ")[1].split(": ")[0] for line in lines] == [
        "1 mask in JPEG format",
        "1 mask of more than 1,024 colours",
        "1 mask with a pixel value that is no label",
    ]


def test_no_pair_left_is_an_error_that_says_why(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image with its mask is left.*\n.*4 images of zero"):
        check(data)


def test_ten_files_are_named_and_all_are_counted() -> None:
    masks = Path("masks")
    found = [Finding("empty_mask", masks / f"{number}.png") for number in range(1234)]
    (text,) = told(found, Pairs(Path("images"), masks, PathPairs(Path("images"), masks, ())))
    assert text == (
        "masks: 1,234 masks of zero bytes, left out: 0.png, 1.png, 2.png, 3.png, 4.png, 5.png, "
        "6.png, 7.png, 8.png, 9.png and 1,224 more; make it again"
    )


def test_the_values_of_the_good_masks_make_the_mapping(data: Path) -> None:
    save(data / "masks/a.png", LABELS * 25)
    save(data / "masks/b.png", LABELS[:20] * 70)  # another size: left out, and its values
    checked = check(data, None)
    assert checked.label_mapping.values == (0, 1, 2, 25, 50)


@pytest.mark.parametrize("workers", [1, 2])
def test_counts_are_those_of_reading_every_mask(
    data: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(datasets.inspection, "WORTH_WORKERS", 0)
    save(data / "masks/c.png", np.where(LABELS == 1, 255, LABELS).astype(np.uint8))
    checked = check(data, workers=workers)
    masks = [mask for _, mask in checked.pairs]
    assert len(masks) == 4
    assert checked.label_counts.tolist() == counted(masks)


def test_a_whole_jpeg_with_something_after_its_end_is_good(data: Path) -> None:
    path = data / "images/b.jpg"
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert check(data).problems == ()


def test_only_an_image_that_looks_cut_off_is_decoded(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(
        "datasets.inspection.count_values", lambda path, by_color: ((30, 40), {0: 1200})
    )
    assert look_at((data / "images/a.jpg", data / "masks/a.png"))[0] == []
