"""The report of a confusion matrix, against two loops over random label maps."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import scores
from metrics.confusion_matrix import confusion_matrix
from metrics.scores import image_row, report_dict, score_table

IGNORE = 255
NAMES = ["background", "living", "vehicles", "urban"]
SCORES = ("iou", "dice", "accuracy")
LabelMap = list[list[int]]


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[LabelMap, LabelMap]:
    """Truth and prediction of one size, from a part of the labels each, the truth ignored in part.

    What is predicted where the truth is ignored may be any number, even one that is no label.
    """
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    labels = st.sets(st.integers(0, len(NAMES) - 1), min_size=1)
    true = st.sampled_from([*draw(labels), IGNORE])
    predicted = st.sampled_from([*draw(labels)])
    rows = range(height)
    truth = [[draw(true) for _ in range(width)] for _ in rows]
    prediction = [
        [draw(predicted) if value != IGNORE else draw(st.integers(0, 255)) for value in truth[y]]
        for y in rows
    ]
    return truth, prediction


def slow_report(truth: LabelMap, prediction: LabelMap) -> dict[str, Any]:
    """Every score, from two loops over the pixels for each label."""
    pairs = []
    for y in range(len(truth)):
        for x in range(len(truth[y])):
            if truth[y][x] != IGNORE:
                pairs.append((truth[y][x], prediction[y][x]))
    labels = []
    for label, name in enumerate(NAMES):
        true = sum(t == label for t, _ in pairs)
        predicted = sum(p == label for _, p in pairs)
        both = sum(t == p == label for t, p in pairs)
        either = true + predicted - both
        labels.append(
            {
                "name": name,
                "iou": both / either if either else None,
                "dice": 2 * both / (true + predicted) if either else None,
                "accuracy": both / true if true else None,
                "true_pixels": true,
                "predicted_pixels": predicted,
            }
        )
    background = sum(t == 0 for t, _ in pairs)
    present = {t for t, _ in pairs} | {0}
    return {
        "labels": labels,
        "mean": {score: mean([label[score] for label in labels]) for score in SCORES},
        "mean_without_background": {
            score: mean([label[score] for label in labels[1:]]) for score in SCORES
        },
        "pixel_accuracy": sum(t == p for t, p in pairs) / len(pairs) if pairs else None,
        "background_everywhere": {
            "mean_iou": background / len(pairs) / len(present) if pairs else None,
            "pixel_accuracy": background / len(pairs) if pairs else None,
        },
        "absent": [label["name"] for label in labels if label["iou"] is None],
        "confusion": [
            [sum(pair == (t, p) for pair in pairs) for p in range(len(NAMES))]
            for t in range(len(NAMES))
        ],
    }


def mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def close(value: Any, expected: Any) -> bool:
    """The same structure and types, floats but for rounding."""
    assert type(value) is type(expected), (value, expected)
    if isinstance(value, dict):
        assert list(value) == list(expected)
        return all(close(value[key], expected[key]) for key in value)
    if isinstance(value, list):
        return len(value) == len(expected) and all(map(close, value, expected))
    if isinstance(value, float):
        return math.isclose(value, expected, rel_tol=1e-12)
    return bool(value == expected)


@settings(deadline=None)
@given(label_maps())
def test_the_report_equals_two_loops_over_the_pixels(maps: tuple[LabelMap, LabelMap]) -> None:
    truth, prediction = maps
    counts = confusion_matrix(torch.tensor(truth), torch.tensor(prediction), len(NAMES), IGNORE)
    report = report_dict(counts, NAMES)
    expected = slow_report(truth, prediction)
    assert close(report, expected), (report, expected)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert score_table(counts, NAMES).count("in no mean") == bool(expected["absent"])


@settings(deadline=None)
@given(label_maps())
def test_background_everywhere_counts_as_that_prediction_does(
    maps: tuple[LabelMap, LabelMap],
) -> None:
    truth, prediction = (torch.tensor(values) for values in maps)
    counts = confusion_matrix(truth, prediction, len(NAMES), IGNORE)
    expected = confusion_matrix(truth, torch.zeros_like(truth), len(NAMES), IGNORE)
    assert torch.equal(scores.background_everywhere(counts), expected)


def test_an_image_has_the_same_scores_in_scores_csv() -> None:
    counts = torch.tensor([[5, 1, 0], [2, 3, 0], [0, 0, 0]])
    report = report_dict(counts, NAMES[:3])
    assert image_row(counts, NAMES[:3]) == {
        "mean_iou": report["mean"]["iou"],
        "pixel_accuracy": report["pixel_accuracy"],
        **{f"iou/{label['name']}": label["iou"] for label in report["labels"]},
    }
    assert report["labels"][2]["iou"] is None


def test_the_table_names_each_label_and_those_that_no_mean_counts() -> None:
    counts = torch.tensor([[90, 10, 0], [0, 0, 0], [0, 0, 0]])
    lines = score_table(counts, ["background", "living", "urban"]).splitlines()
    assert lines[0].split() == ["label", "IoU", "Dice", "accuracy", "pixels"]
    assert lines[1].split() == ["background", "90.0%", "94.7%", "90.0%", "100.0%"]
    assert lines[2].split() == ["living", "0.0%", "0.0%", "-", "0.0%"]
    assert lines[3].split() == ["urban", "-", "-", "-", "0.0%"]
    assert lines[4].split() == ["mean", "45.0%", "47.4%", "90.0%"]
    assert lines[5].split()[-3:] == ["0.0%", "0.0%", "-"]
    assert lines[6].split() == ["pixel", "accuracy", "90.0%"]
    assert lines[7].endswith("everywhere would have: mean IoU 100.0%, pixel accuracy 100.0%")
    assert lines[8].endswith(": urban")
    assert len(lines) == 9


def test_a_table_of_no_pixels_has_no_score() -> None:
    lines = score_table(torch.zeros(2, 2, dtype=torch.int64), NAMES[:2]).splitlines()
    assert lines[1].split() == ["background", "-", "-", "-", "-"]
    assert lines[-1].endswith(": background, living")
