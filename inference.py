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
import shlex
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Nothing here loads PyTorch, which takes seconds: a mistake in flags or paths is told at once.
from datasets.coco.results import write_coco_results
from datasets.label_sets import read_description
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.predictions.folder import PredictionFolder
from datasets.predictions.outputs import OUTPUTS, REPORT_NAME, SCORE_FILES, Entry, wanted_outputs
from datasets.predictions.photo_files import choose_photo_files
from datasets.predictions.photos import KNOWN, Photo
from datasets.predictions.pipeline import PhotoPipeline, Predicted
from datasets.predictions.report import (
    check_prediction_dir,
    merge_reports,
    remove_results,
    shared_by_shards,
    write_report,
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
from runtime.locks import locked
from runtime.run_folder import find_checkpoint
from runtime.shards import Shard, report_path, shard_of_environment
from runtime.workers import available_cores

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint
    from models.predictor import Predictor
    from runtime.devices import Machine

LOCK_NAME = ".inference.lock"

logger = logging.getLogger("inference")


def build_parser() -> CommandParser:
    """The flags. Every default stands below and nowhere else."""
    parser = CommandParser("inference.py", __doc__)
    _add_files(parser)
    _add_settings(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("input: a folder, files, or a list of files").add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="photos")
    add("--images_dir", type=Path, metavar="DIR", help="folder of photos")
    text = "text file with a photo's path on each line, relative to --images_dir if that is given"
    add("--list", type=Path, metavar="FILE", help=text)
    text = "sub-folders do not count"
    add("--no_recursive", action="store_true", help=text)
    add("--no_exif", action="store_true", help="leave photos as they are stored, not upright")
    text = "checkpoint file, or the folder of a training run: its best"
    add("--checkpoint", type=Path, required=True, metavar="RUN", help=text)

    add = parser.add_argument_group("output").add_argument
    add("--output_dir", type=Path, required=True, metavar="DIR", help="folder; made if missing")
    add("--overwrite", action="store_true", help="redo what is up to date, replace foreign files")
    for row in OUTPUTS.values():
        if row.flag:
            add(f"--{row.flag}", help=row.help, **row.argument)
    add("--coco_results", action="store_true", help="also results.json, for pycocotools")
    text = "masks to compare with, at the photos' own sizes: writes scores (JSON, CSV, a picture)"
    add("--masks_dir", type=Path, metavar="DIR", help=text)
    text = "what the pixel values of --masks_dir mean, if no file in it says so: JSON or text"
    add("--label_set", type=told_by(read_description), metavar="FILE", help=text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("quality").add_argument
    add(
        "--image_size",
        action=HeightAndWidth,
        help="height and width at which the network sees a photo, one number for a square or, "
        "if it was trained with --crop, for the shorter side; as in training if not given",
    )
    add("--tta", action="store_true", help="average with what the network says of the mirror image")
    text = "see a photo through windows of so many of its pixels in height, and blend them"
    add("--tile", type=at_least(16), metavar="PIXELS", help=text)
    text = "share of a window that the next one covers too, 0 to 0.9"
    add("--tile_overlap", type=between(0, 0.9), default=0.25, metavar="SHARE", help=text)
    text = "pixels whose label is less probable become background, 0..1"
    add("--min_confidence", type=between(0, 1), default=0.0, metavar="P", help=text)

    add = parser.add_argument_group("machine").add_argument
    add("--device", choices=DEVICES, default="auto", help="auto takes a GPU if there is one")
    text = "precision: auto is bf16 where the hardware multiplies it, else off: plain float32"
    add("--amp", choices=AMP, default="auto", help=text)
    add("--compile", action="store_true", help="let torch.compile make code: a minute at the start")
    text = "photos or windows at a time on a GPU, halved if they do not fit; 8 if not given"
    add("--batch_size", type=at_least(1), metavar="N", help=text)
    text = "processes that read photos; with 0 or 1 this one does"
    workers = min(8, available_cores())
    add("--workers", type=at_least(0), default=workers, metavar="N", help=text)
    text = "only the I-th of N parts; by default as torchrun or a Slurm array says"
    add("--shard", type=told_by(Shard.parse), metavar="I/N", help=text)
    text = "when all shards are done: one predictions.json, then scores and results if asked for"
    add("--merge_reports", action="store_true", help=text)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, checked one by one and against each other."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for is_wrong, message in _mistakes(args, parser.given(argv).keys()):
        if is_wrong:
            parser.error(message)
    return args


def _mistakes(args: argparse.Namespace, given: Collection[str]) -> Iterator[tuple[object, str]]:
    """Whether flags contradict each other or the disk, or change nothing; and what to say then."""
    photos, masks, out = args.images_dir, args.masks_dir, args.output_dir
    text = "expected photos from one place: --images_dir, files, or --list"
    yield bool(args.files) == bool(photos or args.list), text
    for path in args.files:
        text = f"{path}: is a folder; give it as --images_dir {shlex.quote(str(path))}"
        yield path.is_dir(), text
    text = f"--images_dir {photos}: is a file; give it without --images_dir"
    yield photos and photos.is_file(), text
    text = "--no_recursive is of --images_dir: it changes nothing here"
    yield args.no_recursive and (args.list or not photos), text
    text = "--label_set says what masks mean: give them by --masks_dir"
    yield args.label_set and not masks, text
    yield masks and not masks.is_dir(), f"--masks_dir {masks}: no such folder"
    text = f"--masks_dir {masks}: predictions would be compared with themselves"
    yield masks and masks.resolve() == (out / "masks").resolve(), text
    text = "--tile_overlap is of the windows that --tile asks for: give it too"
    yield "tile_overlap" in given and not args.tile, text
    text = "--merge_reports is of all shards: leave out --shard"
    yield "shard" in given and args.merge_reports, text
    text = f"--output_dir {out}: no such folder, expected the reports of shards in it"
    yield args.merge_reports and not out.is_dir(), text
    yield (problem := unwritable(out)), f"--output_dir {out}: {problem}"


def about_all(args: argparse.Namespace, checkpoint: Checkpoint) -> dict[str, Any]:
    """What the report says of all files; a ValueError if a flag asks what the network cannot."""
    from models.prediction import View

    label_set = LabelSet.from_dict(checkpoint["label_set"])
    if args.min_confidence and not label_set.has_background:
        raise ValueError(
            "--min_confidence makes pixels background, and this network has none: its labels are "
            f"{', '.join(label_set.names)}"
        )
    options = {name: getattr(args, name) for name in ("amp", "tta", "tile", "min_confidence")}
    overlap = args.tile and args.tile_overlap
    return {
        **View.of_checkpoint(checkpoint, args.image_size, whole=args.tile is None).to_dict(),
        "options": {**options, "tile_overlap": overlap, "exif": not args.no_exif},
        "mask_values": checkpoint.get("mask_values"),
        "label_set": label_set.to_dict(),
    }


def load_predictor(args: argparse.Namespace, checkpoint: Checkpoint, machine: Machine) -> Predictor:
    """The network, ready to predict."""
    import torch

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
        probabilities=args.save_probabilities and getattr(torch, args.save_probabilities),
        batch_size=args.batch_size or 8,
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
    """Compare the masks on disk with the truth, write scores. Gives the number of failures."""
    from metrics.evaluation import score_images, write_scores

    label_set = LabelSet.from_dict(about["label_set"])
    written = [entry for entry in entries if entry["status"] == "written"]
    pairs = truth.pairs(output_dir, written)
    scored = score_images(pairs, label_set.names, IGNORE_INDEX)
    if not scored.rows:
        remove_results(output_dir, SCORE_FILES)
        logger.warning("no predicted image has a mask that can be compared with it: no scores")
        return max(1, len(scored.not_scored))
    said = {
        "checkpoint_sha256": about["checkpoint_sha256"],
        "images": len(scored.rows),
        "images_without_mask": len(written) - len(pairs),
    }
    names, background = label_set.names, label_set.has_background
    print(write_scores(output_dir, scored, said, names, background))
    logger.info("scores of %d images in %s", len(scored.rows), output_dir / "scores.csv")
    return len(scored.not_scored)


def finish(
    args: argparse.Namespace, about: dict[str, Any], entries: Sequence[Entry], truth: Truth | None
) -> int:
    """What needs all predictions: scores and COCO results. Gives the number of failures."""
    failures = [entry["status"] for entry in entries].count("failed")
    if args.coco_results:
        label_set = LabelSet.from_dict(about["label_set"])
        write_coco_results(args.output_dir, entries, label_set, args.workers)
    return failures + (score(args.output_dir, about, entries, truth) if truth else 0)


def merge(args: argparse.Namespace) -> int:
    """The reports of all shards become one. Gives the number of failures."""
    with locked(args.output_dir / LOCK_NAME):
        merged = merge_reports(args.output_dir)
        entries, truth = merged["images"], None
        logger.info("%s: %d files", args.output_dir / REPORT_NAME, len(entries))
        if args.masks_dir:
            names = [entry["file"] for entry in entries]
            photos = {name: Path(args.images_dir or "", name) for name in names}
            masks = find_masks(args.masks_dir, names)
            truth = load_truth(args.masks_dir, masks, photos, merged, args.workers, args.label_set)
        return finish(args, merged, entries, truth)


def segment(args: argparse.Namespace) -> int:
    """The recipe: checks, network, predictions, report. Gives the number of failures."""
    truth = None
    files = choose_photo_files(
        args.files, args.list, args.images_dir, recursive=not args.no_recursive
    )
    names = [file.name for file in files]
    masks = find_masks(args.masks_dir, names) if args.masks_dir else None
    checkpoint_path = find_checkpoint(args.checkpoint, "best.pt")
    check_prediction_dir(args.output_dir)
    part = args.shard or shard_of_environment(os.environ)

    from models.checkpoint import read_checkpoint
    from runtime.devices import ALONE, Machine, world_of_environment

    world = world_of_environment(os.environ) if "LOCAL_RANK" in os.environ else ALONE
    machine = Machine.choose(args.device, args.amp, compile=args.compile, world=world)
    if args.batch_size and machine.device.type == "cpu":
        logger.warning("--batch_size: of no effect on a processor, which takes a photo a core")
    checkpoint, digest = read_checkpoint(checkpoint_path)
    about = {"checkpoint": str(checkpoint_path), "checkpoint_sha256": digest}
    about |= about_all(args, checkpoint)
    made_from = {**about, "checkpoint": None}
    label_set = LabelSet.from_dict(checkpoint["label_set"])
    outputs = wanted_outputs(vars(args))
    folder = PredictionFolder(args.output_dir, label_set, made_from, outputs, args.overwrite)
    mine = part.part(files)
    if masks:
        photos = {file.name: file.path for file in mine}
        truth = load_truth(args.masks_dir, masks, photos, about, args.workers, args.label_set)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with locked(args.output_dir / LOCK_NAME, shared=part.count > 1):
        work = PhotoPipeline(folder, exif=not args.no_exif, workers=args.workers)
        to_do = work.keep(mine)
        logger.info("checkpoint  %s, %d labels", checkpoint_path, len(label_set))
        logger.info("images      %d files, %d up to date", len(mine), work.num_kept)
        logger.info("device      %s", machine)
        if others := folder.count_others(files):
            text = "%s holds %d more masks, of other files than these; %s will not name them"
            logger.warning(text, args.output_dir, others, REPORT_NAME)
        path = report_path(args.output_dir / REPORT_NAME, part)
        if part.count > 1:
            about |= shared_by_shards(names)
        # A report of before stays as it is until nothing can be refused any more.
        with load_predictor(args, checkpoint, machine) if to_do else nullcontext() as predictor:
            if work.replaces:
                remove_results(args.output_dir)
            write_report(path, about, [], complete=False)
            if predictor:
                work.segment(to_do, partial(predict, predictor))
        entries = work.told_entries(mine)
        write_report(path, about, entries, complete=True)
        statuses = [entry["status"] for entry in entries]
        if part.count > 1:
            logger.info("when all %d parts are done, run once with --merge_reports", part.count)
            return statuses.count("failed")
        if not {"written", "failed"} & {*statuses}:
            raise ValueError(f"none of the {len(files)} files is an image, expected {KNOWN}")
        if "written" in statuses:
            logger.info("look at %s", args.output_dir / OUTPUTS["overlay"].folder)
        return finish(args, about, entries, truth)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failures = merge if args.merge_reports else segment
    return run_command("inference.py", lambda: 1 if failures(args) else 0)


if __name__ == "__main__":
    raise SystemExit(main())
