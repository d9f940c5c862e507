"""Where the time of a training step and of a photo's prediction goes, as shares of 100 %.

    python tests/benchmarks/where_time_goes.py --encoder resnet18
    python tests/benchmarks/where_time_goes.py --features 64 128 256 512 --threads 1

PyTorch's profiler counts the time of each operation less that of those which it calls; what no
operation counts is Python. Convolutions are compared with a matrix product of the same type on the
same threads, which is what the processor can do. Random weights and images; nothing is loaded.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import untrained
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.label_sets import GROUPS  # noqa: E402
from datasets.mask_files import write_mask  # noqa: E402
from datasets.predictions.outputs import Segmented, write_overlay  # noqa: E402
from losses import build_loss  # noqa: E402
from models import model_spec  # noqa: E402
from models.learner import Learner  # noqa: E402
from models.predictor import Predictor  # noqa: E402
from runtime.devices import Machine  # noqa: E402

# The first that an operation's name contains.
KINDS = {
    "convolutions": ("convolution", "conv2d", "mkldnn_reorder"),
    "batch norm": ("batch_norm",),
    "activations": ("silu", "relu"),
    "attention": ("attention", "softmax_backward", "bmm", "baddbmm"),
    "optimizer and averages": ("adam", "lerp", "foreach"),
    "resizing": ("upsample", "interpolate"),
    "loss": ("softmax", "nll", "cross_entropy"),
    "pooling": ("pool",),
    "copies to other types and layouts": ("copy_", "to_copy", "contiguous", "clone", "cat"),
}
PYTHON = "Python, and all between operations"
OTHER = "all other operations"


def shares(work: Callable[[], Any], rounds: int) -> tuple[Counter[str], float]:
    """Seconds of one round by kind, and in all."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(rounds):
            work()
        seconds = (time.perf_counter() - start) / rounds
    found: Counter[str] = Counter()
    for row in profiler.key_averages():
        name = row.key.lower()
        kind = next((k for k, words in KINDS.items() if any(w in name for w in words)), OTHER)
        found[kind] += row.self_cpu_time_total / 1e6 / rounds
    found[PYTHON] = max(0.0, seconds - sum(found.values()))
    return found, seconds


def timed(work: Callable[[], Any], rounds: int) -> float:
    """Seconds of a round, the least of them."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def show(title: str, found: Counter[str], seconds: float) -> None:
    print(f"\n{title}: {1000 * seconds:.0f} ms")
    for kind, part in found.most_common():
        print(f"{kind:<44}{part / sum(found.values()):>7.1%}")


def multiplied(dtype: torch.dtype | None) -> float:
    """FLOP/s of a large matrix product."""
    one, other = (torch.randn(2048, 2048, dtype=dtype or torch.float32) for _ in range(2))
    one @ other
    return 2 * 2048**3 / timed(lambda: one @ other, 5)


def flops_of(model: torch.nn.Module, image_size: int, *, backward: bool) -> int:
    """Of one image, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        logits = model.to("meta")(torch.empty(1, 3, image_size, image_size, device="meta"))
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops())


def training(args: argparse.Namespace, spec: dict[str, Any], machine: Machine) -> None:
    model, _ = untrained(spec, args.image_size)
    loss = build_loss("dice_ce", torch.ones(len(GROUPS)), 255)
    learner = Learner(model, loss, machine, weight_decay=0.05, ema=0.99)
    learner.train()
    size = (args.batch_size, 3, args.image_size, args.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8)
    truth = (images[:, 0] // 26).clamp(max=len(GROUPS) - 1)
    step = lambda: float(learner.step(iter([(images, truth)]), 1, lr=1e-4))  # noqa: E731
    found, _ = shares(step, args.rounds)
    seconds = timed(step, args.rounds)
    show(f"a step of {args.batch_size} at {args.image_size}x{args.image_size}", found, seconds)
    flops = args.batch_size * flops_of(model, args.image_size, backward=True)
    told(flops / seconds, machine)


def prediction(args: argparse.Namespace, spec: dict[str, Any], machine: Machine) -> None:
    model, checkpoint = untrained(spec, args.image_size)
    jpeg = io.BytesIO()
    Image.effect_noise((640, 480), 64).convert("RGB").resize((640, 480)).save(jpeg, "JPEG")
    decode = lambda: np.array(Image.open(jpeg).convert("RGB"))  # noqa: E731
    pixels = decode()
    torch.set_num_threads(1)  # as inference.py works: a photo a thread
    with Predictor(checkpoint, machine, image_size=args.image_size) as predictor:
        predictor(pixels)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        resized = predictor.network.view(image)
        logits = predictor.network.forward(resized[None])[0]
        label_map = predictor(pixels)
        segmented = partial(Segmented, pixels, label_map, GROUPS, None)
        found, network = shares(lambda: predictor.network.forward(resized[None]), args.rounds)
        network = timed(lambda: predictor.network.forward(resized[None]), args.rounds)
        parts = Counter(
            {kind: part / sum(found.values()) * network for kind, part in found.items()}
        )
        parts["decoding"] = timed(decode, args.rounds)
        parts["resizing the photo"] = timed(lambda: predictor.network.view(image), args.rounds)
        finish = lambda: predictor._whole(logits, image)  # noqa: E731
        parts["logits at full size, best label"] = timed(finish, args.rounds)
        overlay = lambda: write_overlay(io.BytesIO(), segmented())  # noqa: E731
        parts["overlay: drawing, JPEG"] = timed(overlay, args.rounds)
        with tempfile.TemporaryDirectory() as folder:
            path, palette = Path(folder, "mask.png"), bytes(GROUPS.palette())
            mask = lambda: write_mask(path, label_map, palette, {})  # noqa: E731
            parts["mask: PNG, new file"] = timed(mask, args.rounds)
    seconds = sum(parts.values())
    show("a photo of 640x480, on one thread", parts, seconds)
    told(flops_of(model, args.image_size, backward=False) / network, machine)


def told(rate: float, machine: Machine) -> None:
    best = multiplied(machine.amp)
    text = f"{rate / 1e9:.0f} of {best / 1e9:.0f} GFLOP/s of a matrix product of the same type"
    print(f"{text}: {rate / best:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="residual")
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch; all cores if not given")
    parser.add_argument("--amp", default="auto")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    machine = Machine.choose("cpu", args.amp)
    spec = model_spec(args.encoder, len(GROUPS), features=args.features, dropout=0.0)
    print(f"{spec['name']}, {machine}, {machine.amp or torch.float32}")
    training(args, spec, machine)
    prediction(args, spec, machine)


if __name__ == "__main__":
    main()
