"""Mutated annotations: none may crash, hang, or harm the good annotation beside it.

Runs for FUZZ_SECONDS (default 4) from FUZZ_SEED (default 0), on annotations of COCO_DIR if that is
set, else on the tiny data set's. Python prints the seed of the round before each hundred, so that
a crash of the interpreter can be found again: pytest -s tests/test_fuzz.py.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from conftest import HEIGHT, WIDTH, box_polygon, tiny_annotations

from datasets.annotations import ImageEntry
from datasets.drawing import Rules, draw_label_map
from datasets.label_set import category_label_set

NUMBERS = [
    0, -1, 1, 0.5, -0.0, 1e-300, 1e300, -1e300, 2**31, 2**32, 2**63, 2**64, 10**400, -(2**31),
    float("nan"), float("inf"), float("-inf"), HEIGHT, WIDTH, HEIGHT * WIDTH, HEIGHT * WIDTH + 1,
]  # fmt: skip
ODDITIES = [None, True, False, "", "5", "nan", "\0", "ü", [], [[]], {}, {"counts": 3}]


def real_annotations() -> list[dict[str, Any]]:
    folder = os.environ.get("COCO_DIR")
    if not folder:
        return list(tiny_annotations()["annotations"])
    path = Path(folder, "annotations", "instances_val2017.json")
    return list(json.loads(path.read_text())["annotations"])[:2000]


def mutate(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """The value with one thing in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutate(rng, value[key], depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        return mutate_list(rng, value, depth)
    if isinstance(value, str) and value and rng.random() < 0.9:
        cut = rng.randrange(len(value))
        return (
            value[:cut]
            + rng.choice(["", "~", chr(rng.randrange(32, 127)), "P" * 9])
            + value[cut + 1 :]
        )
    return rng.choice([*NUMBERS, *ODDITIES, rng.uniform(-1e7, 1e7), rng.randrange(-(10**6), 10**6)])


def mutate_list(rng: random.Random, value: list[Any], depth: int) -> list[Any]:
    at = rng.randrange(len(value))
    action = rng.randrange(6)
    if action == 0:
        return value[:at]
    if action == 1:
        return value[:at] + value[at + 1 :]
    if action == 2:
        return [*value[:at], value[at], *value[at:]]
    if action == 3:
        return [*value, *(rng.choice(NUMBERS) for _ in range(rng.randrange(1, 9)))]
    return [*value[:at], mutate(rng, value[at], depth + 1), *value[at + 1 :]]


def mutate_text(rng: random.Random, text: bytes) -> bytes:
    """Bytes changed anywhere, so that it is often no JSON any more."""
    data = bytearray(text)
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.3 else data)


def test_no_mutation_crashes_hangs_or_harms_its_neighbour() -> None:
    seconds = float(os.environ.get("FUZZ_SECONDS", "4"))
    seed = int(os.environ.get("FUZZ_SEED", "0"))
    originals = real_annotations()
    categories = {id: f"category {id}" for id in range(100)}
    rules = Rules(category_label_set(categories.values()), categories, "later", "paint")
    image = ImageEntry(1, "image.jpg", HEIGHT, WIDTH)
    good = {"id": 1, "image_id": 1, "category_id": 98, "segmentation": [box_polygon(3, 4, 20, 25)]}
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[4:25, 3:20] = True
    end, rounds, slowest, drawn = time.monotonic() + seconds, 0, 0.0, 0
    while time.monotonic() < end:
        rng = random.Random(seed + rounds)
        if rounds % 100 == 0:
            print("seed", seed + rounds, flush=True)
        record = {**copy.deepcopy(rng.choice(originals)), "image_id": 1}
        if isinstance(record["segmentation"], dict) and rng.random() < 0.5:
            record["segmentation"]["size"] = [HEIGHT, WIDTH]
        for _ in range(rng.randrange(1, 4)):
            record = mutate(rng, record)
        text = json.dumps(record).encode()
        if rng.random() < 0.3:
            text = mutate_text(rng, text)
        start = time.perf_counter()
        label_map, account = draw_label_map(image, [text, json.dumps(good).encode()], rules)
        slowest = max(slowest, time.perf_counter() - start)
        rounds += 1
        drawn += account.drawn.total() > 1
        assert np.array_equal(label_map == 99, expected), f"seed {seed + rounds - 1}: {text!r}"
        assert account.annotations == 2
        assert account.drawn.total() + account.skipped.total() + account.unmapped.total() == 2
    print(f"{rounds:,} mutations, {drawn:,} drawn, slowest {slowest:.3f} s")
    assert slowest < 1, "a mutation took over a second"
