"""The picture of a confusion matrix, and what must never go wrong with a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metrics import plot
from metrics.plot import CELLS, RIGHT, WRONG, draw_confusion


@pytest.mark.parametrize("num_labels", [2, 12, 24, 81, 100])
def test_a_cell_is_the_share_of_its_row_right_in_blue_wrong_in_orange(num_labels: int) -> None:
    counts = np.eye(num_labels, dtype=int) * 7
    counts[0, 0] = 0
    counts[0, 1] = 9  # all of label 0 is taken for label 1
    counts[1] = 0  # label 1 is not in the truth
    names = [f"label {'with a long name ' * (n % 3)}{n}" for n in range(num_labels)]
    image = np.asarray(draw_confusion(counts.tolist(), names, "title"))
    cell = next(size[1] for size in CELLS if num_labels >= size[0])
    left, top = image.shape[1] - 24 - num_labels * cell, image.shape[0] - 24 - num_labels * cell
    if num_labels == 2:  # the title is wider than the cells
        left = int(np.argmax((image[-30] != 255).any(axis=1)))
    corners = image[top + 3 :: cell, left + 3 :: cell][:num_labels, :num_labels]
    assert (corners[0, 0] == 255).all() and (corners[0, 1] == WRONG).all()
    assert (corners[1] == 240).all()
    for label in range(2, num_labels):
        assert (corners[label, label] == RIGHT).all()
        assert (corners[label, :label] == 255).all()


def test_a_picture_that_cannot_be_made_is_told_and_none_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Image.Image:
        raise RuntimeError("odd letters")

    path = tmp_path / "confusion.png"
    path.write_bytes(b"of before")
    plot.save_picture(path, fail)
    told = ["confusion.png cannot be drawn, the rest goes on: RuntimeError: odd letters"]
    assert caplog.messages == told
    assert list(tmp_path.iterdir()) == []
    plot.save_picture(tmp_path / "missing" / "confusion.png", lambda: Image.new("L", (1, 1)))
    assert len(caplog.messages) == 2
