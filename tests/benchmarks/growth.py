"""What grows with the number of photographs, up to the whole of COCO, beside what one would write.

    python tests/benchmarks/growth.py COCO_DIR [--sizes 1000 10000 118287] [--parts NAME ...]

COCO_DIR is a folder in COCO's layout. Its annotations are multiplied to each size, and to 5,000
validation photographs for 118,287; the photographs are flat JPEGs of the right sizes, one file for
each size under many names (hard links), so that decoding costs less than that of real ones. What
inference.py does beside reading, predicting and drawing is measured with 64x48 photographs, of
which all get the same label map; the cache is filled from these photographs, with masks alike.

Each part is a process of its own. Its clock starts when everything is imported; memory is that of
all its processes together, with Python and PyTorch. Rows are kept in FOLDER/rows.jsonl, so that
parts can be run one after the other; the table at the end is of all of them. The exponent is that
of the processor time of the photographs beyond the first size, from the second size to the last: 1
is linear.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import masks as mask_benchmark  # noqa: E402

SIZES = (1_000, 10_000, mask_benchmark.COCO_TRAIN_IMAGES)
COCO_VAL_IMAGES = 5_000
IMAGE_SIZE = 32  # of the network that the cache is for
BATCH_SIZE = 8
LINKS = 30_000  # names of one file; file systems have limits
SMALL_LABEL_MAP = np.repeat(np.arange(48, dtype=np.uint8)[:, None] // 5, 64, axis=1)

Work = Callable[[], Any]  # what is timed; may give numbers to be kept with the row


# The data.


def make_data(coco_dir: Path, folder: Path, count: int) -> None:
    """Photographs and annotations of both splits, masks to validate with, a checkpoint."""
    (folder / "annotations").mkdir(parents=True)
    val_count = max(8, round(count * COCO_VAL_IMAGES / SIZES[-1]))
    for split, number in (("train", count), ("val", val_count)):
        name = f"annotations/instances_{split}2017.json"
        images = mask_benchmark.multiply(coco_dir / name, folder / name, number)
        make_photos(folder / f"{split}2017", images)
    subprocess.run(mask_command(folder, "val"), check=True, capture_output=True)
    tiny = [{"file_name": f"{n:012}.jpg", "height": 48, "width": 64} for n in range(count)]
    make_photos(folder / "photos", tiny)
    make_small_masks(folder / "small_masks", count)
    make_checkpoint(folder / "network.pt")


def make_photos(folder: Path, images: list[dict[str, Any]]) -> None:
    """A flat JPEG for each entry; entries of one size share a file."""
    folder.mkdir()
    first: dict[tuple[int, int, int], Path] = {}
    for number, image in enumerate(images):
        path = folder / image["file_name"]
        key = image["width"], image["height"], number // LINKS
        if key in first:
            path.hardlink_to(first[key])
        else:
            Image.new("RGB", key[:2], (90, 120, 150)).save(path, "JPEG")
            first[key] = path


def make_small_masks(folder: Path, count: int) -> None:
    """One mask under the names of all small photographs."""
    folder.mkdir()
    for number in range(count):
        path, source = folder / f"{number:012}.png", folder / f"{number // LINKS * LINKS:012}.png"
        if path == source:
            Image.fromarray(SMALL_LABEL_MAP).save(path)
        else:
            path.hardlink_to(source)


def make_checkpoint(path: Path) -> None:
    """A network that inference.py takes, of any weights: it is not run."""
    from datasets.label_sets import GROUPS
    from models import build_model, model_spec
    from models.checkpoint import save_checkpoint

    spec = model_spec("residual", len(GROUPS), dropout=0.0, features=[4, 8])
    state = build_model(spec["name"], **spec["kwargs"]).state_dict()
    label_set = GROUPS.to_dict()
    content = {"model": spec, "model_state": state, "label_set": label_set, "image_size": 64}
    save_checkpoint(path, content)


def mask_command(folder: Path, split: str) -> list[str]:
    files = ["--annotations_file", folder / f"annotations/instances_{split}2017.json"]
    places = ["--images_dir", folder / f"{split}2017", "--output_dir", folder / f"masks_{split}"]
    return mask_benchmark.command(*places, *files)


# The parts: each imports what it needs, and gives what is to be timed.


def masks(folder: Path) -> Work:
    import generate_masks

    return lambda: succeed(generate_masks.main(mask_command(folder, "train")[2:]))


def plain_masks(folder: Path) -> Work:
    from pycocotools.coco import COCO  # noqa: F401

    annotations_file = folder / "annotations/instances_train2017.json"
    out = folder / "plain_masks"
    return lambda: mask_benchmark.naive(folder / "train2017", annotations_file, out)


def check(folder: Path) -> Work:
    """What train.py --check_only does, but for loading PyTorch."""
    import datasets.training.data  # noqa: F401

    return lambda: {"bytes_held": len(pickle.dumps(checked_data(folder)))}


def plain_check(folder: Path) -> Work:
    """Every image opened, every mask read, its values counted."""

    def work() -> None:
        counts = []
        for image_path in sorted((folder / "train2017").glob("*.jpg")):
            mask_path = (folder / "masks_train" / image_path.name).with_suffix(".png")
            mask = np.array(Image.open(mask_path))
            assert Image.open(image_path).size == mask.shape[::-1]
            counts.append(np.unique(mask, return_counts=True))

    return work


def checked_data(folder: Path) -> Any:
    """What train.py has of its data before the first step."""
    from datasets.training.data import FOLDERS, check_data, find_data

    train, val = find_data(*(folder / name for name in FOLDERS.values()))
    assert train is not None
    return check_data(train, val, workers=1)


def plain_lists(folder: Path) -> Work:
    def pairs() -> Any:
        images = sorted((folder / "train2017").glob("*.jpg"))
        return images, [(folder / "masks_train" / p.name).with_suffix(".png") for p in images]

    def work() -> dict[str, int]:
        tracemalloc.start()
        kept = pairs()
        gc.collect()
        return {"bytes_held": tracemalloc.get_traced_memory()[0]} if kept else {}

    return work


def epoch(folder: Path) -> Work:
    """All batches of an epoch."""
    from datasets.training.batches import EpochBatches

    weights = some_weights(folder)

    def work() -> None:
        batches = EpochBatches("weighted", weights, BATCH_SIZE)
        assert sum(map(len, batches)) == len(weights) // BATCH_SIZE * BATCH_SIZE

    return work


def plain_epoch(folder: Path) -> Work:
    from torch.utils.data import BatchSampler, WeightedRandomSampler

    weights = some_weights(folder)

    def work() -> None:
        sampler = WeightedRandomSampler(weights.tolist(), len(weights))
        assert sum(1 for _ in BatchSampler(sampler, BATCH_SIZE, drop_last=True))

    return work


def some_weights(folder: Path) -> Any:
    return np.linspace(1, 2, sum(1 for _ in (folder / "photos").iterdir()))


def tiny_dataset(folder: Path) -> Any:
    """The small photographs and masks."""
    from datasets.label_mapping import mapping_of_folder
    from datasets.pairs import pair_images_and_masks
    from datasets.training.dataset import CocoSegmentationDataset
    from models.prediction import View

    pairs = pair_images_and_masks(folder / "photos", folder / "small_masks").pairs
    mapping = mapping_of_folder(folder / "masks_train")
    assert mapping
    return CocoSegmentationDataset(pairs, mapping, View.of((IMAGE_SIZE, IMAGE_SIZE)))


def cache(folder: Path) -> Work:
    """--cache disk: every pair decoded, resized, written."""
    from datasets.training.cache import cached

    pairs = tiny_dataset(folder)
    return lambda: cached(pairs, folder / "images.cache", 1)


def plain_cache(folder: Path) -> Work:
    """A list of arrays, and np.save."""
    pairs = tiny_dataset(folder)

    def work() -> None:
        arrays = [np.concatenate([t.reshape(-1) for t in pairs[n]]) for n in range(len(pairs))]
        np.save(folder / "plain.npy", np.stack(arrays))

    return work


def first_batch(folder: Path) -> Work:
    """From pairs, and a cache that is there, to a batch."""
    from datasets.training.augmentation import build_augment
    from datasets.training.batches import EpochBatches, Loaders
    from datasets.training.cache import cached

    train, weights = tiny_dataset(folder), some_weights(folder)

    def work() -> None:
        batches = EpochBatches("weighted", weights, BATCH_SIZE)
        kept = cached(train, folder / "images.cache", 1)
        loaders = Loaders(kept, train, build_augment("none"), batches, workers=0)
        assert len(next(iter(loaders.train))[0]) == BATCH_SIZE

    return work


def plain_first_batch(folder: Path) -> Work:
    import torch

    def work() -> None:
        arrays = torch.from_numpy(np.load(folder / "plain.npy"))
        sampler = torch.utils.data.RandomSampler(arrays)
        assert len(next(iter(torch.utils.data.DataLoader(arrays, BATCH_SIZE, sampler=sampler))))

    return work


def predictions(folder: Path) -> Work:
    """A run of inference.py; where there are no predictions yet, they are made without network.

    Nor are photographs read, or overlays drawn, and files are written plainly: a preparation.
    """
    import torch  # noqa: F401

    import inference
    from datasets import mask_files
    from datasets.predictions import folder as prediction_folder
    from datasets.predictions.outputs import OUTPUTS
    from datasets.predictions.photos import Photo
    from datasets.predictions.pipeline import PhotoPipeline
    from runtime.files import replacing

    image = np.zeros((48, 64, 3), np.uint8)

    def segment(self: PhotoPipeline, files: Any, _: Any) -> None:
        for file in files:
            photo = Photo(file, image, status=file.path.stat())
            self._entries[file.name] = self._write(photo, SMALL_LABEL_MAP, None)

    @contextlib.contextmanager
    def plainly(path: Path) -> Any:
        yield path

    def work() -> None:
        with contextlib.ExitStack() as stack:
            for module in (mask_files, prediction_folder):
                module.replacing = plainly  # type: ignore[attr-defined]
                stack.callback(setattr, module, "replacing", replacing)
            succeed(inference.main(paths))

    inference.load_predictor = lambda *_: contextlib.nullcontext(True)  # type: ignore[assignment]
    PhotoPipeline.segment = segment  # type: ignore[method-assign]
    OUTPUTS["overlay"] = replace(OUTPUTS["overlay"], writer=lambda file, _: file.write(b"none"))
    places = ["--images_dir", "photos", "--output_dir", "predictions", "--checkpoint", "network.pt"]
    paths = [str(folder / place) if n % 2 else place for n, place in enumerate(places)]
    return work


def plain_predictions(folder: Path) -> Work:
    """A report of finished predictions: photographs by name, masks opened, shares of labels."""

    def work() -> None:
        entries = []
        for photo in sorted((folder / "photos").glob("*.jpg")):
            mask_path = (folder / "predictions/masks" / photo.name).with_suffix(".png")
            if not mask_path.exists() or mask_path.stat().st_mtime < photo.stat().st_mtime:
                raise SystemExit(f"{photo} is not done")
            mask = np.array(Image.open(mask_path))
            values, counts = np.unique(mask, return_counts=True)
            shares = dict(zip(values.tolist(), (counts / mask.size).tolist(), strict=True))
            entries.append({"file": photo.name, "mask": str(mask_path), "label_shares": shares})
        (folder / "plain.json").write_text(json.dumps(entries, indent=2))

    return work


def succeed(code: int) -> None:
    if code:
        raise SystemExit(code)


@dataclass(frozen=True)
class Part:
    """What is measured, in this order."""

    work: Callable[[Path], Work]
    made: str = ""  # the file or folder that it makes, whose size counts
    before: str = ""  # a file that must not be there


PARTS = {
    "masks": Part(masks, "masks_train", before="masks_train"),
    "masks, nothing changed": Part(masks, "masks_train"),
    "masks: COCO(), annToMask": Part(plain_masks, "plain_masks", before="plain_masks"),
    "check": Part(check, "masks_train/.label_counts.json", "masks_train/.label_counts.json"),
    "check, nothing changed": Part(check),
    "check: Image.open, np.unique": Part(plain_check),
    "check: lists of paths": Part(plain_lists),
    "epoch": Part(epoch),
    "epoch: torch's samplers": Part(plain_epoch),
    "predictions, no network": Part(predictions, "predictions", before="predictions"),
    "predictions, nothing changed": Part(predictions),
    "predictions: a plain report": Part(plain_predictions, "plain.json"),
    "cache": Part(cache, "images.cache", before="images.cache"),
    "cache: a list, np.save": Part(plain_cache, "plain.npy", before="plain.npy"),
    "first batch": Part(first_batch),
    "first batch: np.load": Part(plain_first_batch),
}


# Measuring.


def run_part(name: str, folder: Path) -> None:
    """Measure a part in this process."""
    work = PARTS[name].work(folder)
    gc.collect()
    start, before = time.perf_counter(), processor_seconds()
    found = work() or {}
    used = {"seconds": time.perf_counter() - start, "processor": processor_seconds() - before}
    print("\n" + json.dumps({**used, **(found if isinstance(found, dict) else {})}))


def processor_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(name: str, folder: Path, count: int) -> dict[str, Any]:
    part = PARTS[name]
    if part.before:
        remove(folder / part.before)
    command = [sys.executable, __file__, str(folder), "--one", name]
    _, peak, output = mask_benchmark.seconds_and_memory_of(command)
    row = {"part": name, "size": count, "peak_mb": peak, **json.loads(output.splitlines()[-1])}
    return row | (files_and_disk(folder / part.made) if part.made else {})


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def files_and_disk(path: Path) -> dict[str, float]:
    """How many files, and the disk that they take, MB."""
    found = [Path(parent, name) for parent, _, names in os.walk(path) for name in names] or [path]
    return {"files": len(found), "disk_mb": sum(p.stat().st_blocks for p in found) * 512 / 1e6}


def exponent(costs: dict[int, float]) -> float:
    """Of growth, see above; nan if fewer than three sizes were measured."""
    if len(costs) < 3:
        return math.nan
    first, middle, last = (sorted(costs)[place] for place in (0, -2, -1))
    some, all_of_it = costs[middle] - costs[first], costs[last] - costs[first]
    if min(some, all_of_it) <= 0:
        return math.nan
    return math.log(all_of_it / some) / math.log((last - first) / (middle - first))


def show(rows: list[dict[str, Any]]) -> None:
    """A line a part: processor seconds at each size, growth; memory, files and disk at the last."""
    sizes = sorted({row["size"] for row in rows})
    heads = [f"{size:,}" for size in sizes]
    heads += ["exponent", "peak MB", "bytes each", "kept each", "files", "disk MB"]
    print(f"\n{'part':<30}" + "".join(f"{head:>12}" for head in heads))
    for name in PARTS:
        by_size = {row["size"]: row for row in rows if row["part"] == name}
        if by_size:
            cells = [f"{by_size[n]['processor']:.2f}" if n in by_size else "" for n in sizes]
            print(f"{name:<30}" + "".join(f"{cell:>12}" for cell in [*cells, *growth(by_size)]))


def growth(by_size: dict[int, dict[str, Any]]) -> list[str]:
    """Exponent, peak memory, that of each further photograph, what is kept of each, files, disk."""
    first, last = by_size[min(by_size)], by_size[max(by_size)]
    further = (last["peak_mb"] - first["peak_mb"]) * 2**20
    each = further / max(1, last["size"] - first["size"])
    kept = f"{last['bytes_held'] / last['size']:,.0f}" if "bytes_held" in last else ""
    found = exponent({size: row["processor"] for size, row in by_size.items()})
    files = f"{last['files']:,}" if "files" in last else ""
    disk = f"{last['disk_mb']:,.0f}" if "files" in last else ""
    return [f"{found:.2f}", f"{last['peak_mb']:,.0f}", f"{each:,.0f}", kept, files, disk]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("coco_dir", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS, metavar="NAME")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/growth"), help="for 5 GB of data")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_part(args.one, args.coco_dir)
        return
    args.folder.mkdir(exist_ok=True)
    kept = args.folder / "rows.jsonl"
    for size in args.sizes:
        folder = args.folder / str(size)
        if not folder.exists():
            make_data(args.coco_dir, folder, size)
        for name in args.parts:
            row = measure(name, folder, size)
            print(json.dumps(row), flush=True)
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
    show([json.loads(line) for line in kept.read_text().splitlines()])


if __name__ == "__main__":
    main()
