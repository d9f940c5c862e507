"""Mask files: what is written is read back by everyone, and nothing else is taken for a mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin
from torchvision.io import ImageReadMode, decode_image

from datasets.label_sets import GROUPS
from datasets.mask_files import (
    STAMP,
    count_values,
    number_of,
    read_mask,
    value_of,
    write_mask,
)

PALETTE = bytes(GROUPS.palette())
LABEL_MAPS = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 255)
)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities")
@settings(max_examples=60, deadline=None)
@given(label_map=LABEL_MAPS, palette=st.sampled_from([PALETTE, None]))
def test_every_reader_gives_the_label_map_back(
    tmp_path_factory: pytest.TempPathFactory, label_map: np.ndarray, palette: bytes | None
) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, label_map, palette, {"key": "value"})
    assert np.array_equal(read_mask(path), label_map)
    with Image.open(path) as image:
        assert image.mode == ("L" if palette is None else "P")
        assert np.array_equal(np.asarray(image), label_map)
        assert image.info["key"] == "value"
    tensor = decode_image(str(path), ImageReadMode.UNCHANGED)
    assert torch.equal(tensor, torch.from_numpy(label_map)[None])


def test_a_palette_mask_shows_the_labels_colors(tmp_path: Path) -> None:
    label_map = np.arange(10, dtype=np.uint8).reshape(2, 5)
    label_map[1, 4] = 255
    write_mask(tmp_path / "a.png", label_map, PALETTE)
    with Image.open(tmp_path / "a.png") as image:
        colors = np.asarray(image.convert("RGB"))
    assert colors[0, 1].tolist() == list(GROUPS.labels[1].color)
    assert colors[1, 3].tolist() == list(GROUPS.labels[8].color)
    assert colors[1, 4].tolist() == [224, 224, 224]


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_equal_input_gives_equal_bytes(tmp_path: Path, palette: bytes | None) -> None:
    label_map = np.random.default_rng(0).integers(0, 9, (40, 30), np.uint8)
    for name in ("a.png", "b.png"):
        write_mask(tmp_path / name, label_map.copy(), palette, {"k": "v", "l": "w"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    turned = np.asfortranarray(label_map)  # other strides, the same values
    write_mask(tmp_path / "a.png", turned, palette, {"k": "v", "l": "w"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("mode", ["I;16", "F", "I"])
def test_a_picture_that_is_no_mask_is_an_error_that_names_it(tmp_path: Path, mode: str) -> None:
    suffix = "png" if mode == "I;16" else "tif"
    Image.new(mode, (4, 3)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match=rf"a\.{suffix}: a mask must have 8 bits a channel"):
        read_mask(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: not a picture"):
        read_mask(tmp_path / "a.png")


def test_a_mask_cut_short_is_an_error(tmp_path: Path) -> None:
    label_map = np.random.default_rng(0).integers(0, 9, (100, 100), np.uint8)
    write_mask(tmp_path / "a.png", label_map, None)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"a\.png: image file is truncated"):
        read_mask(tmp_path / "a.png")


def test_a_damaged_mask_is_an_error_that_names_it(tmp_path: Path) -> None:
    label_map = np.random.default_rng(0).integers(0, 9, (900, 900), np.uint8)
    Image.fromarray(label_map).save(tmp_path / "a.png")  # in several chunks
    data = (tmp_path / "a.png").read_bytes()
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    (tmp_path / "a.png").write_bytes(data[:second] + b"\0\xff\0\xff" + data[second + 4 :])
    with pytest.raises(ValueError, match=r"a\.png: damaged: broken PNG file"):
        read_mask(tmp_path / "a.png")


def test_a_missing_mask_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told:
        read_mask(tmp_path / "a.png")
    assert str(told.value).count("a.png") == 1


def test_masks_of_fewer_bits_are_read_by_their_values(tmp_path: Path) -> None:
    label_map = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
    image = Image.fromarray(label_map)
    image.putpalette(PALETTE[:12])
    image.save(tmp_path / "a.png", bits=2)
    assert np.array_equal(read_mask(tmp_path / "a.png"), label_map)


def stamp_of(label_map: np.ndarray) -> dict[str, str]:
    values, counts = np.unique(label_map, return_counts=True)
    pixels = {str(value): int(count) for value, count in zip(values, counts, strict=True)}
    return {STAMP: json.dumps({"account": {"pixels": pixels}})}


@settings(max_examples=60, deadline=None)
@given(label_map=LABEL_MAPS, palette=st.sampled_from([PALETTE, None]), stamped=st.booleans())
def test_the_counts_of_a_mask_are_those_of_its_pixels(
    tmp_path_factory: pytest.TempPathFactory,
    label_map: np.ndarray,
    palette: bytes | None,
    stamped: bool,
) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, label_map, palette, stamp_of(label_map) if stamped else None)
    size, counts = count_values(path)
    assert size == label_map.shape
    values = np.unique(label_map).tolist()
    assert counts == {value: int((label_map == value).sum()) for value in values}


def test_a_mask_that_carries_its_counts_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_map = np.random.default_rng(0).integers(0, 9, (400, 300), np.uint8)  # chunks of data
    write_mask(tmp_path / "a.png", label_map, PALETTE, stamp_of(label_map))
    monkeypatch.setattr(Image, "open", None)
    assert count_values(tmp_path / "a.png")[1] == dict(
        enumerate(np.bincount(label_map.ravel()).tolist())
    )


@pytest.mark.parametrize("how", ["saved anew", "other account", "foreign text", "added chunk"])
def test_counts_are_not_believed_of_a_mask_that_was_changed(tmp_path: Path, how: str) -> None:
    path, label_map = tmp_path / "a.png", np.ones((20, 30), np.uint8)
    write_mask(path, label_map, PALETTE, stamp_of(label_map))
    text = stamp_of(label_map)[STAMP]
    label_map = label_map * 2
    if how == "other account":
        label_map = label_map[:10]
    elif how == "foreign text":
        text = "{"
    info = PngImagePlugin.PngInfo()
    info.add_text(STAMP, text)
    if how == "added chunk":
        info.add_text("Software", "an editor")
    level = 6 if how == "saved anew" else 1
    Image.fromarray(label_map).save(path, pnginfo=info, compress_level=level)
    assert count_values(path)[1] == {2: label_map.size}


@pytest.mark.parametrize("damage", ["header only", "cut", "bit"])
def test_a_damaged_mask_is_not_counted(tmp_path: Path, damage: str) -> None:
    path, label_map = tmp_path / "a.png", np.ones((20, 30), np.uint8)
    write_mask(path, label_map, PALETTE, stamp_of(label_map))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes({"header only": data[:40], "cut": data[:-30], "bit": data}[damage])
    with pytest.raises((ValueError, OSError, SyntaxError)):
        count_values(path)


def test_what_a_colour_picture_carries_is_not_believed(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(STAMP, stamp_of(np.ones((20, 30), np.uint8))[STAMP])
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png", pnginfo=info, compress_level=1)
    assert count_values(tmp_path / "a.png") == ((20, 30), {0: 600})


GRAYS = np.array([[0, 7, 7], [255, 1, 0]], np.uint8)
FORMS = {
    "RGB": Image.fromarray(GRAYS).convert("RGB"),
    "RGBA": Image.fromarray(np.dstack([GRAYS, GRAYS, GRAYS, 255 - GRAYS])),
    "LA": Image.fromarray(GRAYS).convert("LA"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by_color", [False, True])
def test_three_equal_channels_are_the_number_they_show(
    tmp_path: Path, form: str, by_color: bool
) -> None:
    FORMS[form].save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png", by_color=by_color)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, GRAYS)
    assert count_values(tmp_path / "a.png")[1] == {0: 2, 1: 1, 7: 2, 255: 1}


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[255, 0]]
    assert count_values(tmp_path / "a.png")[1] == {0: 1, 255: 1}


COLORED = np.array([[[128, 0, 0], [1, 2, 3]], [[9, 9, 9], [128, 0, 0]]], np.uint8)


@pytest.mark.parametrize("form", ["RGB", "RGBA", "P"])
def test_colours_are_numbers_beyond_those_of_grays(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.png"
    if form == "P":
        image = Image.fromarray(np.array([[2, 0], [1, 2]], np.uint8))
        image.putpalette([1, 2, 3, 9, 9, 9, 128, 0, 0])
        image.save(path)
        assert read_mask(path).tolist() == [[2, 0], [1, 2]]
        assert count_values(path)[1] == {0: 1, 1: 1, 2: 2}
    else:
        Image.fromarray(COLORED).convert(form).save(path)
    expected = [[number_of((128, 0, 0)), number_of((1, 2, 3))], [9, number_of((128, 0, 0))]]
    assert read_mask(path, by_color=True).tolist() == expected
    counts = count_values(path, by_color=True)[1]
    assert counts == {expected[0][0]: 2, expected[0][1]: 1, 9: 1}
    assert [value_of(number) for number in sorted(counts)] == [9, (1, 2, 3), (128, 0, 0)]


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: a mask must have 1,024 colours at most"):
        count_values(tmp_path / "a.png")


def test_a_jpeg_is_no_mask_whatever_its_suffix(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "a.png", "JPEG")
    for read in (read_mask, count_values):
        with pytest.raises(ValueError, match=r"a\.png: a mask must be a PNG, got JPEG"):
            read(tmp_path / "a.png")
