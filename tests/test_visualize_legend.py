"""Legends and names: nothing of the picture is lost, every label is told."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.label_sets import GROUPS
from datasets.labels import Label, LabelSet
from datasets.visualize import _inmost, with_legend, with_names

GRAY = np.full((60, 200, 3), 100, np.uint8)


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, 3).tolist()}


def halves() -> np.ndarray:
    """Label 1 on the left, label 9 on the right, a background between."""
    label_map = np.zeros((60, 200), np.uint8)
    label_map[:, :90], label_map[:, 110:] = 1, 9
    return label_map


def test_the_picture_stays_where_it_was_and_the_legend_is_below() -> None:
    picture = with_legend(GRAY, halves(), GROUPS)
    assert np.array_equal(picture[:60, :200], GRAY)
    shown = colors_in(picture[60:])
    assert {GROUPS.labels[1].color, GROUPS.labels[9].color} <= shown
    assert GROUPS.labels[2].color not in shown


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (2000, 3000)])
def test_a_legend_fits_below_pictures_of_any_size(size: tuple[int, int]) -> None:
    label_map = np.resize(np.arange(10, dtype=np.uint8), size)
    picture = with_legend(np.zeros((*size, 3), np.uint8), label_map, GROUPS)
    assert picture.shape[0] > size[0] and picture.shape[1] >= size[1]


def test_only_background_is_told_too() -> None:
    picture = with_legend(GRAY, np.zeros((60, 200), np.uint8), GROUPS)
    assert (picture[60:] != 255).any()


def test_names_in_other_scripts_do_no_harm() -> None:
    label_set = LabelSet("x", (GROUPS.labels[0], Label("動物 🦓 ü", (9, 9, 9))))
    label_map = np.ones((60, 200), np.uint8)
    assert with_legend(GRAY, label_map, label_set).shape[0] > 60
    assert with_names(GRAY, label_map, label_set).shape == GRAY.shape


def test_names_are_written_on_large_labels_inside_the_picture() -> None:
    picture = with_names(GRAY, halves(), GROUPS)
    changed = (picture != GRAY).any(axis=2)
    assert changed[:, :90].any() and changed[:, 110:].any()
    assert not changed[:, 90:110].any()
    tiny = np.zeros((60, 200), np.uint8)
    tiny[:5, :5] = 1
    assert np.array_equal(with_names(GRAY, tiny, GROUPS), GRAY)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (5, 1000), (1000, 5), (7, 900)])
def test_names_do_no_harm_to_pictures_of_any_shape(size: tuple[int, int]) -> None:
    picture = with_names(np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8), GROUPS)
    assert picture.shape == (*size, 3)


def test_a_name_stands_in_the_widest_part_of_its_label() -> None:
    region = np.zeros((20, 40), bool)
    region[2:9, 3:10] = True  # a square
    region[5, 10:38] = True  # with a tail
    assert _inmost(region) == (5, 6)
    line = np.zeros((5, 5), bool)
    line[2, :] = True
    assert _inmost(line) == (2, 2)


def test_two_names_are_never_written_on_each_other() -> None:
    label_map = np.zeros((60, 200), np.uint8)
    label_map[10:50, 80:100], label_map[10:50, 100:110] = 8, 9  # household, electronics
    both = with_names(GRAY, label_map, GROUPS)
    label_map[label_map == 9] = 0
    assert np.array_equal(both, with_names(GRAY, label_map, GROUPS))
