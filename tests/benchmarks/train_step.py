"""A step of train.py beside the step that one would write, in one run on one machine.

    python tests/benchmarks/train_step.py
    python tests/benchmarks/train_step.py --features 16 32 64 128 --image_size 64 --loss_steps 50
    python tests/benchmarks/train_step.py --device cuda --batch_size 64 --steps 50 --peak_tflops 989

The plain step: the same network, eager, float32, channels first, images as floats, Adam. Ways take
turns, each round in a process of its own, which tells its peak memory too. Every way sees the same
random images from the same first weights, so that the loss after --loss_steps can be compared.
On a GPU, times are between synchronisations, memory is PyTorch's, and the share of --peak_tflops
says how far the step is from what the chip can multiply.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WAYS = ("plain", "train.py", "train.py --amp off", "train.py --compile")
NUM_LABELS = 10
WARM_UP = 2


def measure(way: str, args: argparse.Namespace) -> dict[str, Any]:
    """Time steps of one way in this process."""
    import torch
    from torch import nn

    from losses.simple import SimpleLoss
    from models import build_model
    from models.learner import Learner
    from runtime.devices import Machine, pick_amp, pick_device

    device = pick_device(args.device)
    torch.manual_seed(0)
    model = build_model(
        "residual_attention_unet", num_labels=NUM_LABELS, features=tuple(args.features)
    )
    generator = torch.Generator().manual_seed(0)
    size = (args.batch_size, 3, args.image_size, args.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    # Labels that can be learned: how bright a pixel is.
    label_map = (images[:, 0] // 26).clamp(max=NUM_LABELS - 1)

    if way == "plain":
        model.to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        floats, truth = images.float().to(device) / 255, label_map.long().to(device)

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(floats), truth)
            loss.backward()
            optimizer.step()
            return loss.detach()
    else:
        amp = pick_amp("off" if way.endswith("off") else "auto", device)
        compiled = way.endswith("compile")
        learner = Learner(model, SimpleLoss(255), Machine(device, amp, compiled))
        learner.model.train()

        def step() -> torch.Tensor:
            return learner.step(iter([(images, label_map)]), 1, lr=1e-4)

    def timed(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            loss = step()
        float(loss)  # waits for the device
        return (time.perf_counter() - start) / count

    timed(WARM_UP)
    seconds = timed(args.steps)
    for _ in range(args.loss_steps - WARM_UP - args.steps - 1):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {"seconds": seconds, "peak_mb": peak, "loss": float(step())}


def flops_of_step(args: argparse.Namespace) -> int:
    """Multiplications and additions of a step, forward and backward, counted by PyTorch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from models import build_model

    model = build_model(
        "residual_attention_unet", num_labels=NUM_LABELS, features=tuple(args.features)
    ).to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, args.image_size, args.image_size, device="meta")).sum().backward()
    return int(counter.get_total_flops()) * args.batch_size


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loss_steps", type=int, default=0, help="compare the loss after these")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peak_tflops", type=float, help="of the device, in its fast precision")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def main() -> int:
    args = build_parser().parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return 0
    results: dict[str, list[dict[str, float]]] = {way: [] for way in args.ways}
    for _ in range(args.rounds):
        for way in args.ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[way].append(json.loads(done.stdout.splitlines()[-1]))
    flops = flops_of_step(args)
    print(
        f"{platform.machine()}, batch {args.batch_size}, {args.image_size}x{args.image_size}, "
        f"features {args.features}; median of {args.rounds} rounds of {args.steps} steps"
    )
    print(f"{'way':<22}{'images/s':>10}{'times':>8}{'peak MB':>10}{'TFLOP/s':>9}{'loss':>10}")
    first = None
    for way, rounds in results.items():
        seconds = statistics.median(result["seconds"] for result in rounds)
        first = first or seconds
        rate = flops / seconds / 1e12
        share = f" ({rate / args.peak_tflops:.0%} of peak)" if args.peak_tflops else ""
        peak = max(result["peak_mb"] for result in rounds)
        print(
            f"{way:<22}{args.batch_size / seconds:>10.2f}{first / seconds:>8.2f}{peak:>10.0f}"
            f"{rate:>9.3f}{rounds[0]['loss']:>10.4f}{share}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
