"""generate_masks.py run on a folder in COCO's layout, for the tests that meet it as its user."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import box_polygon, tiny_annotations

import generate_masks


def arguments(folder: Path, *flags: object) -> list[str]:
    """A command line on the folder in the layout of COCO; flags that come later count."""
    command = ["--images_dir", folder / "train2017", "--output_dir", folder / "masks"]
    command += ["--annotations_file", folder / "annotations" / "instances_train2017.json"]
    return [str(part) for part in [*command, "--workers", 1, *flags]]


def run(folder: Path, *flags: object) -> int:
    """Run the command in this process; its exit code."""
    try:
        return generate_masks.main(arguments(folder, *flags))
    except SystemExit as end:
        return int(end.code or 0)


def fails(capsys: pytest.CaptureFixture[str], folder: Path, *flags: object, code: int = 2) -> str:
    """Run the command, which must fail with the code and one line; that line."""
    assert run(folder, *flags) == code
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    ours = [line for line in errors.splitlines() if line]
    lines = [line for line in ours if not line.startswith(("usage:", " ", "WARNING:"))]
    assert len(lines) == 1, errors
    return lines[0]


def report(folder: Path, name: str = "masks/masks.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: name -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the annotation file."""
    path = folder / "annotations" / "instances_train2017.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "masks").glob("[!.]*.png")}


def write_many(folder: Path, count: int) -> None:
    """An annotation file of many images with a few rectangles each, without the images."""
    draw = random.Random(0)
    images = [
        {"id": n, "file_name": f"{n:04}.jpg", "height": 120, "width": 160} for n in range(count)
    ]
    annotations = []
    for number in range(3 * count):
        left, top = draw.randrange(120), draw.randrange(80)
        polygon = box_polygon(left, top, left + draw.randrange(5, 40), top + draw.randrange(5, 40))
        category = draw.choice([1, 3, 15, 44])
        annotations.append({"id": number, "image_id": number // 3, "category_id": category,
                            "segmentation": [polygon], "iscrowd": 0})  # fmt: skip
    data = {**tiny_annotations(), "images": images, "annotations": annotations}
    path = folder / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data))
    (folder / "train2017").mkdir()
