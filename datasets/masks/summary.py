"""The report of a mask folder as a person reads it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from datasets.labels import IGNORE_INDEX
from datasets.masks.account import MaskReport, most_first
from datasets.masks.writer import MaskResult

logger = logging.getLogger("generate_masks")

MOST_LOGGED = 20  # bad images or annotations of one reason that are named on the terminal


def summary_lines(report: MaskReport) -> list[str]:
    """The report as a person reads it: a table of labels, then what the choices cost."""
    total = max(1, report.pixels.total())
    images = max(1, report.images)
    lines = [f"{'label':>5}  {'name':<20} {'pixels':>15} {'share':>7} {'images':>8} {'share':>7}"]
    for index, name in [*enumerate(report.label_set.names), (IGNORE_INDEX, "(ignored)")]:
        if index == IGNORE_INDEX and not report.pixels[index]:
            continue
        pixels, shown = report.pixels[index], report.images_by_label[index]
        lines.append(
            f"{index:>5}  {name:<20} {pixels:>15,} {pixels / total:>7.2%} {shown:>8,} "
            f"{shown / images:>7.2%}"
        )
    lines += [*_overlap_lines(report, total), *_skip_lines(report)]
    return [line.encode("utf-8", "backslashreplace").decode() for line in lines]


def crowd_warning(report: MaskReport) -> str | None:
    """What to say if most annotations were left out as crowds: most likely they are none."""
    crowds, drawn = report.totals["crowds"], report.drawn.total()
    rule = report.options["crowd"]
    if rule == "paint" or 2 * crowds <= drawn:
        return None
    return (
        f"{crowds:,} of {drawn:,} annotations are marked as crowds (iscrowd), which --crowd {rule} "
        "leaves out; some tools mark every run-length encoding so: --crowd paint draws them"
    )


def _overlap_lines(report: MaskReport, total: int) -> list[str]:
    contested = report.totals["contested_pixels"]
    if not contested:
        return []
    names = {IGNORE_INDEX: "(ignored)", **dict(enumerate(report.label_set.names))}
    pairs = ", ".join(
        f"{names[winner]} over {names[loser]} {pixels:,}"
        for (winner, loser), pixels in most_first(report.beaten)[:5]
    )
    lines = [
        f"contested: {contested:,} pixels ({contested / total:.2%}) in "
        f"{report.totals['contested_images']:,} images: {pairs}"
    ]
    gone = [name for name, n in most_first(report.hidden) if n == report.drawn[name]]
    if report.hidden:
        lines.append(f"hidden by other labels: {_listing(report.hidden)} annotations")
    if gone:
        lines.append(f"vanished altogether: {', '.join(gone)}")
    return lines


def _skip_lines(report: MaskReport) -> list[str]:
    lines = []
    if report.unmapped:
        lines.append(f"in no label, so background: {_listing(report.unmapped)} annotations")
    for what, skips in (
        ("skipped images", report.skipped_images),
        ("skipped annotations", report.skipped_annotations),
        ("dropped polygons", report.dropped_polygons),
    ):
        for reason, count in most_first(skips.by_reason):
            named = [
                f"{item['image']}" + (f" ({item['annotation']})" if "annotation" in item else "")
                for item in skips.items
                if item["reason"] == reason
            ]
            more = ", ..." if count > 3 else ""
            lines.append(f"{what}: {count:,} x {reason}: {', '.join(named[:3])}{more}")
    lines += [f"annotation file: {n:,} x {what}" for what, n in sorted(report.file_remarks.items())]
    return lines


def _listing(counter: Counter[str], most: int = 8) -> str:
    rows = most_first(counter)
    text = ", ".join(f"{name} {count:,}" for name, count in rows[:most])
    return text + (f" and {len(rows) - most} more" if len(rows) > most else "")


def collect(results: Iterable[MaskResult], report: MaskReport) -> Counter[str]:
    """Add each result to the report, and name what was bad about it; count what was done."""
    done: Counter[str] = Counter()
    logged: Counter[str] = Counter()
    for result in results:
        name = result.entry.file_name
        if result.account is None:
            done["skipped"] += 1
            report.skipped_images.add(result.reason, image=name)
            warn(logged, result.reason, f"image {name} (id {result.entry.id})")
            continue
        done["written" if result.written else "kept"] += 1
        done["replaced"] += result.replaced
        report.add(name, result.account)
        for annotation, reason in (*result.account.bad, *result.account.trimmed):
            warn(logged, reason, f"annotation {annotation} (image id {result.entry.id})")
    return done


def warn(logged: Counter[str], reason: str, what: str) -> None:
    logged[reason] += 1
    if logged[reason] <= MOST_LOGGED:
        logger.warning("%s: %s", what, reason)
    elif logged[reason] == MOST_LOGGED + 1:
        logger.warning("further ones are counted, not named: %s", reason)
