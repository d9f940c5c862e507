"""Train a segmentation network on images and their masks.

    python3 train.py --data_dir coco_dataset
    python3 train.py --data_dir coco_dataset --image_size 128 --features 16 32 64 128 --epochs 20
    python3 train.py --resume runs/NAME --epochs 80

DATA_DIR holds train2017/ and val2017/ with the images, masks_train/ and masks_val/ with the masks
of generate_masks.py, or any masks whose pixel values are labels. Everything goes into a new run
folder: args.json, metrics.csv (a row an epoch), TensorBoard events (tensorboard --logdir runs),
checkpoints/ (last.pt, best.pt by validation mean IoU, epoch_0010.pt ...) and predictions/, where
each row of a picture shows a validation image, its truth and the prediction.

--resume goes on after the last whole epoch with the settings of the run; on the CPU the result is
the same, bit for bit, as if the run had never stopped. Only --epochs, --data_dir, --workers and
--device may be given anew. The learning rate follows the cosine over the new --epochs.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

# Nothing here loads PyTorch, which takes seconds: a mistake in flags or paths is told at once.
from datasets.label_mapping import LabelMapping, count_labels, read_label_mapping
from datasets.label_set import IGNORE_INDEX, LabelSet
from datasets.mask_report import REPORT_NAME
from datasets.pairs import Pairs, pair_images_and_masks
from runtime.command_line import HelpFormatter
from runtime.files import replacing
from runtime.run_folder import RunFolder, find_checkpoint
from runtime.workers import available_cores

logger = logging.getLogger("train")

MODEL = "residual_attention_unet"
SAVE_EVERY = 10  # epochs between the checkpoints that are kept, and between pictures
NUM_PICTURES = 6  # validation images shown in a picture
CHANGEABLE = {"data_dir", "epochs", "workers", "device"}  # when resuming
NOT_SETTINGS = {"run_dir", "resume"}


def build_parser() -> argparse.ArgumentParser:
    """The flags. Every default stands here and nowhere else."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument_group("files").add_argument
    add("--data_dir", type=Path, help="folder with train2017, val2017, masks_train, masks_val")
    add("--run_dir", type=Path, help="new folder for this run; runs/DATE_TIME if not given")
    add("--resume", type=Path, metavar="RUN", help="run folder, or a checkpoint in it, to continue")

    add = parser.add_argument_group("network").add_argument
    add(
        "--features",
        type=int,
        nargs="+",
        default=[64, 128, 256, 512],
        help="channels at each resolution, finest first; the bottleneck has twice the last",
    )
    add("--dropout", type=float, default=0.0, help="share of channels that each block drops, 0..1")
    add("--image_size", type=int, default=256, help="height and width of its input, in pixels")

    add = parser.add_argument_group("recipe").add_argument
    add("--epochs", type=int, default=50, help="times through the images, in all")
    add("--batch_size", type=int, default=8, help="images in a step")
    add("--lr", type=float, default=1e-4, help="learning rate of Adam, falling to 0 as a cosine")
    # The choices are the names in LOSSES and SAMPLERS, which loads PyTorch; a test compares them.
    add(
        "--loss",
        choices=("simple", "dice_ce", "weighted_ce"),
        default="simple",
        help="cross-entropy; with Dice loss added; with more weight on rare labels",
    )
    add(
        "--sampler",
        choices=("weighted", "shuffle"),
        default="weighted",
        help="draw images with rare labels more often, or each image once in an epoch",
    )
    add("--seed", type=int, default=0, help="of first weights, order and dropout")

    add = parser.add_argument_group("machine").add_argument
    add("--workers", type=int, default=min(8, available_cores()), help="processes reading images")
    add(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="auto takes a GPU if there is one",
    )
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the flags; when resuming, the settings of the run are the defaults."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.resume:
        args = _parse_resuming(parser, args, argv)
    elif args.run_dir and RunFolder(args.run_dir).exists():
        parser.error(f"{args.run_dir} already holds a run; go on with it: --resume {args.run_dir}")
    if not args.data_dir:
        parser.error("--data_dir is missing, expected the folder of images and masks")
    least = {"epochs": 1, "batch_size": 1, "image_size": 1, "workers": 0, "seed": 0}
    for name, low in least.items():
        if getattr(args, name) < low:
            parser.error(f"--{name} is {getattr(args, name)}, expected {low} or more")
    if min(args.features) < 1:
        parser.error(f"--features are {args.features}, expected 1 or more each")
    if not 0 < args.lr < math.inf:
        parser.error(f"--lr is {args.lr}, expected more than 0")
    if not 0 <= args.dropout < 1:
        parser.error(f"--dropout is {args.dropout}, expected 0 or more and less than 1")
    return args


def _parse_resuming(
    parser: argparse.ArgumentParser, args: argparse.Namespace, argv: Sequence[str] | None
) -> argparse.Namespace:
    if args.run_dir:
        parser.error("--resume goes on in the folder of its run; leave out --run_dir")
    try:
        checkpoint = find_checkpoint(args.resume, "last.pt")
        folder = RunFolder.of_checkpoint(checkpoint)
        settings = folder.settings()
    except ValueError as error:
        parser.error(f"--resume {args.resume}: {error}")
    parser.set_defaults(**settings)
    args = parser.parse_args(argv)
    for name in settings.keys() - CHANGEABLE:
        if getattr(args, name) != settings[name]:
            parser.error(
                f"--{name} {getattr(args, name)}: the run in {folder.path} has {settings[name]}, "
                "which cannot change on the way; start a new run"
            )
    args.resume, args.run_dir = checkpoint, folder.path
    return args


def find_data(data_dir: Path, workers: int) -> tuple[Pairs, Pairs, LabelMapping]:
    """The pairs to train on, those to validate on, and what the pixel values of both mean."""
    if not data_dir.is_dir():
        raise ValueError(f"{data_dir}: no such folder")
    train = pair_images_and_masks(data_dir / "train2017", data_dir / "masks_train")
    val = pair_images_and_masks(data_dir / "val2017", data_dir / "masks_val")
    masks = [mask for _, mask in train.pairs]
    mapping = read_label_mapping(data_dir / "masks_train", masks, workers)
    if (data_dir / "masks_val" / REPORT_NAME).is_file():
        other = read_label_mapping(data_dir / "masks_val", ())
        if other.label_set != mapping.label_set:
            raise ValueError(
                f"{data_dir}: masks_train has the labels {_names(mapping)}, masks_val has "
                f"{_names(other)}; generate both with the same options"
            )
    return train, val, mapping


def _names(mapping: LabelMapping) -> str:
    return ", ".join(LabelSet.from_dict(mapping.label_set).names)


def run(args: argparse.Namespace) -> None:
    """The recipe: data, network, epochs, report."""
    train_pairs, val_pairs, mapping = find_data(args.data_dir, args.workers)
    label_set = LabelSet.from_dict(mapping.label_set)

    import torch
    from torch.utils.tensorboard import SummaryWriter

    import engine
    from datasets.sampling import build_sampler, sample_weights
    from datasets.segmentation import CocoSegmentationDataset
    from datasets.transforms import eval_preset, train_preset
    from losses import build_loss
    from metrics.evaluation import evaluate
    from metrics.report import score_table
    from models import build_model
    from models.checkpoint import load_checkpoint, save_checkpoint
    from runtime.devices import describe_device, pick_device

    # Data
    device = pick_device(args.device)
    label_counts = count_labels([mask for _, mask in train_pairs.pairs], mapping, args.workers)
    train_set = CocoSegmentationDataset(train_pairs.pairs, mapping, train_preset(args.image_size))
    val_set = CocoSegmentationDataset(val_pairs.pairs, mapping, eval_preset(args.image_size))
    order = torch.Generator()
    sampler = build_sampler(args.sampler, sample_weights(label_counts), order)
    train_loader, val_loader = engine.make_loaders(
        train_set, val_set, sampler, args.batch_size, args.workers
    )

    # Network
    torch.manual_seed(args.seed)
    kwargs = {"num_labels": len(label_set), "features": args.features, "dropout": args.dropout}
    # The CPU's and the GPU's fast convolutions want the channels last in memory.
    model = build_model(MODEL, **kwargs).to(device).to(memory_format=torch.channels_last)
    label_pixels = torch.from_numpy(label_counts.sum(axis=0))
    loss_function = build_loss(args.loss, label_pixels, IGNORE_INDEX).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    # Run folder
    folder = RunFolder(args.run_dir or Path("runs", time.strftime("%Y-%m-%d_%H-%M-%S")))
    done = 0  # epochs
    best: dict[str, Any] = {"best_epoch": 0, "best_score": -math.inf, "best_counts": None}
    if args.resume:
        checkpoint = load_checkpoint(args.resume)
        if checkpoint["label_set"] != mapping.label_set:
            raise ValueError(
                f"{args.data_dir} has the labels {', '.join(label_set.names)}; {args.resume} "
                "learned others: give the data of that run, or start a new run"
            )
        model.load_state_dict(checkpoint["model_state"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        done, best = checkpoint["epoch"], {key: checkpoint[key] for key in best}
        folder.keep_rows(done)
    settings = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
    settings["data_dir"] = str(args.data_dir.absolute())
    folder.create(settings)
    # The rate depends on the epoch alone, so a resumed run need only know where it was.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(engine.cosine, epochs=args.epochs), last_epoch=done - 1
    )

    num_weights = sum(weight.numel() for weight in model.parameters())
    logger.info("run     %s", folder.path)
    logger.info("train   %s", _describe(train_pairs))
    logger.info("val     %s", _describe(val_pairs))
    logger.info("labels  %d: %s", len(label_set), ", ".join(label_set.names))
    logger.info("model   %s, %.2f million weights", MODEL, num_weights / 1e6)
    logger.info("device  %s", describe_device(device))
    logger.info("epochs  %d done, %d to go", done, max(0, args.epochs - done))

    # Epochs
    shown = [i * len(val_set) // NUM_PICTURES for i in range(NUM_PICTURES)]
    with SummaryWriter(str(folder.path), purge_step=done + 1) as board:
        for epoch in range(done + 1, args.epochs + 1):
            order_seed, dropout_seed = engine.seeds_of(args.seed, epoch)
            order.manual_seed(order_seed)
            torch.manual_seed(dropout_seed)
            lr = float(schedule.get_last_lr()[0])
            title = f"epoch {epoch}/{args.epochs}"
            train_loss, speed = engine.train_epoch(
                model, train_loader, loss_function, optimizer, device, title
            )
            if not math.isfinite(train_loss):
                raise FloatingPointError(f"{title}: the loss is {train_loss}; try a lower --lr")
            schedule.step()
            val = evaluate(model, val_loader, loss_function, device, len(label_set), IGNORE_INDEX)

            row = engine.metrics_row(epoch, lr, speed, train_loss, val, label_set.names)
            score = row["val/mean_iou"]
            is_best = not score <= best["best_score"]  # the first one always is
            if is_best:
                best = {"best_epoch": epoch, "best_score": score, "best_counts": val.counts}
            logger.info("%s  %s%s", title, _summary(row), "  (best)" if is_best else "")
            for name, value in row.items():
                board.add_scalar(name, value, epoch)
            if epoch % SAVE_EVERY == 0 or epoch == args.epochs:
                samples = [val_set[index] for index in dict.fromkeys(shown)]
                picture = engine.draw_predictions(model, samples, label_set.palette(), device)
                board.add_image("predictions", picture, epoch, dataformats="HWC")
                with replacing(folder.predictions / f"epoch_{epoch:04d}.png") as temporary:
                    Image.fromarray(picture).save(temporary)
            folder.add_row(row)
            state = {
                "model": {"name": MODEL, "kwargs": kwargs},
                "model_state": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch,
                **best,
                "label_set": mapping.label_set,
                "image_size": args.image_size,
                "args": settings,
                "versions": {"torch": str(torch.__version__)},
            }
            for name in _checkpoint_names(epoch, is_best):
                save_checkpoint(folder.checkpoints / name, state)

    # Report
    logger.info("\nthe best epoch is %d, on the validation images:", best["best_epoch"])
    logger.info("%s\n", score_table(best["best_counts"], label_set.names))
    for path in sorted(folder.predictions.glob("*.png"))[-1:]:
        logger.info("look at %s: image, truth, prediction", path)
    logger.info("curves: tensorboard --logdir %s", folder.path)
    logger.info(
        "next: python3 inference.py --images_dir FOLDER --checkpoint %s --output_dir predictions",
        folder.path,
    )


def _checkpoint_names(epoch: int, is_best: bool) -> list[str]:
    """What to write, last.pt last: a run goes on from it, with all the rest in place."""
    kept = [f"epoch_{epoch:04d}.pt"] if epoch % SAVE_EVERY == 0 else []
    return [*(["best.pt"] if is_best else []), *kept, "last.pt"]


def _describe(pairs: Pairs) -> str:
    text = f"{len(pairs.pairs)} images with a mask"
    if pairs.images_without_mask:
        text += f" ({len(pairs.images_without_mask)} without are left out)"
    return text


def _summary(row: dict[str, float]) -> str:
    return (
        f"loss {row['loss/train']:.4f}, validation {row['loss/val']:.4f}  "
        f"mIoU {row['val/mean_iou']:.1%}  Dice {row['val/mean_dice']:.1%}  "
        f"accuracy {row['val/pixel_accuracy']:.1%}  {row['images_per_second']:.1f} images/s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run(args)
    except ValueError as error:
        # From a loader process it comes with a traceback, and its own words at the end.
        message = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        print(f"train.py: error: {message}", file=sys.stderr)
        return 2
    except (OSError, FloatingPointError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; go on after the last whole epoch with --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
