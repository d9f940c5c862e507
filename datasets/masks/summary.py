"""The report of a mask folder as a person reads it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from datasets.coco.annotations import AnnotationFiles, AnnotationsByImage
from datasets.coco.records import KINDS, NO_SEGMENTATION
from datasets.labels import IGNORE_INDEX
from datasets.masks.account import Account, MaskReport, most_first
from datasets.masks.writer import Result

UNMAPPED = "of a category that no label stands for"
NOTICEABLE = 0.05  # share of annotations that are boxes only

# What to do where nothing is drawn for a reason.
CURES = {
    KINDS["segments_info"]: "its regions are in PNG files; give the instances file of the same "
    "images, or convert it with panopticapi's panoptic2detection_coco_format.py",
    KINDS["caption"]: "this is a file of captions; give the instances file of the same images",
    KINDS["keypoints"]: "this is a file of keypoints; give the instances file of the same images",
    KINDS["bbox"]: "this is a file for detection; outlines must be drawn first, in an annotation "
    "tool or by a model that turns boxes into masks",
    UNMAPPED: "choose another --label_set, or --no_grouping for a label a category",
    NO_SEGMENTATION: "expected in each annotation 'image_id', a 'category_id' that 'categories' "
    "lists, and a 'segmentation': polygons [x1, y1, x2, y2, x3, y3, ...] of three points or more, "
    "or a run-length encoding",
}

logger = logging.getLogger("generate_masks")

MOST_LOGGED = 20  # bad images or annotations of one reason that are named on the terminal


def summary_lines(report: MaskReport) -> list[str]:
    """A table of labels, then what the choices cost."""
    account, names = report.account, dict(enumerate(report.label_set.names))
    total, images = max(1, account.pixels.total()), max(1, account.images)
    lines = [f"{'label':>5}  {'name':<20} {'pixels':>15} {'share':>7} {'images':>8} {'share':>7}"]
    names[IGNORE_INDEX] = "(ignored)"
    for index, name in names.items():
        pixels, shown = account.pixels[index], account.images_by_label[index]
        if index == IGNORE_INDEX and not pixels:
            continue
        lines.append(
            f"{index:>5}  {name:<20} {pixels:>15,} {pixels / total:>7.2%} {shown:>8,} "
            f"{shown / images:>7.2%}"
        )
    lines += [*_overlap_lines(account, names, total), *_skip_lines(account)]
    return [line.encode("utf-8", "backslashreplace").decode() for line in lines]


def warnings(report: MaskReport) -> Iterator[str]:
    """What looks like a mistake of many annotations alike, and what to do about it."""
    account = report.account
    crowds, drawn, empty = account.totals["crowds"], account.drawn.total(), account.empty.total()
    rule, placed = report.options["crowd"], drawn + empty
    if rule != "paint" and 2 * crowds > drawn:
        yield (
            f"{crowds:,} of {drawn:,} annotations are marked as crowds (iscrowd), which --crowd "
            f"{rule} leaves out; some tools mark every run-length encoding so: --crowd paint draws "
            "them"
        )
    if turned := account.totals["exif_ignored"]:
        yield (
            f"{turned:,} images carry an EXIF orientation that keeps their size: their masks are "
            "those of the stored pixels; if they were annotated upright, use --exif_upright"
        )
    boxes = account.skipped_annotations.by_reason[KINDS["bbox"]]
    if (total := account.totals["annotations"]) and boxes >= NOTICEABLE * total:
        yield (
            f"{boxes:,} of {total:,} annotations ({boxes / total:.0%}) are boxes without "
            "segmentation, which no mask shows"
        )
    if 2 * account.scales[0] > placed:
        yield (
            f"{account.scales[0]:,} of {placed:,} annotations have coordinates from 0 to 1 only, "
            "as if divided by the size of the image: COCO's are pixels; multiply x by the width "
            "and y by the height"
        )
    elif 2 * empty > placed:
        scale = max(account.scales, default=0)
        larger = (
            f"; images {scale} times as large would hold them: were they made for another size?"
        )
        yield (
            f"{empty:,} of {placed:,} annotations leave no pixel in their image"
            f"{larger if scale else ''}"
        )


def verdict(account: Account, stray: bool = False) -> int:
    """The exit code of a run: 1, after one loud line, if it made nothing to train on.

    ``stray``: whether the file has annotations, but none of a usable image.
    """
    skipped, total = account.skipped_images.by_reason, account.totals["annotations"]
    start = "every mask is background: not one "
    if not account.images and skipped:
        reason, count = most_first(skipped)[0]
        logger.error(
            f"no mask was made: all {skipped.total():,} images were skipped, {count:,} of them "
            f"because: {reason}; see docs/generate_masks.md, Bad data"
        )
    elif account.drawn or account.empty or not (total or stray):
        return 0
    elif stray:
        reasons = ", ".join(f"{n:,} x {why}" for why, n in most_first(account.file_remarks))
        logger.error(
            f"{start}annotation belongs to an image that can be used ({reasons}); an annotation's "
            "'image_id' is the 'id' of an entry of 'images'"
        )
    else:
        counts = account.skipped_annotations.by_reason + Counter(
            {UNMAPPED: account.unmapped.total()}
        )
        reason, count = most_first(counts)[0]
        cure = CURES.get(reason, CURES[NO_SEGMENTATION])
        logger.error(f"{start}of {total:,} annotations was drawn, {count:,} x {reason}: {cure}")
    return 1


def _overlap_lines(account: Account, names: Mapping[int, str], total: int) -> Iterator[str]:
    if contested := account.totals["contested_pixels"]:
        pairs = ", ".join(
            f"{names[winner]} over {names[loser]} {pixels:,}"
            for (winner, loser), pixels in most_first(account.beaten)[:5]
        )
        yield (
            f"contested: {contested:,} pixels ({contested / total:.2%}) in "
            f"{account.totals['contested_images']:,} images: {pairs}"
        )
    if account.hidden:
        yield f"hidden by other labels: {_listing(account.hidden)} annotations"
    gone = [name for name, n in most_first(account.hidden) if n == account.drawn[name]]
    if gone:
        yield f"vanished altogether: {', '.join(gone)}"


def _skip_lines(account: Account) -> Iterator[str]:
    if holed := account.totals["holed"]:
        holes, union = account.totals["hole_pixels"], account.totals["holed_pixels"]
        yield (
            f"polygons inside another of the same annotation: {holed:,} annotations, {holes:,} "
            f"pixels ({holes / union:.1%} of theirs); holes? --holes cut leaves them out, COCO's "
            "rule (keep) fills them"
        )
    if turned := account.totals["turned_upright"]:
        yield (
            f"annotated upright: {turned:,} images, whose masks are turned to the stored pixels, "
            "against their EXIF orientation"
        )
    if account.empty:
        yield f"without a pixel in their image: {_listing(account.empty)} annotations"
    if account.unmapped:
        yield f"in no label, so background: {_listing(account.unmapped)} annotations"
    for what, skips in (
        ("skipped images", account.skipped_images),
        ("skipped annotations", account.skipped_annotations),
        ("dropped polygons", account.dropped_polygons),
    ):
        for reason, count in most_first(skips.by_reason):
            named = [
                item["image"] + (f" ({item['annotation']})" if "annotation" in item else "")
                for item in skips.items
                if item["reason"] == reason
            ]
            more = ", ..." if count > 3 else ""
            yield f"{what}: {count:,} x {reason}: {', '.join(named[:3])}{more}"
    for what, count in sorted(account.file_remarks.items()):
        yield f"annotation file: {count:,} x {what}"


def _listing(counter: Counter[str], most: int = 8) -> str:
    rows = most_first(counter)
    text = ", ".join(f"{name} {count:,}" for name, count in rows[:most])
    return text + (f" and {len(rows) - most} more" if len(rows) > most else "")


def show(report: MaskReport) -> None:
    """Print the summary, and warn of what looks like a mistake."""
    print(*summary_lines(report), sep="\n")
    for warning in warnings(report):
        logger.warning("%s", warning)


def collect(results: Iterable[Result], account: Account) -> Counter[str]:
    """Add up each result's account, and name what was bad about it; count what was done."""
    done: Counter[str] = Counter()
    logged: Counter[str] = Counter()
    for image_id, one, what_was_done in results:
        done[what_was_done] += 1
        account.add(one)
        for skips in (one.skipped_images, one.skipped_annotations, one.dropped_polygons):
            for item in skips.items:
                what = f"image {item['image']} (id {image_id})"
                if "annotation" in item:
                    what = f"annotation {item['annotation']} (image id {image_id})"
                _warn(logged, item["reason"], what, item.get("detail", ""))
    return done


def remark_on_file(account: Account, file: AnnotationFiles, found: AnnotationsByImage) -> None:
    """Put into the account what is odd about the annotation file as a whole, and say it."""
    logged: Counter[str] = Counter()
    for name, reason in file.skipped_images:
        account.skipped_images.add(reason, image=name)
        _warn(logged, reason, f"image {name}")
    account.file_remarks += file.remarks + found.remarks
    for remark, count in sorted(account.file_remarks.items()):
        logger.warning("%s: %s x %s", file.name, f"{count:,}", remark)


def _warn(logged: Counter[str], reason: str, what: str, detail: str = "") -> None:
    logged[reason] += 1
    if logged[reason] <= MOST_LOGGED:
        logger.warning("%s: %s%s", what, reason, f": {detail}" if detail else "")
    elif logged[reason] == MOST_LOGGED + 1:
        logger.warning("further ones are counted, not named: %s", reason)
