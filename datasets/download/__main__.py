"""Download COCO 2017 in the layout that it unzips to: annotations, and the photographs asked for.

    python -m datasets.download                                      # 5,000 and 2,000: 1.4 GB
    python -m datasets.download --train_images 400 --val_images 100  # for a first look
    python -m datasets.download --all                                # all 123,287, as archives

Photographs come one by one, and are those that generate_masks.py --max_images takes. What was
stopped goes on by the same command. Proxies are those of the environment (https_proxy).
"""

from __future__ import annotations

import argparse
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from datasets.coco.annotations import AnnotationFiles
from datasets.coco.records import ImageEntry
from datasets.download.server import Server, check_space, may_come, unzip
from datasets.inspection import look_at_image
from runtime.command_line import FULL, CommandParser, at_least, run_command
from runtime.files import replacing, unwritable
from runtime.locks import locked
from runtime.workers import in_order

logger = logging.getLogger("datasets.download")

TERMS = """By downloading you agree to COCO's terms of use, https://cocodataset.org/#termsofuse:
the annotations are CC BY 4.0. The photographs are other people's, from Flickr: each has the licence
that the annotation file names for it, and many forbid commercial use or changes.
"""
ANNOTATIONS = "annotations/annotations_trainval2017.zip"
PLAIN_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)  # leads nowhere, fits any file system
PHOTO_BYTES = 165_000  # of a photograph, on average
MOST_SINGLE = 0.05  # share of a split that --all takes one by one, when it has the others
BAD_TRIES = 3  # for a photograph that comes whole, but is none
LOST = 20  # photographs in a row that the server does not give: it will not give the others

Take = Callable[[str, Path], None]  # writes the photograph of a name to a path


class Photo(NamedTuple):
    """What became of a photograph: new bytes, or why it is missing; lost, if nobody answered."""

    size: int = 0
    missing: str = ""
    lost: bool = False


def get_annotations(server: Server, output_dir: Path, splits: Sequence[str]) -> list[Path]:
    """The annotation file of each split; from the archive, where it is not there."""
    paths = [output_dir / "annotations" / f"instances_{split}.json" for split in splits]
    if missing := [path for path in paths if not path.exists()]:
        missing[0].parent.mkdir(exist_ok=True)
        with server.archive(ANNOTATIONS, output_dir) as archive:
            members = [archive.getinfo(f"annotations/{path.name}") for path in missing]
            check_space(output_dir, sum(member.file_size for member in members))
            for path, member in zip(missing, members, strict=True):
                with replacing(path) as temporary:
                    unzip(archive, member.filename, temporary)
    return paths


def get_photo(take: Take, folder: Path, image: ImageEntry) -> Photo:
    """Bring a photograph into a folder, if it is not there, and only if it is the annotated one."""
    path, problem = folder / image.file_name, ""
    if not PLAIN_NAME.fullmatch(image.file_name):
        return Photo(missing="its name in the annotation file is no plain one")
    if path.exists() and not (problem := _problem(path, image)):
        return Photo()
    if problem.startswith("is "):  # somebody's; what cannot be read was torn, and is replaced
        return Photo(missing=f"{path} {problem}; move it away")
    for _ in range(BAD_TRIES):
        try:
            with replacing(path) as temporary:
                take(image.file_name, temporary)
                if problem := _problem(temporary, image):
                    raise ValueError(problem)
                return Photo(temporary.stat().st_size)
        except ValueError:
            continue
        except (OSError, HTTPException, KeyError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            lost = isinstance(error, OSError | HTTPException) and may_come(error)
            return Photo(missing=str(error) or repr(error), lost=lost)
    return Photo(missing=f"what came {problem}")


def _problem(path: Path, image: ImageEntry) -> str:
    """Why a file is not the annotated photograph; nothing if it is."""
    try:
        (height, width), _, _ = look_at_image(path)
    except Exception:  # Pillow's readers raise whatever a damaged header leads them to
        return "cannot be read as a picture"
    same = (height, width) == (image.height, image.width)
    return "" if same else f"is {width}x{height}, annotated {image.width}x{image.height}"


def get_photos(
    take: Take, server: Server, folder: Path, images: Sequence[ImageEntry], workers: int
) -> list[str]:
    """Bring photographs into a folder, several at a time; tells those that are missing, and why."""
    missing, new, size, lost = [], 0, 0, 0
    bar = tqdm(desc=folder.name, total=len(images), unit=" files", disable=None)
    with bar, ThreadPoolExecutor(workers) as pool:
        get = partial(get_photo, take, folder)
        work = in_order(lambda image: pool.submit(get, image), images, most=4 * workers)
        try:
            with closing(work) as photos:
                for image, photo in photos:
                    new, size = new + bool(photo.size), size + photo.size
                    bar.set_postfix_str(f"{size / 1e6:,.1f} MB", refresh=False)
                    bar.update()
                    if photo.missing:
                        missing.append(f"{folder.name}/{image.file_name}: {photo.missing}")
                    lost = lost + 1 if photo.lost else 0
                    if lost == LOST:
                        text = f"{server.url}: {LOST} photographs in a row did not come"
                        raise ConnectionError(f"{text}, the last: {photo.missing}")
        except BaseException:
            server.stopped.set()
            raise
    there = f"{len(images) - len(missing):,} of {len(images):,} photographs are there"
    logger.info(f"{folder}: {there}, {new:,} of them new, {size / 1e6:,.1f} MB")
    return missing


def get_split(
    server: Server, annotations: Path, folder: Path, number: int | None, workers: int
) -> list[str]:
    """The first ``number`` photographs of a split, None for all; tells those that are missing."""
    with AnnotationFiles([annotations]) as file:
        images = file.images[:number]
    folder.mkdir(exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    lacking, split = sum(image.file_name not in there for image in images), folder.name
    use_archive = number is None and lacking > MOST_SINGLE * len(images)
    check_space(folder, PHOTO_BYTES * lacking * (1 + use_archive))
    where = server, folder, images, workers
    if not use_archive:
        return get_photos(lambda name, path: server.fetch(f"{split}/{name}", path), *where)
    with server.archive(f"zips/{split}.zip", folder.parent) as archive:
        return get_photos(lambda name, path: unzip(archive, f"{split}/{name}", path), *where)


def download(
    server: Server, output_dir: Path, splits: Mapping[str, int | None], workers: int
) -> int:
    """Download the first so many photographs of each split, None for all. Gives the exit code."""
    logger.info(TERMS)
    output_dir.mkdir(parents=True, exist_ok=True)
    missing = []
    with locked(output_dir / ".download.lock"):
        files = get_annotations(server, output_dir, list(splits))
        for annotations, (split, number) in zip(files, splits.items(), strict=True):
            missing += get_split(server, annotations, output_dir / split, number, workers)
    for line in missing:
        logger.warning("missing  %s", line)
    if missing:
        text = "%s photographs are missing; the same command tries again, masks can be made without"
        logger.warning(text, f"{len(missing):,}")
    return int(bool(missing))


def build_parser() -> argparse.ArgumentParser:
    """The flags. Every default stands here and nowhere else."""
    parser = CommandParser("python -m datasets.download", __doc__)
    add = parser.add_argument
    text = "gets annotations/, train2017/ and val2017/"
    add("--output_dir", type=Path, default="coco_dataset", metavar="DIR", help=text)
    text = "the first N photographs to train on, in ascending order of id"
    add("--train_images", type=at_least(1), default=5000, metavar="N", help=text)
    text = "the first N photographs to validate on"
    add("--val_images", type=at_least(1), default=2000, metavar="N", help=text)
    add("--all", action="store_true", help="all photographs, as archives of 20 GB in all")
    text = "connections at a time"
    add("--workers", type=at_least(1), default=16, metavar="N", help=text)
    text = "a mirror, in place of COCO's own server; the paths below it are COCO's"
    add("--base_url", default="http://images.cocodataset.org", metavar="URL", help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if reason := unwritable(args.output_dir):
        parser.error(f"--output_dir {args.output_dir}: {reason}")
    if not args.base_url.startswith(("http://", "https://")):
        parser.error(f"--base_url {args.base_url}: expected http://... or https://...")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train, val = (None, None) if args.all else (args.train_images, args.val_images)
    where = Server(args.base_url), args.output_dir
    work = partial(download, *where, {"train2017": train, "val2017": val}, args.workers)
    return run_command(parser.prog, work)


if __name__ == "__main__":
    raise SystemExit(main())
