import numpy as np
import pytest

from datasets.label_sets import GROUPS
from datasets.labels import IGNORE_INDEX, IGNORED
from datasets.visualize import colorize, outline_width, outlines, overlay, panel

PALETTE = GROUPS.palette()
IMAGE = np.full((7, 9, 3), 100, np.uint8)


def blob() -> np.ndarray:
    """A 5x5 square of label 1 in a 7x9 background."""
    label_map = np.zeros((7, 9), np.uint8)
    label_map[1:6, 2:7] = 1
    return label_map


def test_colorize_gives_each_label_its_colour() -> None:
    colors = colorize(np.array([[0, 1], [9, IGNORE_INDEX]], np.uint8), PALETTE)
    expected = [[(0, 0, 0), GROUPS.labels[1].color], [GROUPS.labels[9].color, IGNORED.color]]
    assert colors.tolist() == np.array(expected).tolist()
    assert colors.dtype == np.uint8


def test_overlay_leaves_the_background_and_tints_the_rest() -> None:
    picture = overlay(IMAGE, blob(), PALETTE)
    assert np.array_equal(picture[blob() == 0], IMAGE[blob() == 0])
    assert picture[3, 4].tolist() == [178, 50, 90]  # (255, 0, 80) at a half over 100
    assert picture[1, 2].tolist() == [255, 0, 80]


def test_outlines_are_the_labelled_pixels_that_touch_another_label() -> None:
    expected = np.zeros((7, 9), bool)
    expected[1:6, 2:7] = True
    expected[2:5, 3:6] = False
    assert np.array_equal(outlines(blob()), expected)


def test_outlines_run_between_labels_and_not_along_the_picture_edge() -> None:
    assert outlines(np.array([[1, 1, 1, 2, 2, 2]], np.uint8)).tolist() == [
        [False, False, True, True, False, False]
    ]


def test_ignored_pixels_are_striped() -> None:
    picture = overlay(np.zeros((16, 16, 3), np.uint8), np.full((16, 16), 255, np.uint8), PALETTE)
    touched = picture.any(axis=2)
    assert 0.3 < touched.mean() < 0.7
    assert not np.array_equal(touched[0], touched[4])


def test_overlay_refuses_a_label_map_of_another_size() -> None:
    with pytest.raises(ValueError, match="label map"):
        overlay(IMAGE, blob().T, PALETTE)


def test_panel_puts_pictures_of_any_size_side_by_side() -> None:
    red, blue = np.full((2, 3, 3), (255, 0, 0), np.uint8), np.full((4, 1, 3), 7, np.uint8)
    picture = panel([red, blue], gap=2)
    assert picture.shape == (4, 3 + 2 + 3, 3)  # each has the place of the largest
    assert np.array_equal(picture[:2, :3], red)
    assert np.array_equal(picture[:, 5:6], blue)
    for rest in (picture[:, 3:5], picture[2:, :3], picture[:, 6:]):
        assert (rest == 255).all()


def test_panel_breaks_after_the_given_number_of_columns() -> None:
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 30)]
    picture = panel(pictures, columns=2, gap=1)
    assert picture.shape == (5, 5, 3)
    assert [int(picture[row, column, 0]) for row, column in ((0, 0), (0, 3), (3, 0), (3, 3))] == [
        10,
        20,
        30,
        255,
    ]


def test_wide_outlines_are_white_outside_and_coloured_inside() -> None:
    label_map = np.zeros((20, 20), np.uint8)
    label_map[:, :10] = 1
    picture = overlay(np.full((20, 20, 3), 100, np.uint8), label_map, PALETTE, outline=4)
    row = picture[5].tolist()
    assert row[10:] == [[100, 100, 100]] * 10
    assert row[8:10] == [[255, 255, 255]] * 2
    assert row[6:8] == [[255, 0, 80]] * 2
    assert row[:6] == [[178, 50, 90]] * 6


def test_overlays_of_large_pictures_are_made_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    image = chance.integers(0, 256, (50, 30, 3), np.uint8)
    label_map = chance.choice(np.array([0, 1, 2, 255], np.uint8), (50, 30))
    whole = overlay(image, label_map, PALETTE, outline=2)
    monkeypatch.setattr("datasets.visualize.BAND", 7 * 30)
    assert np.array_equal(overlay(image, label_map, PALETTE, outline=2), whole)


def test_outlines_are_wider_in_large_pictures() -> None:
    assert [outline_width(size) for size in ((9, 9), (256, 256), (480, 640), (3000, 4000))] == [
        *(1, 1, 2, 10)
    ]
