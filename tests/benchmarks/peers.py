"""Our networks beside those that people would take instead, in one run on one machine.

    pip install segmentation-models-pytorch           # in an environment of its own
    python tests/benchmarks/peers.py
    python tests/benchmarks/peers.py --image_size 128 --encoders resnet34 --threads 1

The peers: Unet and DeepLabV3+ of segmentation_models.pytorch, fcn and deeplabv3 of torchvision,
each as its examples train it (plain: eager, float32, channels first, Adam) and tuned as an expert
would (bf16 where the hardware has it, channels last, fused AdamW). Ours is a step of train.py. All
have random weights, see the same images, have no loader, and the loss that --loss says.

Timed are the step of a batch, and photos of 640x480 to label maps of their size one by one: ours by
``Predictor``, the peers by resizing, network, interpolation and argmax. Ways take turns, each round
in a process of its own, which tells its peak memory too. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

NUM_LABELS = 10
PHOTO = (480, 640)
WARM_UP = 2

PEERS = {
    "smp.Unet": "segmentation_models_pytorch:Unet",
    "smp.DeepLabV3Plus": "segmentation_models_pytorch:DeepLabV3Plus",
    "torchvision.fcn": "torchvision.models.segmentation:fcn_",
    "torchvision.deeplabv3": "torchvision.models.segmentation:deeplabv3_",
}


def ways_of(encoders: list[str], *, compiled: bool) -> list[str]:
    """Every "network encoder way" that can be measured here."""
    installed = [name for name in PEERS if name[:3] != "smp" or find_spec(PEERS[name][:27])]
    ways = []
    for encoder in encoders:
        ways += [f"ours {encoder} auto", f"ours {encoder} off"]
        ways += [f"ours {encoder} compile"] * compiled
        for name in installed if encoder != "residual" else ():
            if name[:3] == "smp" or encoder == "resnet50":
                ways += [f"{name} {encoder} plain", f"{name} {encoder} tuned"]
                ways += [f"{name} {encoder} compile"] * compiled
    return ways


def untrained(spec: dict[str, Any], image_size: int) -> tuple[Any, Any]:
    """A network of ten labels with random weights, and its checkpoint."""
    from datasets.label_sets import GROUPS
    from models import build_model

    model = build_model(spec["name"], **spec["kwargs"])
    weights, labels = model.state_dict(), GROUPS.to_dict()
    held = {"model": spec, "model_state": weights, "image_size": image_size, "label_set": labels}
    return model, held


def ours(encoder: str, way: str, args: argparse.Namespace) -> tuple[Callable[[], Any], ...]:
    """A step of train.py, and what inference.py does with a photo."""
    import torch

    from losses import build_loss
    from models import model_spec
    from models.learner import Learner
    from models.predictor import Predictor
    from runtime.devices import Machine

    machine = Machine.choose("cpu", "off" if way == "off" else "auto", compile=way == "compile")
    spec = model_spec(encoder, NUM_LABELS, features=args.features, dropout=0.0)
    model, checkpoint = untrained(spec, args.image_size)
    loss = build_loss(args.loss, torch.ones(NUM_LABELS), 255)
    learner = Learner(model, loss, machine, weight_decay=0.05)
    learner.train()
    images, label_map, photos = pictures(args)
    predictor = Predictor(checkpoint, machine, image_size=args.image_size)
    return (
        lambda: learner.step(iter([(images, label_map)]), 1, lr=1e-4),
        lambda: [None for _ in predictor.stream((None, photo) for photo in photos)],
    )


def peer(
    name: str, encoder: str, way: str, args: argparse.Namespace
) -> tuple[Callable[[], Any], ...]:
    """The same of another network."""
    import torch
    from torch.nn import functional as F
    from torchvision.transforms.v2 import functional as TF

    from losses import build_loss
    from runtime.devices import Machine

    if name[:3] == "smp":
        model = resolve_name(PEERS[name])(encoder, encoder_weights=None, classes=NUM_LABELS)
    else:
        model = resolve_name(PEERS[name] + encoder)(
            weights=None, weights_backbone=None, num_classes=NUM_LABELS
        )
    machine = Machine.choose("cpu", "off" if way == "plain" else "auto")
    layout = torch.contiguous_format if way == "plain" else torch.channels_last
    model = model.to(memory_format=layout)
    network = torch.compile(model) if way == "compile" else model
    loss_function = build_loss(args.loss, torch.ones(NUM_LABELS), 255)
    optimizer = (
        torch.optim.Adam(model.parameters(), lr=1e-4)
        if way == "plain"
        else torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    )
    images, label_map, photos = pictures(args)
    floats, truth = (images.float() / 255).contiguous(memory_format=layout), label_map.long()

    def logits_of(batch: Any) -> Any:
        with machine.autocast():
            found = network(batch)
        return (found["out"] if isinstance(found, dict) else found).float()

    def step() -> Any:
        model.train()
        loss = loss_function(logits_of(floats), truth)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    @torch.inference_mode()
    def predict() -> None:
        model.eval()
        for photo in photos:
            seen = TF.resize(photo, [args.image_size] * 2, antialias=True)[None].float() / 255
            logits = logits_of(seen.contiguous(memory_format=layout))
            F.interpolate(logits, PHOTO, mode="bilinear")[0].argmax(0).to(torch.uint8)

    return step, predict


def pictures(args: argparse.Namespace) -> tuple[Any, ...]:
    """A batch of images with label maps that can be learned, and photos; uint8."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size = (args.batch_size, 3, args.image_size, args.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    photo = torch.randint(0, 256, (3, *PHOTO), dtype=torch.uint8, generator=generator)
    return images, (images[:, 0] // 26).clamp(max=NUM_LABELS - 1), [photo] * args.photos


def measure(way: str, args: argparse.Namespace) -> dict[str, float]:
    """Time one way in this process."""
    import torch

    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    name, encoder, how = way.split()
    step, predict = ours(encoder, how, args) if name == "ours" else peer(name, encoder, how, args)
    seconds = []
    for _ in range(WARM_UP + args.steps):
        start = time.perf_counter()
        float(step())
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    predict()
    start = time.perf_counter()
    predict()
    photo = (time.perf_counter() - start) / args.photos
    return {"step": min(seconds[WARM_UP:]), "photo": photo, "peak_mb": peak}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="+", default=["resnet18"], help="or residual")
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--loss", default="simple", choices=("simple", "dice_ce"))
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a round")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch; all cores if not given")
    parser.add_argument("--compile", action="store_true", help="compiled ways, too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


def main() -> int:
    args = build_parser().parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return 0
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for way in ways_of(args.encoders, compiled=args.compile):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results.setdefault(way, []).append(json.loads(done.stdout.splitlines()[-1]))
    size = args.image_size
    print(f"batch {args.batch_size}, {size}x{size}, {args.loss}; median of {args.rounds} rounds,")
    print("the least step of each; how many times as fast ours is, with --amp auto")
    print(f"{'way':<42}{'images/s':>9}{'times':>7}{'photos/s':>10}{'times':>7}{'peak MB':>9}")
    first: dict[str, tuple[float, float]] = {}
    for way, rounds in results.items():
        step, photo, peak = (
            statistics.median(found[key] for found in rounds)
            for key in ("step", "photo", "peak_mb")
        )
        ours_step, ours_photo = first.setdefault(way.split()[1], (step, photo))
        print(
            f"{way:<42}{args.batch_size / step:>9.2f}{step / ours_step:>7.2f}"
            f"{1 / photo:>10.2f}{photo / ours_photo:>7.2f}{peak:>9.0f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
