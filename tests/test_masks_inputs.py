"""What a run must not replace, and several runs at once; files in other clothes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mask_command import arguments, edit, files, run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("how", ["utf-16", "utf-16-le with mark", "pipe", "stdin"])
def test_annotations_in_other_clothes_are_read(tiny_coco: Path, how: str) -> None:
    assert run(tiny_coco) == 0
    expected = {k: v for k, v in files(tiny_coco / "masks").items() if k.endswith(".png")}
    path = tiny_coco / "annotations" / "instances_train2017.json"
    text, out = path.read_text(encoding="utf-8"), tiny_coco / "again"
    if how.startswith("utf-16"):
        path.write_text(text, encoding="utf-16")
        assert run(tiny_coco, "--output_dir", out) == 0
    elif how == "pipe":
        pipe = tiny_coco / "pipe.json"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        assert run(tiny_coco, "--output_dir", out, "--annotations_file", pipe) == 0
        writer.join()
    else:
        command = arguments(tiny_coco, "--output_dir", out, "--annotations_file", "/dev/stdin")
        subprocess.run([sys.executable, str(ROOT / "generate_masks.py"), *command],
                       input=text, text=True, check=True)  # fmt: skip
    assert {k: v for k, v in files(out).items() if k.endswith(".png")} == expected


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii"])
def test_a_terminal_without_the_letters_ends_nothing(tiny_coco: Path, encoding: str) -> None:
    edit(tiny_coco, lambda data: data["categories"][0].update(name="\U0001f98a \u72d0"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "generate_masks.py"), *arguments(tiny_coco, "--no_grouping")],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0 and b"masks written" in done.stdout, done.stderr
