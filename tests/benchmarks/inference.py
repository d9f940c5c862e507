"""inference.py beside the loop that one would write, in one run on one machine.

    python tests/benchmarks/inference.py IMAGES_DIR --checkpoint runs/NAME [--compile]

Each way is a process of its own that reads photos, predicts, and writes masks and overlays. Timed
is what further photos cost: a run over all of them less a run over the first few, so that loading
PyTorch (and compiling, if asked for) does not count. Without --checkpoint a full-size network of
random weights is used: good for times, not for the agreement of predictions.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FEATURES = (64, 128, 256, 512)
FEW = 8


def plain(images_dir: Path, checkpoint: Path, output_dir: Path) -> None:
    """Float32, one image at a time, decode, run, encode, in series."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn import functional as F

    from datasets.labels import LabelSet
    from models.checkpoint import load_checkpoint, model_from_checkpoint
    from models.prediction import View

    loaded = load_checkpoint(checkpoint)
    model = model_from_checkpoint(loaded)
    palette = LabelSet.from_dict(loaded["label_set"]).palette()
    colors = np.array(palette, np.uint8).reshape(256, 3)
    for name in ("masks", "overlays"):
        (output_dir / name).mkdir(parents=True)
    for path in sorted(images_dir.iterdir()):
        pixels = np.array(Image.open(path).convert("RGB"))
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        with torch.no_grad():
            logits = model(View.of(loaded["image_size"])(image)[None])
        logits = F.interpolate(logits, pixels.shape[:2], mode="bilinear", align_corners=False)
        label_map = logits[0].argmax(0).to(torch.uint8).numpy()
        mask = Image.fromarray(label_map)
        mask.putpalette(palette)
        mask.save(output_dir / "masks" / f"{path.stem}.png")
        blend = np.where(label_map[..., None] > 0, pixels // 2 + colors[label_map] // 2, pixels)
        Image.fromarray(blend).save(output_dir / "overlays" / f"{path.stem}.jpg", quality=92)


def random_checkpoint(path: Path) -> Path:
    """A full-size network whose weights nobody trained."""
    import torch

    from datasets.label_sets import GROUPS
    from models import build_model
    from models.checkpoint import save_checkpoint

    torch.manual_seed(0)
    kwargs = {"num_labels": len(GROUPS), "features": list(FEATURES), "dropout": 0.0}
    model = build_model("residual_attention_unet", **kwargs)
    save_checkpoint(
        path,
        {
            "model": {"name": "residual_attention_unet", "kwargs": kwargs},
            "model_state": model.state_dict(),
            "label_set": GROUPS.to_dict(),
            "image_size": 256,
        },
    )
    return path


def link_images(source: Path, folder: Path, count: int) -> Path:
    """``count`` photos, those of ``source`` over and over."""
    folder.mkdir()
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    for number, path in zip(range(count), itertools.cycle(paths), strict=False):
        (folder / f"{number:05}{path.suffix}").symlink_to(path.resolve())
    return folder


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return time.perf_counter() - start


def agreement(first: Path, second: Path) -> float:
    """Share of pixels with the same label in the masks of two prediction folders."""
    import numpy as np
    from PIL import Image

    same = total = 0
    for path in sorted((first / "masks").iterdir()):
        one, other = (np.array(Image.open(out / "masks" / path.name)) for out in (first, second))
        same += int((one == other).sum())
        total += one.size
    return same / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images_dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="file, or run folder: its best")
    parser.add_argument("--images", type=int, default=72)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="time --compile too")
    args = parser.parse_args()

    from runtime.run_folder import find_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.checkpoint:
            checkpoint = find_checkpoint(args.checkpoint, "best.pt")
        else:
            checkpoint = random_checkpoint(folder / "random.pt")
        inputs = {
            count: link_images(args.images_dir, folder / f"in{count}", count)
            for count in (FEW, args.images)
        }
        compare(folder, inputs, checkpoint, args.rounds, compiled=args.compile)


def compare(
    folder: Path, inputs: dict[int, Path], checkpoint: Path, rounds: int, *, compiled: bool
) -> None:
    def ours(*flags: str) -> Callable[[Path, Path], list[str]]:
        program = [sys.executable, str(ROOT / "inference.py"), "--checkpoint", str(checkpoint)]
        return lambda images, out: [
            *(*program, "--images_dir", str(images), "--output_dir", str(out), *flags)
        ]

    this = [sys.executable, __file__, "--plain"]
    ways: dict[str, Callable[[Path, Path], list[str]]] = {
        "plain loop, float32": lambda images, out: [*this, *map(str, (images, checkpoint, out))],
        "inference.py --amp off": ours("--amp", "off"),
        "inference.py": ours(),
    }
    if compiled:
        ways["inference.py --compile"] = ours("--compile")
        # The first run makes the code, the others find it in PyTorch's cache.
        seconds_of(ways["inference.py --compile"](inputs[FEW], folder / "warm"))
    each: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for index, (way, command) in enumerate(ways.items()):
            times = {
                count: seconds_of(command(images, folder / f"out{index}_{count}_{number}"))
                for count, images in inputs.items()
            }
            few, many = sorted(times)
            each[way].append((times[many] - times[few]) / (many - few))
            print(f"round {number + 1}: {way}: {1000 * each[way][-1]:.0f} ms an image", flush=True)
    many = max(inputs)
    first = statistics.median(each["plain loop, float32"])
    print(f"\n{many} photos, median of {rounds} rounds taken in turn, {os.cpu_count()} cores")
    print(f"{'way':<24}{'ms an image':>12}{'images/s':>10}{'times as fast':>15}{'same pixels':>13}")
    for index, (way, seconds) in enumerate(each.items()):
        middle = statistics.median(seconds)
        same = agreement(folder / f"out0_{many}_0", folder / f"out{index}_{many}_0")
        print(
            f"{way:<24}{1000 * middle:>12.0f}{1 / middle:>10.2f}{first / middle:>15.2f}"
            f"{100 * same:>12.2f}%"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        plain(*map(Path, sys.argv[2:]))
    else:
        main()
