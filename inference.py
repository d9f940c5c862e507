"""Segment photographs with a trained network.

    python3 inference.py --images_dir photos --checkpoint runs/NAME --output_dir predictions
    python3 inference.py a.jpg b.png --checkpoint runs/NAME --output_dir predictions
    python3 inference.py --images_dir coco_dataset/val2017 --masks_dir coco_dataset/masks_val \\
        --checkpoint runs/NAME --output_dir predictions

OUTPUT_DIR gets, for photos/a/b.jpg, masks/a/b.png: a palette PNG of the photo's own size whose
pixel values are label indices; overlays/a/b.jpg: the photo tinted by label, with a legend; and
predictions.json: an entry for each file with the share of each label, or the reason why it was
left out. Photos are turned upright first, as their EXIF orientation says, and so are their masks.

A file that cannot be read is named, and the others are done; the exit code is then 1. Running a
command again continues it: what is up to date is kept.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Nothing here loads PyTorch, which takes seconds: a mistake in flags or paths is told at once.
from datasets.coco.results import write_coco_results
from datasets.label_sets import read_description
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.mask_files import read_mask
from datasets.predictions.folder import PredictionFolder
from datasets.predictions.layout import REPORT_NAME, SCORE_FILES, Entry, own_paths
from datasets.predictions.photo_files import (
    PhotoFile,
    find_photo_files,
    named_photo_files,
    read_list,
)
from datasets.predictions.photos import KNOWN, Photo
from datasets.predictions.pipeline import Predicted, PredictionRun
from datasets.predictions.report import (
    about_files,
    check_prediction_dir,
    close_report,
    merge_reports,
    open_report,
    remove_results,
    write_scores,
)
from datasets.predictions.truth import Truth, find_masks, load_truth
from runtime.command_line import (
    AMP,
    DEVICES,
    CommandParser,
    HeightAndWidth,
    at_least,
    between,
    run_command,
    told_by,
)
from runtime.files import unwritable
from runtime.run_folder import find_checkpoint
from runtime.shards import Shard, report_path, shard_of_environment
from runtime.workers import available_cores

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Checkpoint
    from models.predictor import Predictor
    from runtime.devices import Machine

logger = logging.getLogger("inference")


def build_parser() -> argparse.ArgumentParser:
    """The flags. Every default stands here and nowhere else."""
    parser = CommandParser("inference.py", __doc__)
    add = parser.add_argument_group("input: a folder, files, or a list of files").add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="photos")
    add("--images_dir", type=Path, metavar="DIR", help="folder of photos")
    add(
        "--list",
        type=Path,
        metavar="FILE",
        help="text file with the path of a photo on each line, relative to --images_dir if that "
        "is given, else to the current folder",
    )
    add("--recursive", action="store_true", help="sub-folders count, as they do by default")
    add("--no_recursive", action="store_true", help="sub-folders do not count")
    add("--no_exif", action="store_true", help="leave photos as they are stored, not upright")
    add(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="RUN",
        help="checkpoint file, or the folder of a training run: its best",
    )

    add = parser.add_argument_group("output").add_argument
    add("--output_dir", type=Path, required=True, metavar="DIR", help="folder; made if missing")
    add("--overwrite", action="store_true", help="redo what is up to date, replace foreign files")
    add("--side_by_side", action="store_true", help="also photo, labels and overlay in a picture")
    add(
        "--save_probabilities",
        nargs="?",
        choices=("uint8", "float16"),
        const="uint8",
        metavar="TYPE",
        help="also the probability of every label at every pixel, .npz: as uint8 (0..255, if no "
        "type is given) or float16",
    )
    add("--coco_results", action="store_true", help="also results.json, for pycocotools")
    add(
        "--masks_dir",
        type=Path,
        metavar="DIR",
        help="masks to compare with, at the photos' own sizes: writes scores.json and scores.csv",
    )
    text = (
        "what the pixel values of --masks_dir mean, if no file in it says so: a JSON or text file"
    )
    add("--label_set", type=told_by(read_description), metavar="FILE", help=text)

    add = parser.add_argument_group("quality").add_argument
    add(
        "--image_size",
        type=at_least(1),
        nargs="+",
        action=HeightAndWidth,
        metavar="PIXELS",
        help="height and width at which the network sees a photo, one number for a square or, "
        "if it was trained with --crop, for the shorter side; as in training if not given",
    )
    add("--tta", action="store_true", help="average with what the network says of the mirror image")
    add(
        "--tile",
        type=at_least(16),
        metavar="PIXELS",
        help="look at large photos through a window of so many of their pixels in height, and of "
        "the shape that the network sees, each at the network's size, and blend",
    )
    text = "share of a window that the next one covers too, 0 to 0.9"
    add("--tile_overlap", type=between(0, 0.9), default=0.25, metavar="SHARE", help=text)
    text = "pixels whose label is less probable become background, 0..1"
    add("--min_confidence", type=between(0, 1), default=0.0, metavar="P", help=text)

    add = parser.add_argument_group("machine").add_argument
    text = "auto takes a GPU if there is one"
    add("--device", choices=DEVICES, default="auto", help=text)
    add(
        "--amp",
        choices=AMP,
        default="auto",
        help="precision: auto is bf16 where the hardware multiplies it; off is float32 as plain "
        "PyTorch computes it, to the last bit on a processor",
    )
    add("--compile", action="store_true", help="let torch.compile make code: a minute at the start")
    add(
        "--batch_size",
        type=at_least(1),
        default=8,
        metavar="N",
        help="photos or windows at a time on a GPU, halved if they do not fit; a processor takes "
        "one a core",
    )
    text = "processes that read photos; with 0 or 1 this one does"
    workers = min(8, available_cores())
    add("--workers", type=at_least(0), default=workers, metavar="N", help=text)
    add(
        "--shard",
        type=told_by(Shard.parse),
        metavar="I/N",
        help="only the I-th of N parts, for N machines; by default what torchrun or a Slurm array "
        "sets in the environment",
    )
    add(
        "--merge_reports",
        action="store_true",
        help="when all shards are done: make one predictions.json of their reports, then scores "
        "and COCO results if asked for",
    )
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, checked one by one and against each other."""
    parser = build_parser()
    args = parser.parse_args(argv)
    given = bool(args.files) + bool(args.images_dir or args.list)
    if given != 1:
        parser.error("expected photos from one place: --images_dir, files, or --list")
    for path in args.files:
        if path.is_dir():
            parser.error(f"{path}: is a folder; give it as --images_dir {path}")
    if args.list and not args.list.is_file():
        parser.error(f"--list {args.list}: no such file")
    if args.list and not os.access(args.list, os.R_OK):
        parser.error(f"--list {args.list}: may not be read")
    if args.label_set and not args.masks_dir:
        parser.error("--label_set says what masks mean: give them by --masks_dir")
    if args.masks_dir and not args.masks_dir.is_dir():
        parser.error(f"--masks_dir {args.masks_dir}: no such folder")
    if args.masks_dir and args.masks_dir.resolve() == (args.output_dir / "masks").resolve():
        parser.error(f"--masks_dir {args.masks_dir}: predictions would be compared with themselves")
    if problem := unwritable(args.output_dir):
        parser.error(f"--output_dir {args.output_dir}: {problem}")
    return args


def choose_files(args: argparse.Namespace) -> list[PhotoFile]:
    """The files that the flags name, in the order in which they are done."""
    if args.images_dir and not args.images_dir.is_dir():
        raise ValueError(f"{args.images_dir}: no such folder")
    if args.files or args.list:
        files = named_photo_files(args.files or read_list(args.list), args.images_dir)
        # Path.exists raises an error at names that no file can have.
        if not any(os.path.exists(file.path) for file in files):  # noqa: PTH110
            others = ", nor are there the others" if len(files) > 1 else ""
            raise ValueError(f"{files[0].path}: no such file{others}")
        return files
    return find_photo_files(
        args.images_dir, recursive=not args.no_recursive, without=own_paths(args.output_dir)
    )


def choose_checkpoint(path: Path) -> Path:
    """The file of a checkpoint, or of a run's best.

    Raises:
        ValueError: there is none, or it may not be read.
    """
    try:
        checkpoint = find_checkpoint(path, "best.pt")
        allowed = os.access(checkpoint, os.R_OK)
    except PermissionError:  # of a folder on the way
        checkpoint, allowed = path, False
    if not allowed:
        raise ValueError(f"--checkpoint {checkpoint}: may not be read")
    return checkpoint


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that decide what is predicted."""
    names = ("amp", "tta", "tile", "min_confidence")
    options = {name: getattr(args, name) for name in names}
    return {**options, "tile_overlap": args.tile and args.tile_overlap, "exif": not args.no_exif}


def load_predictor(args: argparse.Namespace, checkpoint: Checkpoint, machine: Machine) -> Predictor:
    """The network, ready to predict."""
    from models.prediction import PROBABILITY_TYPES
    from models.predictor import Predictor

    return Predictor(
        checkpoint,
        machine,
        plain=args.amp == "off",
        image_size=args.image_size,
        flip=args.tta,
        tile=args.tile,
        tile_overlap=args.tile_overlap,
        min_confidence=args.min_confidence,
        probabilities=args.save_probabilities and PROBABILITY_TYPES[args.save_probabilities],
        batch_size=args.batch_size,
    )


def predict(predictor: Predictor, photos: Iterable[Photo]) -> Generator[Predicted, None, None]:
    """Photos -> photos with their label maps, in order."""
    from models.predictor import tensor_of

    pairs = ((photo, tensor_of(photo.image)) for photo in photos if photo.image is not None)
    with closing(predictor.stream(pairs)) as predictions:
        for photo, prediction in predictions:
            shares = prediction.probabilities
            yield photo, prediction.label_map.numpy(), None if shares is None else shares.numpy()


def score(output_dir: Path, about: dict[str, Any], entries: Sequence[Entry], truth: Truth) -> int:
    """Compare the masks on disk with the truth, write scores. Gives the number of failures.

    Args:
        output_dir: the prediction folder.
        about: what its report says of all files.
        entries: of the files.
        truth: the masks to compare with.
    """
    import torch

    from metrics.confusion_matrix import confusion_matrix
    from metrics.report import image_row, report_dict, score_table

    label_set = LabelSet.from_dict(about["label_set"])
    names, background = label_set.names, label_set.has_background

    def compare(pair: tuple[Entry, Path]) -> Tensor | str:
        entry, mask = pair
        size = (entry["height"], entry["width"])
        try:
            label_map = truth.read(mask, size, entry.get("exif_orientation", 1))
        except (ValueError, OSError) as error:
            return str(error)
        prediction = read_mask(output_dir / entry["mask"])
        maps = (torch.from_numpy(label_map), torch.from_numpy(prediction))
        return confusion_matrix(*maps, len(names), IGNORE_INDEX)

    written = [entry for entry in entries if entry["status"] == "written"]
    pairs = [(entry, mask) for entry in written if (mask := truth.masks.get(entry["file"]))]
    total = torch.zeros(len(names), len(names), dtype=torch.int64)
    rows, not_scored, pixels = [], [], 0
    with ThreadPoolExecutor(available_cores()) as pool:
        for (entry, _), counts in zip(pairs, pool.map(compare, pairs), strict=True):
            if isinstance(counts, str):
                not_scored.append({"file": entry["file"], "reason": counts})
                logger.warning("not scored: %s", counts)
                continue
            total += counts
            pixels += entry["height"] * entry["width"]
            rows.append({"file": entry["file"], **image_row(counts, names)})
    if not rows:
        remove_results(output_dir, SCORE_FILES)
        logger.warning(
            "no predicted image has a mask that can be compared with it, so there are no scores"
        )
        return max(1, len(not_scored))
    scored = {
        "checkpoint_sha256": about["checkpoint_sha256"],
        "images": len(rows),
        "images_without_mask": len(written) - len(pairs),
        "ignored_share": 1 - int(total.sum()) / pixels,
        "not_scored": not_scored,
    }
    write_scores(output_dir, {**scored, **report_dict(total, names, background=background)}, rows)
    logger.info("%s", score_table(total, names, background=background))
    logger.info("scores of %d images in %s", len(rows), output_dir / "scores.csv")
    return len(not_scored)


def finish(
    args: argparse.Namespace, about: dict[str, Any], entries: Sequence[Entry], truth: Truth | None
) -> int:
    """What needs all predictions: scores and COCO results. Gives the number of failures."""
    label_set = LabelSet.from_dict(about["label_set"])
    failures = [entry["status"] for entry in entries].count("failed")
    if args.coco_results:
        write_coco_results(args.output_dir, entries, label_set, args.workers)
    if truth:
        failures += score(args.output_dir, about, entries, truth)
    return failures


def run(args: argparse.Namespace) -> int:
    """The recipe: checks, network, predictions, report. Gives the number of failures."""
    if args.merge_reports:
        merged = merge_reports(args.output_dir)
        logger.info("%s: %d files", args.output_dir / REPORT_NAME, len(merged["images"]))
        photos = {e["file"]: Path(args.images_dir or "", e["file"]) for e in merged["images"]}
        masks = find_masks(args.masks_dir, list(photos)) if args.masks_dir else None
        truth = masks and load_truth(
            args.masks_dir, masks, photos, merged, args.workers, args.label_set
        )
        return finish(args, merged, merged["images"], truth or None)
    files = choose_files(args)
    masks = find_masks(args.masks_dir, [f.name for f in files]) if args.masks_dir else None
    checkpoint_path = choose_checkpoint(args.checkpoint)
    check_prediction_dir(args.output_dir)
    part = args.shard or shard_of_environment(os.environ) or Shard()

    from models.checkpoint import read_checkpoint
    from models.prediction import View
    from runtime.devices import Machine
    from runtime.distributed import ALONE, world_of_environment

    world = world_of_environment(os.environ) if "LOCAL_RANK" in os.environ else ALONE
    machine = Machine.choose(args.device, args.amp, compile=args.compile, world=world)
    checkpoint, digest = read_checkpoint(checkpoint_path)
    label_set = LabelSet.from_dict(checkpoint["label_set"])
    if args.min_confidence and not label_set.has_background:
        raise ValueError(
            "--min_confidence makes pixels background, and this network has none: its labels are "
            f"{', '.join(label_set.names)}"
        )
    about = {
        "checkpoint": str(checkpoint_path),
        "checkpoint_sha256": digest,
        **View.of_checkpoint(checkpoint, args.image_size, whole=args.tile is None).to_dict(),
        "options": options_of(args),
        "mask_values": checkpoint.get("mask_values"),
        "label_set": label_set.to_dict(),
    }
    in_report = {**about, **about_files([file.name for file in files], part)}
    made_from = {**about, "checkpoint": None, "probabilities": args.save_probabilities}
    folder = PredictionFolder(
        args.output_dir,
        label_set,
        made_from,
        side_by_side=args.side_by_side,
        probabilities=args.save_probabilities is not None,
        overwrite=args.overwrite,
    )
    mine = part.part(files)
    photos = {file.name: file.path for file in mine}
    truth = masks and load_truth(args.masks_dir, masks, photos, about, args.workers, args.label_set)
    work = PredictionRun(folder, exif=not args.no_exif, workers=args.workers)
    to_do = work.keep(mine)
    logger.info("checkpoint  %s, %d labels", checkpoint_path, len(label_set))
    logger.info("images      %d files, %d up to date", len(mine), work.num_kept)
    logger.info("device      %s", machine)
    report = report_path(args.output_dir / REPORT_NAME, part)
    # A report of before stays as it is until nothing can be refused any more.
    with load_predictor(args, checkpoint, machine) if to_do else nullcontext() as predictor:
        open_report(report, in_report, None if to_do else work.entries(mine))
        if predictor:
            work.run(to_do, partial(predict, predictor))
    entries = work.entries(mine)
    close_report(report, in_report, entries)

    counts = Counter(entry["status"] for entry in entries)
    logger.info(
        "%d masks written, %d kept as up to date; %d files skipped, %d failed",
        *(counts["written"] - work.num_kept, work.num_kept),
        *(counts["skipped"], counts["failed"]),
    )
    if part.count > 1:
        logger.info("when all %d parts are done, run once with --merge_reports", part.count)
        return counts["failed"]
    if not counts["written"] and not counts["failed"]:
        raise ValueError(f"none of the {len(files)} files is an image, expected {KNOWN}")
    logger.info("look at %s", args.output_dir / "overlays")
    return finish(args, about, entries, truth or None)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command("inference.py", lambda: 1 if run(args) else 0)


if __name__ == "__main__":
    raise SystemExit(main())
