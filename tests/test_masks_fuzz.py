"""Random damage to annotations: none may crash, hang, or harm a good annotation beside it.

Runs a few seconds within the suite. FUZZ_SECONDS=1200 in the environment makes it run longer, and
COCO_DIR makes it damage real annotations. The work is done by a child process, so that a crash of
the interpreter is seen; the case at hand stands in a file, so that it can be had again:

    FUZZ_SECONDS=1200 COCO_DIR=... python -m pytest tests/test_masks_fuzz.py -s
    python tests/test_masks_fuzz.py SECONDS SEED CASE_FILE      the child alone
"""

from __future__ import annotations

import copy
import faulthandler
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from conftest import tiny_annotations
from oracles import annotation_region, drawable_parts

from datasets.coco.records import ImageEntry
from datasets.label_sets import GROUPS
from datasets.masks.account import Account
from datasets.masks.label_map import Rules, draw_label_map

SLOWEST = 1.0  # seconds that one image may take
LIVING = GROUPS.names.index("living")

NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, -(2**31), 2**32, 2**63, -(2**63), 2**64, 10**30,
    1e-300, 1e18, 1e300, float("nan"), float("inf"), float("-inf"), "", "0", "1", "PPYo", "o" * 40,
    "\x00", "\u00e9", "\ud800", [], [[]], [[[]]], {}, {"size": [1, 1], "counts": [1]}, [None],
    [0] * 4, [1e9] * 6, [float("nan")] * 6, ["1"] * 6, [[1, 2], [3, 4], [5, 6]], list(range(100)),
]  # fmt: skip


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    if not isinstance(value, dict | list):
        return []
    found = [(value, key) for key in (value if isinstance(value, dict) else range(len(value)))]
    for container, key in found[:50]:  # long lists of numbers hold nothing deeper
        found += spots(container[key])
    return found


def mutate(record: dict[str, Any], rng: random.Random) -> None:
    """Damage one spot of a JSON object."""
    container, key = rng.choice(spots(record["segmentation"] if rng.random() < 0.8 else record))
    value = container[key]
    kind = rng.randrange(9)
    if kind <= 2:
        container[key] = copy.deepcopy(rng.choice(NASTY))
    elif kind == 3:
        del container[key]
    elif kind == 4:
        container[key] = [value] if rng.random() < 0.5 else {"counts": value, "size": value}
    elif kind == 5 and isinstance(value, int | float):
        scaled = value * 10 ** rng.randrange(20)
        container[key] = rng.choice([-value, scaled, value + 0.5, value + 1])
    elif kind == 6 and isinstance(value, str) and value:
        position = rng.randrange(len(value))
        piece = rng.choice(["", chr(rng.randrange(32, 128)), chr(rng.randrange(1, 0x3000)), "oooo"])
        container[key] = value[:position] + piece + value[position + rng.randrange(3) :]
    elif kind == 7 and isinstance(container, list):
        container[rng.randrange(len(container))] = value
        rng.shuffle(container)
    elif isinstance(value, list):
        cut = rng.randrange(len(value) + 1)
        container[key] = value[:cut] + value[cut:] * rng.randrange(3)
    else:
        container[key] = rng.random() * 10 ** rng.randrange(12)


def damaged(record: dict[str, Any], rng: random.Random) -> bytes:
    """The JSON text of an annotation after some damage to its values or its bytes."""
    record = copy.deepcopy(record)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if isinstance(record.get("segmentation"), dict | list) and record["segmentation"]:
            mutate(record, rng)
    text = bytearray(json.dumps(record).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 5)):
            position = rng.randrange(len(text) + 1)
            piece = rng.choice([b"", b"[", b"]", b"{", b'"', b"\\", b",", b"-", b"e9", b"9" * 30,
                                b"\0", bytes([rng.randrange(256)])])  # fmt: skip
            text[position : position + rng.randrange(3)] = piece
            if not text:
                break
    return bytes(text)


def expected_label_map(image: ImageEntry, good: np.ndarray, text: bytes, account: Account) -> Any:
    """What the image must look like; None where a part was dropped, so that nobody can say."""
    expected = good * np.uint8(LIVING)
    if account.skipped_annotations.by_reason or account.unmapped:
        return expected
    if account.dropped_polygons.by_reason:
        return None
    record = json.loads(text)
    if isinstance(record["segmentation"], dict):
        record["segmentation"]["size"] = [image.height, image.width]
        parts = [record["segmentation"]]
    else:
        parts = drawable_parts(record["segmentation"])
    region = np.zeros_like(good)
    for part in parts:
        region |= annotation_region({"segmentation": part}, image.height, image.width)
    (category,) = account.drawn - Counter(["person"]) or ["person"]
    expected[region & ~good] = GROUPS.index_by_category[category]
    return expected


def sources() -> list[tuple[ImageEntry, dict[str, Any]]]:
    """(image, annotation) pairs to damage: those of COCO_DIR, or the tiny ones."""
    folder = os.environ.get("COCO_DIR")
    data = tiny_annotations()
    if folder:
        data = json.loads(Path(folder, "annotations", "instances_val2017.json").read_text())
    images = {
        image["id"]: ImageEntry(image["id"], "a.jpg", image["height"], image["width"])
        for image in data["images"]
    }
    return [(images[record["image_id"]], record) for record in data["annotations"]]


def fuzz(seconds: float, seed: int, case_file: Path) -> dict[str, Any]:
    """Damage annotations for some seconds; the figures, or an AssertionError."""
    rng = random.Random(seed)
    pairs = sources()
    categories = {1: "person", 3: "car", 15: "bench", 44: "bottle", 53: "apple", 62: "chair"}
    rules = Rules(GROUPS, (categories,), "priority", "paint")
    reasons: Counter[str] = Counter()
    cases, slowest, deadline = 0, 0.0, time.monotonic() + seconds
    with case_file.open("r+b", buffering=0) as last:
        while time.monotonic() < deadline:
            image, record = rng.choice(pairs)
            record = {**record, "category_id": rng.choice([3, 15, 44, 53, 62])}
            text = damaged(record, rng)
            last.seek(0)
            last.truncate()
            last.write(f"{image.height} {image.width}\n".encode() + text)
            good, good_text = good_annotation(image, rng)
            texts = [good_text, text] if rng.random() < 0.5 else [text, good_text]
            started = time.process_time()
            label_map, account = draw_label_map(image, texts, rules)
            slowest = max(slowest, time.process_time() - started)
            assert slowest < SLOWEST, f"took {slowest:.2f} s"
            assert label_map.shape == good.shape and (label_map[good] == LIVING).all()
            expected = expected_label_map(image, good, text, account)
            assert expected is None or np.array_equal(label_map, expected)
            json.dumps(account.to_stamp(), ensure_ascii=False, allow_nan=False).encode()
            skips = account.skipped_annotations, account.dropped_polygons
            reasons.update(skips[0].by_reason)
            reasons["(a part dropped)"] += bool(skips[1].items)
            reasons["(drawn)"] += not any(each.items for each in skips)
            cases += 1
    return {"cases": cases, "slowest": round(slowest, 3), "reasons": dict(reasons.most_common())}


def good_annotation(image: ImageEntry, rng: random.Random) -> tuple[np.ndarray, bytes]:
    """A rectangle somewhere in the image: its region, and its annotation as JSON text."""
    top, left = rng.randrange(image.height), rng.randrange(image.width)
    bottom, right = rng.randint(top + 1, image.height), rng.randint(left + 1, image.width)
    region = np.zeros((image.height, image.width), bool)
    region[top:bottom, left:right] = True
    polygon = [left, top, right, top, right, bottom, left, bottom]
    record = {"id": 0, "image_id": image.id, "category_id": 1, "segmentation": [polygon]}
    return region, json.dumps(record).encode()


def test_damaged_annotations_harm_nothing_but_themselves(tmp_path: Path) -> None:
    seconds = float(os.environ.get("FUZZ_SECONDS", "5"))
    seed = random.SystemRandom().randrange(10**6) if "FUZZ_SECONDS" in os.environ else 1
    case_file = tmp_path / "case"
    case_file.touch()
    command = [sys.executable, __file__, str(seconds), str(seed), str(case_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    assert done.returncode == 0, (
        f"seed {seed}, exit {done.returncode}: {done.stderr[-3000:]}\nlast case: "
        f"{case_file.read_bytes()[:3000]!r}"
    )
    figures = json.loads(done.stdout)
    print(f"seed {seed}: {json.dumps(figures, indent=2)}")
    assert figures["cases"] > 100 * seconds
    assert len(figures["reasons"]) > 15  # the damage is of many kinds


if __name__ == "__main__":
    faulthandler.enable()
    print(json.dumps(fuzz(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
