"""COCO instance annotations -> label-mask PNGs.

    python3 generate_masks.py --images_dir coco_dataset/train2017 \\
        --annotations_file coco_dataset/annotations/instances_train2017.json \\
        --output_dir coco_dataset/masks_train --max_images 5000

Nine groups of categories by default; --binary: object or not; --no_grouping: a label a category.
Running a command again continues it: masks that are up to date are kept.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path

from datasets.coco.annotations import AnnotationFiles, AnnotationsByImage
from datasets.coco.image_files import ImageFile, find_image_files
from datasets.coco.records import Id, ImageEntry, normal_id
from datasets.label_mapping import REPORT_NAME
from datasets.label_sets import (
    binary_label_set,
    category_label_set,
    load_label_set,
    read_label_set,
    write_label_set,
)
from datasets.labels import LabelSet
from datasets.mask_files import PNG_MODES
from datasets.masks.account import MaskReport
from datasets.masks.folder import check_reports, merge_reports, selection_digest, write_classes
from datasets.masks.label_map import Rules
from datasets.masks.painting import CROWD_RULES, OVERLAP_RULES
from datasets.masks.preview import draw_previews
from datasets.masks.summary import collect, remark_on_file, show, verdict
from datasets.masks.writer import MaskWriter, Result
from runtime.command_line import CommandParser, at_least, run_command, told_by
from runtime.files import unwritable, write_json
from runtime.locks import locked
from runtime.shards import Shard, report_path, shard_of_environment
from runtime.workers import available_cores, ordered_map

LOCK_NAME = ".generate_masks.lock"
PILLOW_WARNS = 89_478_485  # Image.MAX_IMAGE_PIXELS; of twice as many it raises an error

logger = logging.getLogger("generate_masks")


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser("generate_masks.py", __doc__)
    add_file_flags(parser.add_argument_group("files").add_argument)
    add_label_flags(parser.add_argument_group("labels"))
    add_work_flags(parser.add_argument_group("work").add_argument)
    return parser


def add_file_flags(add: Callable[..., object]) -> None:
    add("--images_dir", type=Path, required=True, metavar="DIR", help="folder of the images")
    text = "COCO instance annotations, JSON, also gzip; in several, images meet by file name"
    add("--annotations_file", type=Path, nargs="+", required=True, metavar="FILE", help=text)
    text = "folder for the masks and masks.json; classes.txt goes beside it"
    add("--output_dir", type=Path, required=True, metavar="DIR", help=text)
    add("--max_images", type=at_least(1), metavar="N", help="only the first N images, by id")
    add("--image_ids", type=Path, metavar="FILE", help="only images with these ids, one a line")
    text = "no masks for images without annotations; those made before stay, with a warning"
    add("--skip_empty", action="store_true", help=text)
    text = "make masks also for images that are missing or of another size than annotated"
    add("--no_check_images", action="store_true", help=text)
    text = "annotations are of the upright picture also where their size fits the stored pixels too"
    add("--exif_upright", action="store_true", help=text)
    text = "redo masks, also those of other options, and replace files of others in their place"
    add("--overwrite", action="store_true", help=text)
    text = "draw the first N images beside their masks, in the folder OUTPUT_DIR_preview"
    add("--preview", type=at_least(1), metavar="N", help=text)


def add_label_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_mutually_exclusive_group().add_argument
    add("--binary", "-binary", action="store_true", help="two labels: background and object")
    add("--no_grouping", action="store_true", help="one label a category, in order of its id")
    text = "groups: the nine groups; voc: the 20 Pascal VOC classes; or your own FILE.json"
    add("--label_set", default="groups", metavar="NAME", help=text)
    add = group.add_argument
    text = "write a label set of this annotation file's categories, to be edited, and stop"
    add("--write_label_set", type=Path, metavar="FILE", help=text)
    text = (
        "who keeps a pixel that several labels claim: the label of higher priority (the default if "
        "there are priorities), the later annotation, the smaller region, or nobody (255)"
    )
    add("--overlap", choices=OVERLAP_RULES, help=text)
    text = "paint crowds as any annotation, leave them out, or make 255 what is only crowd"
    add("--crowd", choices=CROWD_RULES, default="paint", help=text)
    text = "pixels that an even number of an annotation's polygons cover: keep (COCO's rule) or cut"
    add("--holes", choices=("keep", "cut"), default="keep", help=text)
    text = "gray for readers that turn palettes into colours, such as OpenCV's imread"
    add("--png_mode", choices=PNG_MODES, default="palette", help=text)


def add_work_flags(add: Callable[..., object]) -> None:
    text = "worker processes; the masks are the same with any number"
    add("--workers", type=at_least(1), default=available_cores(), metavar="N", help=text)
    text = "only the I-th of N parts; by default what torchrun or a Slurm array sets"
    add("--shard", type=told_by(Shard.parse), metavar="I/N", help=text)
    text = "when all shards are done: make one masks.json of their reports, and stop"
    add("--merge_reports", action="store_true", help=text)


def choose_label_set(args: argparse.Namespace, file: AnnotationFiles) -> LabelSet:
    names = file.category_names
    if args.binary:
        return binary_label_set(names)
    if args.no_grouping:
        return category_label_set(names)
    label_set = load_label_set(args.label_set, names)
    if not set(names) & label_set.index_by_category.keys():
        raise ValueError(
            f"{file.name}: none of its {len(names)} categories "
            f"({', '.join(map(repr, names[:5]))}{', ...' if len(names) > 5 else ''}) is in the "
            f"label set {label_set.name!r}, so every mask would be empty; use --no_grouping for a "
            "label a category, or --write_label_set FILE.json for a label set to edit"
        )
    return label_set


def read_image_ids(path: Path) -> set[Id | None]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors put a mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"--image_ids {path}: expected text in UTF-8: {error}") from error
    wanted = {normal_id(line) for line in text.split()}
    if not wanted:
        raise ValueError(f"--image_ids {path}: holds no ids; expected one a line")
    return wanted


def choose_images(args: argparse.Namespace, file: AnnotationFiles) -> Sequence[ImageEntry]:
    images = file.images
    if args.image_ids:
        wanted = read_image_ids(args.image_ids)
        missing = wanted - {image.id for image in images}
        if missing:
            some = ", ".join(sorted(map(str, missing))[:5])
            raise ValueError(
                f"{args.image_ids}: {len(missing):,} of its {len(wanted):,} ids are not in "
                f"{file.name}: {some}"
            )
        images = tuple(image for image in images if image.id in wanted)
    images = images[: args.max_images]
    if not images:
        reasons = Counter(reason for _, reason in file.skipped_images)
        why = ": " + "; ".join(f"{n:,} x {reason}" for reason, n in reasons.most_common())
        first = f", such as {file.skipped_images[0][0]!r}" if reasons else ""
        raise ValueError(
            f"{file.name}: no usable image is left to make a mask of{why if reasons else ''}{first}"
        )
    if large := [image for image in images if image.height * image.width > PILLOW_WARNS]:
        logger.warning(
            "%s images, such as %s, have more than %s pixels: Pillow warns of their masks or, of "
            "twice as many, refuses to open them",
            *(len(large), large[0].file_name, f"{PILLOW_WARNS:,}"),
        )
    return images


def choose_files(args: argparse.Namespace, images: Sequence[ImageEntry]) -> list[ImageFile]:
    files = find_image_files(args.images_dir, images)
    if not args.no_check_images and not any(file.image for file in files):
        detail = f" ({files[0].problem}; {files[0].detail})" if files[0].detail else ""
        raise ValueError(
            f"--images_dir {args.images_dir}: holds none of the {len(files):,} images that the "
            f"annotation file names, such as {images[0].file_name!r}{detail}; is it the right "
            "folder? (--no_check_images makes masks without images)"
        )
    if respelled := [n for n, file in enumerate(files) if file.image and file.detail]:
        some = "; ".join(f"{images[n].file_name} as {str(files[n].image)!a}" for n in respelled[:3])
        text = "%s images have names of another suffix case or Unicode form, as their masks do: %s"
        logger.warning(text, f"{len(respelled):,}", some)
    return files


def new_report(args: argparse.Namespace, file: AnnotationFiles) -> MaskReport:
    label_set = choose_label_set(args, file)
    if args.overlap == "priority" and not label_set.has_priorities:
        raise ValueError(
            f"--overlap priority: the label set {label_set.name!r} has no priorities; choose "
            "another rule, or give its labels priorities in a file for --label_set"
        )
    overlap = args.overlap or ("priority" if label_set.has_priorities else "later")
    options = {
        "overlap": overlap,
        "crowd": args.crowd,
        "png_mode": args.png_mode,
        **({"holes": args.holes} if args.holes != "keep" else {}),
        **({"exif": "upright"} if args.exif_upright else {}),
    }
    return MaskReport(label_set, options, file.source)


def new_writer(args: argparse.Namespace, file: AnnotationFiles, report: MaskReport) -> MaskWriter:
    labels, overlap = report.label_set, report.options["overlap"]
    return MaskWriter(
        args.output_dir,
        Rules(labels, file.categories, overlap, args.crowd, cut_holes=args.holes == "cut"),
        palette=bytes(labels.palette()) if args.png_mode == "palette" else None,
        images_dir=args.images_dir,
        check_images=not args.no_check_images,
        upright=args.exif_upright,
        overwrite=args.overwrite,
    )


def generate(args: argparse.Namespace, part: Shard) -> int:
    whole = args.output_dir / REPORT_NAME
    path = report_path(whole, part)
    with AnnotationFiles(args.annotations_file) as file:
        report = new_report(args, file)
        images = choose_images(args, file)
        files = choose_files(args, images)
        check_reports(whole, report, args.overwrite)
        writer = new_writer(args, file, report)
        found = AnnotationsByImage(file, images)
        chosen = [n for n in range(len(images)) if found.count(n) or not args.skip_empty]
        if others := writer.check_other_masks(files[n].mask for n in chosen):
            logger.warning(
                "%s holds %s more masks, of images that are not selected now: %s leaves them out",
                *(args.output_dir, f"{others:,}", whole.name),
            )
        if path != whole:
            report.selection = selection_digest(images[n].id for n in chosen)

        args.output_dir.mkdir(parents=True, exist_ok=True)
        lock = args.output_dir / LOCK_NAME
        with locked(lock, shared=path != whole), locked(lock.with_name(f".{path.name}.lock")):
            with locked(lock.with_name(".start.lock"), wait=True):  # each sees the others' reports
                check_reports(whole, report, args.overwrite)
                if path != whole and args.overwrite:
                    whole.unlink(missing_ok=True)  # it tells of masks that are being replaced
                write_json(path, report.to_dict(complete=False))
            if part.index == 1:  # of the whole file: one shard sees to it, or all would
                remark_on_file(report.account, file, found)
                write_classes(args.output_dir.parent / "classes.txt", file.category_names)
            mine = part.part(chosen)
            jobs = ((images[n], files[n], found.of_image(n)) for n in mine)
            results = ordered_map(writer, jobs, args.workers)
            with closing(results):
                done = collect(with_bar(results, len(mine)), report.account)
            write_json(path, report.to_dict(complete=True))
    if args.preview:
        folder = args.output_dir.with_name(args.output_dir.name + "_preview")
        where = (folder, args.output_dir, [files[n] for n in chosen])
        drawn = draw_previews(*where, report.label_set, args.preview, args.overwrite)
        print(f"{len(drawn)} previews in {folder}")
    show(report)
    print(done_line(args.output_dir, done, path))
    stray = not found.found and bool(found.remarks)
    return verdict(report.account, stray) if path == whole else 0


def with_bar(results: Iterable[Result], total: int) -> Iterator[Result]:
    """The results, with a bar on a terminal; where there is none, 0.1 s of imports are saved."""
    if not sys.stderr.isatty():
        yield from results
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm():
        yield from tqdm(results, total=total, unit="mask")


def done_line(output_dir: Path, done: Counter[str], report: Path) -> str:
    written, replaced = done["written"] + done["replaced"], done["replaced"]
    foreign = f" ({replaced:,} in place of files not made by this command)" if replaced else ""
    return (
        f"{output_dir}: {written:,} masks written{foreign}, {done['kept']:,} kept as up to date, "
        f"{done['skipped']:,} images skipped; the whole report is {report.name}"
    )


def write_label_set_of(args: argparse.Namespace) -> int:
    path, is_ours = args.write_label_set, False
    if path.exists():
        with suppress(OSError, ValueError):
            is_ours = not read_label_set(path).describes_masks  # any text could be a list of names
        if not is_ours:
            raise ValueError(f"{path}: is no label set, so it is not replaced; choose another name")
        if not args.overwrite:
            raise ValueError(f"{path}: exists already; --overwrite replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with AnnotationFiles(args.annotations_file) as file:
        write_label_set(path, file.category_names)
    print(f"{path}: edit it, then use it with --label_set {path}")
    return 0


def run(args: argparse.Namespace) -> int:
    """One of the three things that the flags ask for. Gives the exit code."""
    if args.write_label_set and not args.merge_reports:
        return write_label_set_of(args)
    if not args.merge_reports:
        return generate(args, args.shard or shard_of_environment(os.environ))
    with locked(args.output_dir / LOCK_NAME) if args.output_dir.is_dir() else nullcontext():
        report = merge_reports(args.output_dir)
    show(report)
    return verdict(report.account)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if not args.images_dir.is_dir():
        parser.error(f"--images_dir {args.images_dir}: no such folder")
    if not os.access(args.images_dir, os.R_OK | os.X_OK):
        parser.error(f"--images_dir {args.images_dir}: permission denied, it cannot be read")
    inputs = [("annotations_file", path) for path in args.annotations_file]
    for flag, path in [*inputs, *([("image_ids", args.image_ids)] if args.image_ids else [])]:
        if not path.exists() or path.is_dir():  # pipes are files, too
            what = "is a folder, expected a file" if path.is_dir() else "no such file"
            parser.error(f"--{flag} {path}: {what}")
    if args.output_dir.resolve() == args.images_dir.resolve():
        parser.error(f"--output_dir {args.output_dir}: is the folder of the images; choose another")
    if not args.output_dir.is_dir() and (reason := unwritable(args.output_dir)):
        parser.error(f"--output_dir {args.output_dir}: {reason}")
    if not args.output_dir.name:  # "." has no name to put classes.txt and previews beside
        args.output_dir = args.output_dir.absolute()
    return run_command(parser.prog, partial(run, args))


if __name__ == "__main__":
    raise SystemExit(main())
