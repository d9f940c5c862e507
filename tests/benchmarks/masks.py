"""Mask generation beside the ways one would write it with pycocotools, in one run.

    python tests/benchmarks/masks.py COCO_DIR [--repeat 16] [--rounds 3] [--where] [--full_size]

Each way is a process of its own, timed as a whole: reading the annotation file, drawing, writing
PNGs, grouped labels with priorities. COCO_DIR is a folder in COCO's layout; its train images and
annotations are repeated (new ids, links to the same images) so that start-up does not decide.
Processor time is the least of the rounds: what else the machine does changes it little.
--where tells what one worker spends its time on. --full_size also writes an annotation file of
118,287 images from them, and reads it.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

COCO_TRAIN_IMAGES = 118_287


def naive(images_dir: Path, annotations_file: Path, output_dir: Path) -> None:
    """annToMask for each annotation, a map of priorities, Pillow as it comes."""
    import numpy as np
    from PIL import Image
    from pycocotools.coco import COCO

    from datasets.label_sets import GROUPS

    coco = COCO(annotations_file)
    label_of = {c["id"]: GROUPS.index_by_category[c["name"]] for c in coco.loadCats(coco.cats)}
    palette = GROUPS.palette()
    output_dir.mkdir()
    for image in coco.imgs.values():
        label_map = np.zeros((image["height"], image["width"]), np.uint8)
        priority_map = np.zeros(label_map.shape, np.float32)
        for annotation in coco.imgToAnns[image["id"]]:
            label = label_of[annotation["category_id"]]
            priority = GROUPS.labels[label].priority
            wins = (coco.annToMask(annotation) == 1) & (priority >= priority_map)
            label_map[wins] = label
            priority_map[wins] = priority
        mask = Image.fromarray(label_map)
        mask.putpalette(palette)
        mask.save((output_dir / image["file_name"]).with_suffix(".png"))


def merged(images_dir: Path, annotations_file: Path, output_dir: Path) -> None:
    """Neighbours of one label merged as RLE, one decode and one painting for all of them."""
    import numpy as np
    from PIL import Image
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    from datasets.label_sets import GROUPS

    coco = COCO(annotations_file)
    label_of = {c["id"]: GROUPS.index_by_category[c["name"]] for c in coco.loadCats(coco.cats)}
    palette = GROUPS.palette()
    output_dir.mkdir()
    for image in coco.imgs.values():
        label_map = np.zeros((image["height"], image["width"]), np.uint8, order="F")
        labelled = [(label_of[a["category_id"]], a) for a in coco.imgToAnns[image["id"]]]
        labelled.sort(key=lambda pair: GROUPS.labels[pair[0]].priority)
        for label, group in itertools.groupby(labelled, key=lambda pair: pair[0]):
            region = coco_mask.decode(coco_mask.merge([coco.annToRLE(a) for _, a in group]))
            label_map[region.view(bool)] = label
        mask = Image.fromarray(np.ascontiguousarray(label_map))
        mask.putpalette(palette)
        path = (output_dir / image["file_name"]).with_suffix(".png")
        mask.save(path, compress_type=3, compress_level=1)


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "generate_masks.py"), *map(str, arguments)]


def repeat_dataset(coco_dir: Path, folder: Path, times: int, *, link: bool) -> tuple[Path, Path]:
    """``times`` copies of the train split, with new ids; images are links, if wanted at all."""
    source = coco_dir / "annotations" / "instances_train2017.json"
    images_dir = folder / "images"
    images_dir.mkdir()
    images = json.loads(source.read_bytes())["images"]
    if link:
        for copy_number, image in itertools.product(range(times), images):
            target = coco_dir / "train2017" / image["file_name"]
            (images_dir / f"{copy_number:04}_{image['file_name']}").symlink_to(target.resolve())
    path = folder / "instances.json"
    multiply(source, path, times * len(images))
    return images_dir, path


def multiply(source: Path, path: Path, count: int) -> list[dict[str, Any]]:
    """Write the annotations of ``count`` images, those of ``source`` over and over; gives these."""
    data = json.loads(source.read_bytes())
    times = -(-count // len(data["images"]))
    images = list(itertools.islice(_copies(data["images"], times, "id"), count))
    ids = {image["id"] for image in images}
    annotations = _copies(data["annotations"], times, "image_id")
    with path.open("w") as file:
        file.write('{"categories": ' + json.dumps(data["categories"]) + ', "images": [')
        _write_records(file, images)
        file.write('], "annotations": [')
        _write_records(file, (one for one in annotations if one["image_id"] in ids))
        file.write("]}")
    return images


def _copies(records: list[dict[str, Any]], times: int, key: str) -> Iterator[dict[str, Any]]:
    for number in range(times):
        for record in records:
            new = copy.copy(record)
            new[key] += number * 1_000_000
            if key == "image_id":
                new["id"] += number * 10_000_000
            else:
                new["file_name"] = f"{number:04}_{record['file_name']}"
            yield new


def _write_records(file: Any, records: Iterable[dict[str, Any]]) -> None:
    for number, record in enumerate(records):
        file.write((", " if number else "") + json.dumps(record))


def seconds_of(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command, its workers included."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used


def seconds_and_memory_of(arguments: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak memory (MB) of a command and its children, sampled, and what it prints."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(arguments, stdout=out, stderr=errors)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _tree_memory(process.pid))
            time.sleep(0.1 + (time.perf_counter() - start) / 200)
        out.seek(0), errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {process.returncode}\n{errors.read()}")
        return time.perf_counter() - start, peak, out.read()


def _tree_memory(pid: int) -> float:
    """Proportional memory of a process and its children, MB: shared pages count once."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _tree_memory(int(child))
    except (OSError, ValueError):
        pass
    return total


def compare_speed(coco_dir: Path, repeat: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images_dir, annotations_file = repeat_dataset(coco_dir, folder, repeat, link=True)
        count = len(list(images_dir.iterdir()))
        files = ["--images_dir", images_dir, "--annotations_file", annotations_file]
        this = [sys.executable, __file__, "--way"]
        rest = [str(images_dir), str(annotations_file)]
        ways = {
            "annToMask loop": lambda out: [*this, "naive", *rest, str(out)],
            "merged RLE, light PNG": lambda out: [*this, "merged", *rest, str(out)],
            "this, 1 worker": lambda out: command(*files, "--output_dir", out, "--workers", 1),
            "this, 2 workers": lambda out: command(*files, "--output_dir", out, "--workers", 2),
        }
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for index, (way, make) in enumerate(ways.items()):
                out = folder / f"masks{number}_{index}"
                seconds[way].append(seconds_of(make(out)))
                subprocess.run(["rm", "-rf", str(out)], check=True)
        print(f"{count:,} images, {rounds} rounds taken in turn, {os.cpu_count()} cores")
        print(f"{'way':<24} {'ms an image':>12} {'times as fast':>14} {'processor ms':>14}")
        slow = sorted(seconds["annToMask loop"])[rounds // 2][0]
        for way, values in seconds.items():
            middle, least = sorted(values)[rounds // 2][0], min(used for _, used in values)
            shown = f"{1000 * middle / count:>12.2f} {slow / middle:>14.1f}"
            print(f"{way:<24} {shown} {1000 * least / count:>14.2f}")


def where(coco_dir: Path, rounds: int) -> None:
    """Processor milliseconds an image of each step of one worker, the least of the rounds."""
    from datasets.coco.annotations import AnnotationFiles, AnnotationsByImage
    from datasets.coco.image_files import find_image_files
    from datasets.label_sets import GROUPS
    from datasets.masks import label_map, writer
    from runtime.files import replacing

    spent: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - start

        return call

    writer.read_orientation = timed("image headers", writer.read_orientation)
    writer.draw_label_map = timed("draw", writer.draw_label_map)
    label_map.paint = timed("paint", label_map.paint)
    writer.write_mask = timed("write", writer.write_mask)
    best: dict[str, float] = {}
    annotations = coco_dir / "annotations" / "instances_train2017.json"
    for _ in range(rounds):
        spent.clear()
        begun = time.process_time()
        with AnnotationFiles([annotations]) as file, tempfile.TemporaryDirectory() as name:
            found, out = AnnotationsByImage(file, file.images), Path(name)
            files = find_image_files(coco_dir / "train2017", file.images)
            index = time.process_time() - begun
            rules = label_map.Rules(GROUPS, file.categories, "priority", "paint")
            palette = bytes(GROUPS.palette())
            make = writer.MaskWriter(out, rules, palette, coco_dir, True, False, False)
            for number, entry in enumerate(file.images):
                make((entry, files[number], found.of_image(number)))
            whole = time.process_time() - begun
            begun = time.process_time()
            for path in out.rglob("*.png"):
                data = path.read_bytes()
                with replacing(path) as temporary:
                    temporary.write_bytes(data)
            file_system = time.process_time() - begun
        steps = {
            "annotation file, image names": index,
            "image headers": spent["image headers"],
            "decode, rasterise, account": spent["draw"] - spent["paint"],
            "paint": spent["paint"],
            "PNG": spent["write"] - file_system,
            "write and rename files": file_system,
            "all": whole,
        }
        for step, used in steps.items():
            best[step] = min(best.get(step, used), 1000 * used / len(file.images))
    for step, used in best.items():
        print(f"{step:<30} {used:>6.2f} ms an image")


def compare_full_size(coco_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = len(
            json.loads((coco_dir / "annotations/instances_train2017.json").read_bytes())["images"]
        )
        times = -(-COCO_TRAIN_IMAGES // images)
        _, path = repeat_dataset(coco_dir, folder, times, link=False)
        size = path.stat().st_size / 1e6
        print(
            f"\nannotation file of {times * images:,} images, {size:,.0f} MB (multiplied, new ids)"
        )
        files = ["--images_dir", folder / "images", "--annotations_file", path]
        files += ["--no_check_images", "--workers", 2, "--output_dir"]
        load = f"from pycocotools.coco import COCO; COCO({str(path)!r})"
        ways = {
            "COCO(), nothing drawn": [sys.executable, "-c", load],
            "this, 1 image": command(*files, folder / "one", "--max_images", 1),
            "this, 5,000 images": command(*files, folder / "some", "--max_images", 5000),
            "this, all images": command(*files, folder / "all"),
        }
        print(f"{'way':<24} {'seconds':>12} {'peak MB':>14}")
        for way, arguments in ways.items():
            seconds, peak, _ = seconds_and_memory_of(arguments)
            print(f"{way:<24} {seconds:>12.1f} {peak:>14.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coco_dir", type=Path)
    parser.add_argument("--repeat", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--full_size", action="store_true")
    args = parser.parse_args()
    if args.where:
        where(args.coco_dir, args.rounds)
        return
    compare_speed(args.coco_dir, args.repeat, args.rounds)
    if args.full_size:
        compare_full_size(args.coco_dir)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        {"naive": naive, "merged": merged}[sys.argv[2]](*map(Path, sys.argv[3:]))
    else:
        main()
