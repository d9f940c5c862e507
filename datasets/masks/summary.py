"""The report of a mask folder as a person reads it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from datasets.coco.annotations import AnnotationFile, AnnotationsByImage
from datasets.labels import IGNORE_INDEX
from datasets.masks.account import Account, MaskReport, most_first
from datasets.masks.writer import MaskResult

logger = logging.getLogger("generate_masks")

MOST_LOGGED = 20  # bad images or annotations of one reason that are named on the terminal


def summary_lines(report: MaskReport) -> list[str]:
    """The report as a person reads it: a table of labels, then what the choices cost."""
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


def crowd_warning(report: MaskReport) -> str | None:
    """What to say if most annotations were left out as crowds: most likely they are none."""
    crowds, drawn = report.account.totals["crowds"], report.account.drawn.total()
    rule = report.options["crowd"]
    if rule == "paint" or 2 * crowds <= drawn:
        return None
    return (
        f"{crowds:,} of {drawn:,} annotations are marked as crowds (iscrowd), which --crowd {rule} "
        "leaves out; some tools mark every run-length encoding so: --crowd paint draws them"
    )


def _overlap_lines(account: Account, names: Mapping[int, str], total: int) -> list[str]:
    contested = account.totals["contested_pixels"]
    if not contested:
        return []
    pairs = ", ".join(
        f"{names[winner]} over {names[loser]} {pixels:,}"
        for (winner, loser), pixels in most_first(account.beaten)[:5]
    )
    lines = [
        f"contested: {contested:,} pixels ({contested / total:.2%}) in "
        f"{account.totals['contested_images']:,} images: {pairs}"
    ]
    gone = [name for name, n in most_first(account.hidden) if n == account.drawn[name]]
    if account.hidden:
        lines.append(f"hidden by other labels: {_listing(account.hidden)} annotations")
    if gone:
        lines.append(f"vanished altogether: {', '.join(gone)}")
    return lines


def _skip_lines(account: Account) -> list[str]:
    lines = []
    if account.unmapped:
        lines.append(f"in no label, so background: {_listing(account.unmapped)} annotations")
    for what, skips in (
        ("skipped images", account.skipped_images),
        ("skipped annotations", account.skipped_annotations),
        ("dropped polygons", account.dropped_polygons),
    ):
        for reason, count in most_first(skips.by_reason):
            named = [
                f"{item['image']}" + (f" ({item['annotation']})" if "annotation" in item else "")
                for item in skips.items
                if item["reason"] == reason
            ]
            more = ", ..." if count > 3 else ""
            lines.append(f"{what}: {count:,} x {reason}: {', '.join(named[:3])}{more}")
    lines += [
        f"annotation file: {n:,} x {what}" for what, n in sorted(account.file_remarks.items())
    ]
    return lines


def _listing(counter: Counter[str], most: int = 8) -> str:
    rows = most_first(counter)
    text = ", ".join(f"{name} {count:,}" for name, count in rows[:most])
    return text + (f" and {len(rows) - most} more" if len(rows) > most else "")


def show(report: MaskReport) -> None:
    """Print the summary, and warn of what looks like a mistake."""
    print(*summary_lines(report), sep="\n")
    if warning := crowd_warning(report):
        logger.warning(warning)


def collect(results: Iterable[MaskResult], account: Account) -> Counter[str]:
    """Add up each result's account, and name what was bad about it; count what was done."""
    done: Counter[str] = Counter()
    logged: Counter[str] = Counter()
    for result in results:
        name, id = result.entry.file_name, result.entry.id
        if result.account is None:
            done["skipped"] += 1
            account.skipped_images.add(result.reason, image=name)
            _warn(logged, result.reason, f"image {name} (id {id})")
            continue
        done["written" if result.written else "kept"] += 1
        done["replaced"] += result.replaced
        account.add(result.account)
        bad = (result.account.skipped_annotations, result.account.dropped_polygons)
        for item in (item for skips in bad for item in skips.items):
            _warn(logged, item["reason"], f"annotation {item['annotation']} (image id {id})")
    return done


def remark_on_file(account: Account, file: AnnotationFile, found: AnnotationsByImage) -> None:
    """Put into the account what is odd about the annotation file as a whole, and say it."""
    logged: Counter[str] = Counter()
    for skipped in file.skipped_images:
        account.skipped_images.add(skipped.reason, image=skipped.name)
        _warn(logged, skipped.reason, f"image {skipped.name}")
    remarks = Counter(
        {
            "image entry repeated": file.repeated_image_ids,
            "annotation of an image that is not listed": found.unknown_images.total(),
            "annotation id repeated": found.repeated_ids,
            **Counter(found.unreadable),
        }
    )
    account.file_remarks += remarks  # without zeros
    for remark, count in sorted(account.file_remarks.items()):
        logger.warning("%s: %s x %s", file.path, f"{count:,}", remark)


def _warn(logged: Counter[str], reason: str, what: str) -> None:
    logged[reason] += 1
    if logged[reason] <= MOST_LOGGED:
        logger.warning("%s: %s", what, reason)
    elif logged[reason] == MOST_LOGGED + 1:
        logger.warning("further ones are counted, not named: %s", reason)
