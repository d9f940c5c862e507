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
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.annotations import AnnotationFile, AnnotationsByImage, Id, ImageEntry
from datasets.drawing import Rules
from datasets.image_files import ImageFile, find_image_file
from datasets.label_set import GROUPS, LabelSet, binary_label_set, category_label_set
from datasets.mask_report import REPORT_NAME, MaskReport, read_report
from datasets.mask_summary import summary_lines
from datasets.mask_writer import MaskJob, MaskResult, MaskWriter
from runtime.files import write_json, write_text
from runtime.workers import available_cores, ordered_map

MOST_LOGGED = 20  # bad annotations of one reason named on the terminal

logger = logging.getLogger("generate_masks")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    files = parser.add_argument_group("files")
    files.add_argument("--images_dir", type=Path, required=True, help="folder of the images")
    files.add_argument(
        "--annotations_file",
        type=Path,
        required=True,
        help="COCO instance annotations, JSON, also gzip-compressed",
    )
    files.add_argument(
        "--output_dir",
        type=Path,
        required=True,
        help="folder for the masks and masks.json; classes.txt goes beside it",
    )
    files.add_argument(
        "--max_images",
        type=positive_int,
        metavar="N",
        help="only the first N images in ascending order of id; all, if not given",
    )
    files.add_argument(
        "--overwrite",
        action="store_true",
        help="redo masks that are up to date, in a folder made with other options too",
    )

    labels = parser.add_argument_group("labels")
    which = labels.add_mutually_exclusive_group()
    which.add_argument(
        "--binary", "-binary", action="store_true", help="two labels: background and object"
    )
    which.add_argument(
        "--no_grouping",
        action="store_true",
        help="one label a category, in ascending order of id; later annotations win",
    )

    work = parser.add_argument_group("work")
    work.add_argument(
        "--workers",
        type=positive_int,
        default=available_cores(),
        metavar="N",
        help="worker processes; the masks are the same with any number",
    )
    return parser


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the examples as they stand."""


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1")
    return value


def choose_label_set(args: argparse.Namespace, categories: dict[Id, str]) -> LabelSet:
    if args.binary:
        return binary_label_set(categories.values())
    if args.no_grouping:
        return category_label_set(categories.values())
    if not set(categories.values()) & GROUPS.index_by_category.keys():
        some = ", ".join(repr(name) for name in list(categories.values())[:5])
        raise ValueError(
            f"{args.annotations_file}: none of its {len(categories)} categories ({some}, ...) is "
            f"in the label set {GROUPS.name!r}, so every mask would be empty; use --no_grouping "
            "for a label a category, or --binary"
        )
    return GROUPS


def find_image_files(images_dir: Path, images: Sequence[ImageEntry]) -> dict[Id, ImageFile]:
    """Where each image is and its mask belongs.

    Raises:
        ValueError: a name leads out of the folder, two masks would be one file, or not one of the
            images is there.
    """
    files: dict[Id, ImageFile] = {}
    owner: dict[str, str] = {}
    for image in images:
        file = files[image.id] = find_image_file(images_dir, image.file_name)
        other = owner.setdefault(str(file.mask), image.file_name)
        if other != image.file_name or len(files) != len(owner):
            raise ValueError(
                f"images {other!r} and {image.file_name!r} would both have the mask {file.mask}; "
                "rename one, in the annotation file too"
            )
    return files


def check_some_exist(images_dir: Path, files: dict[Id, ImageFile]) -> None:
    if not any(file.image for file in files.values()):
        first = next(iter(files.values())).mask.with_suffix("")
        raise ValueError(
            f"--images_dir {images_dir}: holds none of the {len(files):,} images that the "
            f"annotation file names; expected files such as {images_dir / first}.*"
        )


def check_folder(output_dir: Path, report: MaskReport) -> None:
    """Refuse to mix masks of different meaning in one folder.

    Raises:
        ValueError: the folder's masks.json tells of other options; names the difference.
    """
    old = read_report(output_dir)
    if old is None:
        return
    new = report.to_dict(complete=False)
    differences = [
        f"{key} {old['options'].get(key)!r} (now {value!r})"
        for key, value in new["options"].items()
        if old["options"].get(key) != value
    ]
    if old["label_set"] != new["label_set"]:
        differences.append(
            f"label set {old['label_set']['name']!r} (now {report.label_set.name!r})"
        )
    if old["source"]["annotations_file"] != new["source"]["annotations_file"]:
        differences.append(
            f"annotations {old['source']['annotations_file']!r}, "
            f"now {new['source']['annotations_file']!r}"
        )
    if differences:
        raise ValueError(
            f"{output_dir}: its masks were made otherwise: {'; '.join(differences)}; "
            "choose a new folder, or replace them with --overwrite"
        )


def write_classes(path: Path, names: Sequence[str]) -> None:
    """One category name a line; a file that says something else is somebody's, and stays."""
    text = "".join(f"{name}\n" for name in names)
    if not path.exists():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        logger.warning("%s lists other categories and is left as it is", path)


def jobs_of(
    images: Sequence[ImageEntry], files: dict[Id, ImageFile], annotations: AnnotationsByImage
) -> Iterator[MaskJob]:
    for number, image in enumerate(images):
        yield MaskJob(image, files[image.id], annotations.of_image(number))


def collect(results: Iterator[MaskResult], report: MaskReport) -> Counter[str]:
    """Add each result to the report, and name what was bad about it; count what was done."""
    done: Counter[str] = Counter()
    logged: Counter[str] = Counter()
    for result in results:
        name = result.entry.file_name
        if result.account is None:
            done["skipped"] += 1
            report.skipped_images.count(result.reason)
            report.skipped_images.list(result.reason, image=name)
            warn(logged, result.reason, f"image {name} (id {result.entry.id}): {result.reason}")
            continue
        done["written" if result.written else "kept"] += 1
        report.add(name, result.account)
        for annotation, reason in result.account.bad:
            warn(logged, reason, f"annotation {annotation} of image {result.entry.id}: {reason}")
    return done


def warn(logged: Counter[str], reason: str, text: str) -> None:
    logged[reason] += 1
    if logged[reason] <= MOST_LOGGED:
        logger.warning("%s", text)
    elif logged[reason] == MOST_LOGGED + 1:
        logger.warning("more of these are only counted: %s", reason)


def remark_on_file(report: MaskReport, file: AnnotationFile, found: AnnotationsByImage) -> None:
    for skipped in file.skipped_images:
        report.skipped_images.count(skipped.reason)
        report.skipped_images.list(skipped.reason, image=skipped.name)
    report.file_remarks["image entry repeated"] += file.repeated_image_ids
    report.file_remarks["annotation of an image that is not listed"] += found.unknown_images.total()
    report.file_remarks.update(found.unreadable)
    report.file_remarks = +report.file_remarks  # without zeros


def generate(args: argparse.Namespace) -> int:
    with AnnotationFile(args.annotations_file) as file:
        label_set = choose_label_set(args, file.categories)
        overlap = "priority" if label_set.has_priorities else "later"
        images = file.images[: args.max_images]
        if not images:
            raise ValueError(f"{args.annotations_file}: lists no usable image")
        files = find_image_files(args.images_dir, images)
        check_some_exist(args.images_dir, files)
        report = MaskReport(
            label_set,
            options={"overlap": overlap, "crowd": "paint", "png_mode": "palette"},
            source={"annotations_file": args.annotations_file.name, "sha256": file.sha256},
        )
        if not args.overwrite:
            check_folder(args.output_dir, report)
        found = file.annotations_of(images)
        remark_on_file(report, file, found)

        args.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(args.output_dir / REPORT_NAME, report.to_dict(complete=False))
        write_classes(args.output_dir.parent / "classes.txt", list(file.categories.values()))
        writer = MaskWriter(
            args.output_dir,
            Rules(label_set, file.categories, overlap, "paint"),
            palette=bytes(label_set.palette()),
            check_images=True,
            overwrite=args.overwrite,
        )
        results = ordered_map(writer, jobs_of(images, files, found), args.workers)
        progress = tqdm(results, total=len(images), unit="mask", disable=None)
        with logging_redirect_tqdm():
            done = collect(progress, report)
    write_json(args.output_dir / REPORT_NAME, report.to_dict(complete=True))
    print(*summary_lines(report), sep="\n")
    print(
        f"{args.output_dir}: {done['written']:,} masks written, {done['kept']:,} up to date, "
        f"{done['skipped']:,} images skipped; see {REPORT_NAME}"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if not args.images_dir.is_dir():
        parser.error(f"--images_dir {args.images_dir}: no such folder")
    if not args.annotations_file.is_file():
        parser.error(f"--annotations_file {args.annotations_file}: no such file")
    try:
        return generate(args)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except (OSError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: stopped: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\ninterrupted; the same command again goes on from here\n")


if __name__ == "__main__":
    raise SystemExit(main())
