"""Train a segmentation network on images and their masks.

    python3 train.py --data_dir coco_dataset
    python3 train.py --data_dir coco_dataset --check_only
    python3 train.py --resume runs/NAME --epochs 80
    torchrun --nproc_per_node 4 train.py --data_dir coco_dataset

DATA_DIR holds train2017/ and val2017/ with the images, masks_train/ and masks_val/ with the masks
of generate_masks.py, or any masks whose pixel values are labels. Everything goes into a new run
folder: args.json, metrics.csv (a row an epoch), report.json and confusion.png (the best epoch),
TensorBoard events (tensorboard --logdir runs), checkpoints/ (last.pt, best.pt by --select,
epoch_0010.pt ...) and predictions/, where each row of a picture shows a validation image, its truth
and the prediction.

Ctrl-C, or a scheduler's SIGTERM, ends the run after the current step, with all in last.pt. --resume
goes on from that very step; on the CPU the result is the same, bit for bit, as if the run had never
stopped.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Nothing here loads PyTorch, which takes seconds: a mistake in flags or paths is told at once.
from datasets.labels import IGNORE_INDEX
from datasets.pairs import Pairs
from datasets.training.choices import AUGMENTS, SAMPLERS
from datasets.training.data import (
    FOLDERS,
    TrainingData,
    add_data_flags,
    check_data,
    fill_folders,
    find_data,
    label_table,
)
from datasets.training.settings import BARE, as_in_run, merged, settings_of
from losses import LOSSES, OPTIONS, build_loss, option_help, options_of
from models import MODELS, build_model, encoders, model_spec
from runtime.command_line import (
    AMP,
    DEVICES,
    CommandParser,
    HeightAndWidth,
    above,
    at_least,
    run_command,
    share,
)
from runtime.files import unwritable
from runtime.locks import locked
from runtime.run_folder import RunFolder, find_checkpoint
from runtime.workers import available_cores

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import Dataset

    from runtime.devices import Machine

logger = logging.getLogger("train")

# Flags, as typed before those that are given; docs/results.md tells what they bring.
RECIPES = {
    "seed": "",
    "scratch": "--loss dice_ce --dice_weight 2 --augment strong --lr 2e-3 --weight_decay 0.05 "
    "--warmup_epochs 3 --ema 0.99 --image_size 96 --features 32 64 128 256 --epochs 60",
    "finetune": "--encoder resnet18 --encoder_lr 0.1 --image_size 192 --crop 300 --augment wide "
    "--loss dice_ce --dice_weight 2 --weight_power 0.25 --lr 1e-3 --weight_decay 0.05 --ema 0.99 "
    "--epochs 30",
}
BETTER = (  # validation mean IoU, docs/results.md
    "seed; on 369 photographs of COCO, where it came to a mean IoU of 10.7%, --recipe scratch came "
    "to 14.1%, and --recipe finetune, from ImageNet weights, to 35.2%"
)
# What --eval_only looks at.
SCORING = {
    *(*FOLDERS, "eval_only", "data_dir", "val_fraction", "max_train_images", "max_val_images"),
    *("label_set", "batch_size", "workers", "device", "amp"),
}
RUN: dict[str, Any] = {"type": Path, "metavar": "RUN"}
N: dict[str, Any] = {"type": at_least(1), "metavar": "N"}


def build_parser() -> CommandParser:
    """The flags. Every default stands here, or in the three functions that it calls."""
    parser = CommandParser("train.py", __doc__)
    add_data_flags(parser.add_argument_group("data"))

    group = parser.add_argument_group("run")
    add, task = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add("--run_dir", type=Path, metavar="DIR", help="new folder of the run; else runs/DATE_TIME")
    text = "start a new run from the weights of another (a run's best), as far as they fit"
    add("--init_from", **RUN, help=text)
    text = "run or checkpoint to continue; without RUN, go on in --run_dir, or begin there"
    task("--resume", **RUN, nargs="?", const=True, help=text)
    text = "score a checkpoint, or a run's best, on the validation images, and stop"
    task("--eval_only", **RUN, help=text)
    task("--check_only", action="store_true", help="check the data, show its labels, and stop")
    add("--checkpoint_steps", **N, help="write last.pt also every N steps")
    add("--keep", type=at_least(0), metavar="N", help="keep only the newest N of epoch_*.pt")

    _add_network(parser)
    _add_recipe(parser)

    add = parser.add_argument_group("machine").add_argument
    text = "processes reading images; the process's cores, at most 8, if not given"
    add("--workers", type=at_least(0), metavar="N", help=text)
    text = "disk: keep resized images in a file beside the masks"
    add("--cache", choices=("none", "disk"), default="none", help=text)
    add("--device", choices=DEVICES, default="auto", help="auto takes a GPU if there is one")
    text = "precision of the network; auto: bf16 where the hardware has it, else off"
    add("--amp", choices=AMP, default="auto", help=text)
    add("--compile", action="store_true", help="compile the network: slow start, faster steps")
    add("--sync_bn", action="store_true", help="batch statistics over all processes (GPUs)")
    return parser


def _add_network(parser: CommandParser) -> None:
    group = parser.add_argument_group("network")
    add = group.add_argument
    text = "blocks that look at the image: residual ones by --features, or torchvision's ResNet"
    add("--encoder", choices=encoders(), default="residual", help=text)
    source = group.add_mutually_exclusive_group().add_argument
    text = "ResNet with torchvision's weights (downloads)"
    source("--pretrained", action="store_true", help=text)
    text = "ResNet with the weights of a file"
    source("--encoder_weights", type=Path, metavar="FILE", help=text)
    text = "channels at each resolution, finest first; the bottleneck has twice the last"
    add("--features", **N, nargs="+", default=[64, 128, 256, 512], help=text)
    add("--dropout", type=share, default=0.0, metavar="SHARE", help="of channels that blocks drop")
    text = "height and width of its input; one number for a square"
    add("--image_size", action=HeightAndWidth, default=256, help=text)
    text = (
        "train on crops of that size from photos whose shorter side is PIXELS, times the zoom of "
        "--augment; PIXELS is the crop's shorter side if not given"
    )
    add("--crop", type=at_least(1), nargs="?", const=BARE, metavar="PIXELS", help=text)


def _add_recipe(parser: CommandParser) -> None:
    add = parser.add_argument_group("recipe").add_argument
    zero: dict[str, Any] = {"type": at_least(0.0), "default": 0.0}
    rows = "; ".join(f"{name}: {flags}" for name, flags in RECIPES.items() if flags)
    text = f"flags that are not given; seed: the defaults below; {rows}"
    add("--recipe", choices=RECIPES, default="seed", help=text)
    add("--epochs", **N, default=50, help="times through the images, in all")
    add("--batch_size", **N, default=8, help="images at a time, in each process")
    add("--accumulate", **N, default=1, help="batches in a step of the weights")
    text = "highest learning rate of AdamW; a cosine to 0"
    add("--lr", type=above(0), default=1e-4, metavar="RATE", help=text)
    text = "learning rate of the encoder, as a factor of --lr"
    add("--encoder_lr", type=above(0), default=1.0, metavar="FACTOR", help=text)
    text = "first epochs in which a ResNet keeps its learned weights and batch statistics"
    add("--freeze_encoder", **N, help=text)
    add("--warmup_epochs", **zero, metavar="N", help="epochs in which it rises from 0")
    add("--weight_decay", **zero, metavar="DECAY", help="of AdamW; with 0 it is Adam")
    add("--clip_grad", **zero, metavar="NORM", help="longest gradient, by its norm; 0: any")
    text = "; ".join(f"{name}: {row.help}" for name, row in LOSSES.items())
    add("--loss", choices=LOSSES, default="simple", help=text)
    for name, option in OPTIONS.items():
        add(f"--{name}", type=option.type, metavar=option.metavar, help=option_help(name))
    text = "draw images with rare labels more often, or each image once in an epoch"
    add("--sampler", choices=SAMPLERS, default="weighted", help=text)
    text = "; ".join(f"{name}: {row.help}" for name, row in AUGMENTS.items())
    add("--augment", choices=AUGMENTS, default="none", help=text)
    add("--ema", type=share, default=0.0, metavar="DECAY", help="average the weights; 0: do not")
    text = "what makes an epoch the best: mean_iou, mean_iou_without_background, mean_dice, "
    text += "pixel_accuracy, loss, or the name of a label, for its IoU; on validation images"
    add("--select", default="mean_iou", metavar="METRIC", help=text)
    add("--early_stop", **N, help="end after N epochs without a better one")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of all that chance decides")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the flags; of a run that is resumed or scored, its settings are defaults."""
    parser = build_parser()
    given, defaults = parser.given(argv), vars(parser.parse_args([]))
    args = merged(defaults, given)
    if args.resume is True:  # RUN is left out: a scheduler's command, the same every time
        if not args.run_dir:
            parser.error("--resume goes on in a run; name it: --resume RUN, or --run_dir DIR")
        last = RunFolder(args.run_dir).checkpoints / "last.pt"
        args.resume = args.run_dir if last.is_file() else None
    elif args.resume and args.init_from:
        parser.error("--init_from is for a new run, --resume goes on with one; leave out either")
    if args.resume or args.eval_only:
        args = as_in_run(parser, args, defaults, given)
    else:
        recipe = parser.given(shlex.split(RECIPES[args.recipe]))
        args = merged(defaults, recipe, given, {"resume": None})
    try:
        loss_options(args)
        if args.run_dir and not (args.resume or args.eval_only):
            RunFolder(args.run_dir).check_is_free()
        if args.init_from:
            args.init_from = find_checkpoint(args.init_from, "best.pt")
    except ValueError as error:
        parser.error(str(error))
    for is_wrong, message in _mistakes(args, given):
        if is_wrong:
            parser.error(message)
    fill_folders(parser, args)
    return args


def _mistakes(args: argparse.Namespace, given: Mapping[str, Any]) -> Iterator[tuple[object, str]]:
    """Whether each is made, and its words: flags at odds, or that would change nothing."""
    problem = args.run_dir and unwritable(args.run_dir)
    yield problem, f"--run_dir {args.run_dir}: {problem}"
    yield args.seed >= 2**63, f"--seed is {args.seed}, expected less than 2^63"

    row, file = MODELS[encoders()[args.encoder]], args.encoder_weights
    source = args.pretrained or file
    if not args.resume and not args.eval_only:
        text = "--pretrained and --encoder_weights are of a ResNet; give --encoder resnet18"
        yield source and not row.pretrained, text
        yield file and not file.is_file(), f"--encoder_weights {file}: no such file"
        text = "goes on from learned weights; give --pretrained, --encoder_weights FILE or "
        text = f"--recipe finetune: {text}--init_from RUN, or take --recipe scratch"
        yield args.recipe == "finetune" and not (source or args.init_from), text
        text = "--freeze_encoder keeps learned weights; give --encoder resnet18, and --pretrained, "
        text += "--encoder_weights FILE or --init_from RUN"
        learned = row.pretrained and (source or args.init_from)
        yield args.freeze_encoder and not learned, text

    # Whoever gives a flag expects that it does something.
    idle = sorted(given.keys() - SCORING) if args.eval_only else []
    text = f"--{', --'.join(idle)}: of no effect with --eval_only, which trains nothing"
    yield idle, text
    epochs, power = f"of --epochs {args.epochs}", loss_options(args).get("weight_power")
    for flag, is_idle, why in (
        ("features", "features" not in row.settings, f"--encoder {args.encoder} has none"),
        ("dropout", "dropout" not in row.settings, f"--encoder {args.encoder} has none"),
        ("weight_cap", not power, "all labels weigh the same with --weight_power 0"),
        ("warmup_epochs", args.warmup_epochs >= args.epochs, f"{epochs} none is left to learn in"),
        ("early_stop", (args.early_stop or 0) >= args.epochs, f"{epochs} none can be left out"),
        ("data_dir", FOLDERS.keys() <= given.keys(), "all four folders are named"),
    ):
        text = f"--{flag} {getattr(args, flag)}: would change nothing, as {why}"
        yield flag in given and is_idle, text


def run(args: argparse.Namespace) -> int:
    """Check the data, then train or score. Gives the exit code."""
    flags = (*FOLDERS, "val_fraction", "max_train_images", "max_val_images")
    found_train, found_val = find_data(**{flag: getattr(args, flag) for flag in flags})

    from runtime.devices import Machine, main_first, process_group, world_of_environment

    world = world_of_environment(os.environ)
    machine = Machine.choose(args.device, args.amp, compile=args.compile, world=world)
    if args.workers is None:
        args.workers = min(8, max(1, available_cores() // world.local_size))
    logger.info("device  %s", machine)
    if args.sync_bn and world.size == 1:
        logger.warning("--sync_bn: of no effect with one process")
    with process_group(world, machine.device):
        if args.eval_only:
            return evaluate(args, found_val, machine)
        with main_first(world):  # it leaves what it found in a cache
            assert found_train is not None, "the flags see to this"
            data = check_data(
                found_train, found_val, args.workers, args.label_set, trust_values=args.trust_values
            )
        show_data(args, data)
        if args.recipe == "seed" and not args.resume:
            logger.info("recipe  %s", BETTER)
        return 0 if args.check_only else train(args, data, machine)


def show_data(args: argparse.Namespace, data: TrainingData) -> None:
    """The table of labels: how much there is of each, what loss and sampler make of it."""
    from datasets.training.batches import sample_weights

    logger.info("train   %d images of %s", len(data.train.pairs), data.train.images_dir)
    logger.info("val     %d images of %s\n", len(data.val.pairs), data.val.images_dir)
    draws = sample_weights(data.label_counts) if args.sampler == "weighted" else None
    weights = getattr(loss_of(args, data), "weights", None)
    table = label_table(data.label_counts, data.label_set.names, weights, draws)
    if not args.check_only:
        logger.info("%s\n", table)
    elif os.environ.get("RANK", "0") == "0":  # what was asked for goes to the standard output
        print(table)


def loss_options(args: argparse.Namespace) -> dict[str, float]:
    """Those that the flags give, the others as the loss has them."""
    return options_of(args.loss, **{name: getattr(args, name) for name in OPTIONS})


def loss_of(args: argparse.Namespace, data: TrainingData) -> nn.Module:
    """The loss that the flags describe."""
    import torch

    label_pixels = torch.from_numpy(data.label_counts.sum(axis=0))
    return build_loss(args.loss, label_pixels, IGNORE_INDEX, **loss_options(args))


def model_of(args: argparse.Namespace, num_labels: int) -> tuple[nn.Module, dict[str, Any]]:
    """The network that the flags describe, with its first weights, and its entry in MODELS."""
    from models import weights
    from models.checkpoint import load_checkpoint

    if args.resume:  # an older version may have made another network of the same flags
        kept = load_checkpoint(args.resume)["model"]
        return build_model(kept["name"], **kept["kwargs"]), {**kept}
    spec = model_spec(args.encoder, num_labels, dropout=args.dropout, features=args.features)
    model = build_model(spec["name"], **spec["kwargs"])
    if args.init_from:
        weights.load_fitting_weights(model, args.init_from)
    if args.encoder_weights:
        weights.load_encoder_weights(model, args.encoder_weights)
    elif args.pretrained:
        weights.load_pretrained_encoder(model)
    return model, spec


def dataset_of(args: argparse.Namespace, data: TrainingData, split: str) -> Dataset[Any]:
    """Pairs of one split, as they are before anything random."""
    from datasets.training.cache import cache_path, cached
    from datasets.training.dataset import CocoSegmentationDataset
    from models.prediction import View

    pairs = data.train if split == "train" else data.val
    view, is_crop = View.of(args.image_size, args.crop), args.crop and split == "train"
    if is_crop:  # more pixels than the largest zoom shows are of no use
        longest = round(args.crop * max(1.0, *AUGMENTS[args.augment].settings.get("zoom", (1.0,))))
        view = View.of(args.image_size, longest, enlarge=False)
    dataset = CocoSegmentationDataset(
        pairs.pairs, data.mapping, view, keep_labels=bool(args.crop) and not is_crop
    )
    if args.cache == "none":  # "ram" in runs of earlier versions
        return dataset
    # Of one folder that is split in two, each part has its own cache.
    path = cache_path(pairs.masks_dir, view, split if args.val_fraction else "")
    return cached(dataset, path, args.workers)


def train(args: argparse.Namespace, data: TrainingData, machine: Machine) -> int:
    """The recipe: network, images, run folder, epochs, report. Gives the exit code."""
    import torch

    from datasets.training.augmentation import build_augment
    from datasets.training.batches import EpochBatches, Loaders, sample_weights
    from engine import Training
    from models.learner import Learner
    from models.prediction import View

    torch.manual_seed(args.seed)
    world = machine.world
    model, spec = model_of(args, len(data.label_set.names))
    learner = Learner(
        model,
        loss_of(args, data),
        machine,
        weight_decay=args.weight_decay,
        encoder_lr=args.encoder_lr,
        clip_grad=args.clip_grad,
        ema=args.ema,
        sync_bn=args.sync_bn,
    )
    batches = EpochBatches(
        args.sampler,
        sample_weights(data.label_counts),
        args.batch_size,
        accumulate=args.accumulate,
        seed=args.seed,
        world=world,
    )
    view = View.of(args.image_size, args.crop)
    loaders = Loaders(
        dataset_of(args, data, "train"),
        dataset_of(args, data, "val"),
        build_augment(args.augment, (view.height, view.width), args.crop),
        batches,
        view=view if args.crop else None,
        workers=args.workers,
        pin_memory=machine.device.type == "cuda",
    )
    folder = RunFolder(args.run_dir or Path("runs"))
    if world.is_main and not args.run_dir:
        folder = RunFolder.named_by_time(folder.path)
    about = {"model": spec, **view.to_dict(), "args": settings_of(args)}
    training = Training(learner, loaders, data, folder, about)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path / ".train.lock") if world.is_main else nullcontext():
        if args.resume:
            training.resume(args.resume)
        elif world.is_main:
            folder.check_is_free()  # another may have trained there since the flags were read
        return training.fit()


def evaluate(args: argparse.Namespace, found: Pairs, machine: Machine) -> int:
    """Print the scores of a checkpoint on the validation images. Gives the exit code."""
    from engine import score
    from metrics.scores import score_table
    from models.checkpoint import load_checkpoint

    flags = args.batch_size, args.workers, args.label_set
    result, label_set, number = score(load_checkpoint(args.eval_only), found, machine, *flags)
    if machine.world.is_main:  # what was asked for goes to the standard output
        print(f"cross-entropy {result.losses['cross_entropy']:.4f} over {number} images\n")
        print(score_table(result.counts, label_set.names, background=label_set.has_background))
    return 0


def explain(error: Exception, args: argparse.Namespace) -> str | None:
    """What a user can do about an error that PyTorch raised; None if it is none of the known."""
    text, size = str(error), str(args.image_size).strip("[]").replace(",", "")
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        half = f"--batch_size {args.batch_size // 2} --accumulate {2 * args.accumulate}"
        cure = f"{half}, which keeps the images of a step, or " if args.batch_size > 1 else ""
        return (
            f"out of memory with --batch_size {args.batch_size} and --image_size "
            f"{size}; try {cure}a smaller --image_size. The last checkpoint is whole"
        )
    if "Expected more than 1 value per channel" in text:
        return (
            f"a batch of one image whose finest details are one pixel in the bottleneck has no "
            f"batch statistics; choose a larger --image_size than {size}, fewer "
            "--features, or a --batch_size and a number of images that leave no batch of one"
        )
    # Errors of our own files name the file.
    is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename
    if is_full or any(words in text for words in ("Bus error", "shared memory", "file </torch_")):
        return (
            "/dev/shm, through which processes hand images on, is too small, as in containers: "
            "give it more (docker run --shm-size 2g), or read images in this process: --workers 0"
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return f"a process that reads images ended ({text.splitlines()[0]}); try fewer --workers"
    if isinstance(error, ValueError):  # a loader process puts a traceback before its words
        return text.rpartition("ValueError: ")[2].strip()
    return text if isinstance(error, OSError | ArithmeticError) or "is in use by" in text else None


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s")
    trains = not (args.eval_only or args.check_only)
    go_on = "--resume goes on with the run" if trains else "nothing was written"
    return run_command("train.py", partial(run, args), partial(explain, args=args), go_on)


if __name__ == "__main__":
    raise SystemExit(main())
