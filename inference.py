"""Segment every image of a folder with a trained network.

    python3 inference.py --images_dir photos --checkpoint runs/NAME --output_dir predictions
    python3 inference.py --images_dir photos --checkpoint last.pt --output_dir predictions

OUTPUT_DIR gets, for photos/a/b.jpg, masks/a/b.png: a palette PNG of the photo's own size whose
pixel values are label indices; overlays/a/b.jpg: the photo tinted by label; and predictions.json:
an entry for each file with the share of each label, or the reason why it was left out. A file that
is no image is reported and skipped. Masks match the pixels as stored: an EXIF orientation is not
applied. Running again into the same folder replaces what is there, file by file.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

# Nothing here loads PyTorch, which takes seconds: a mistake in flags or paths is told at once.
from datasets.label_set import LabelSet
from datasets.pairs import IMAGE_SUFFIXES
from datasets.prediction_folder import OWN_NAMES, PredictionFolder, check_prediction_dir
from runtime.command_line import HelpFormatter
from runtime.run_folder import find_checkpoint
from runtime.workers import available_cores

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("inference")


def build_parser() -> argparse.ArgumentParser:
    """The flags. Every default stands here and nowhere else."""
    parser = argparse.ArgumentParser(
        prog="inference.py",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument_group("files").add_argument
    add("--images_dir", type=Path, required=True, help="folder of images; sub-folders count")
    add(
        "--checkpoint",
        type=Path,
        required=True,
        help="checkpoint file, or the folder of a training run: its best",
    )
    add("--output_dir", type=Path, required=True, help="folder to write to; made if missing")
    add = parser.add_argument_group("machine").add_argument
    add("--batch_size", type=int, default=8, help="images at a time")
    add(
        "--workers",
        type=int,
        default=min(8, available_cores()),
        help="processes reading images",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="auto takes a GPU if there is one",
    )
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(argv)
    for name, low in {"batch_size": 1, "workers": 0}.items():
        if getattr(args, name) < low:
            parser.error(f"--{name} is {getattr(args, name)}, expected {low} or more")
    return args


def find_files(images_dir: Path, output_dir: Path) -> list[Path]:
    """Every file of the folder and below, sorted, relative to it; not those of an earlier run.

    Raises:
        ValueError: there is no such folder, or it is empty.
    """
    if not images_dir.is_dir():
        raise ValueError(f"{images_dir}: no such folder")
    own = {(output_dir / name).resolve() for name in OWN_NAMES}
    files = sorted(
        path.relative_to(images_dir)
        for path in images_dir.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not own & _with_parents(path)
    )
    if not files:
        raise ValueError(f"{images_dir}: an empty folder, expected images")
    return files


def _with_parents(path: Path) -> set[Path]:
    path = path.resolve()
    return {path, *path.parents}


@dataclass(frozen=True)
class Photo:
    """A file as read.

    Attributes:
        file: relative to the folder of images.
        image: (3, H, W) uint8 RGB; empty if the file cannot be read.
        resized: (3, S, S) uint8, at the network's size; empty likewise.
        problem: why the file cannot be read; empty if it can.
    """

    file: Path
    image: Tensor
    resized: Tensor
    problem: str = ""


class Photos:
    """The files of a folder as a data set for a DataLoader."""

    def __init__(self, images_dir: Path, files: Sequence[Path], image_size: int) -> None:
        self.images_dir = images_dir
        self.files = files
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Photo:
        import torch

        from datasets.segmentation import read_image
        from models.prediction import resize_image

        file = self.files[index]
        path = self.images_dir / file
        try:
            image = read_image(path)
        except ValueError as error:
            problem = str(error).removeprefix(f"{path}: ")
            return Photo(file, torch.empty(0), torch.empty(0), problem)
        return Photo(file, image, resize_image(image, self.image_size))


def run(args: argparse.Namespace) -> int:
    """The recipe: checks, network, batches, report. Gives the number of masks written."""
    files = find_files(args.images_dir, args.output_dir)
    checkpoint_path = find_checkpoint(args.checkpoint, "best.pt")
    check_prediction_dir(args.output_dir)

    import torch
    from torch.utils.data import DataLoader

    from models.checkpoint import load_checkpoint, model_from_checkpoint
    from models.prediction import predict
    from runtime.devices import describe_device, pick_device

    device = pick_device(args.device)
    checkpoint = load_checkpoint(checkpoint_path)
    model = model_from_checkpoint(checkpoint).to(device).to(memory_format=torch.channels_last)
    label_set = LabelSet.from_dict(checkpoint["label_set"])
    image_size = checkpoint["image_size"]
    logger.info("checkpoint  %s, %d labels", checkpoint_path, len(label_set))
    logger.info("images      %d files, seen at %dx%d", len(files), image_size, image_size)
    logger.info("device      %s", describe_device(device))

    photos: Any = Photos(args.images_dir, files, image_size)
    loader = DataLoader(
        photos,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=list,  # photos differ in size
    )
    about = {"checkpoint": str(checkpoint_path), "image_size": image_size}
    output = PredictionFolder(args.output_dir, label_set, about)
    with tqdm(total=len(files), unit=" images", leave=False, disable=None) as bar:
        for batch in loader:
            bar.update(len(batch))
            for photo in batch:
                if photo.problem:
                    is_image = photo.file.suffix.lower() in IMAGE_SUFFIXES
                    output.leave_out(photo.file, "failed" if is_image else "skipped", photo.problem)
            readable = [photo for photo in batch if not photo.problem]
            if not readable:
                continue
            images = torch.stack([photo.resized for photo in readable])
            sizes = [(photo.image.shape[1], photo.image.shape[2]) for photo in readable]
            label_maps = predict(model, images, sizes, device)
            for photo, label_map in zip(readable, label_maps, strict=True):
                output.add(photo.file, photo.image.permute(1, 2, 0).numpy(), label_map.numpy())

    written = output.close()
    logger.info("wrote %d masks and overlays of %d files", written, len(files))
    logger.info("look at %s", args.output_dir / "overlays")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if run(args) == 0:
            raise ValueError(f"{args.images_dir}: none of its files is an image that can be read")
    except ValueError as error:
        print(f"inference.py: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"inference.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was written is whole, run again to do the rest", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
