"""What became of annotations, of one image or of a folder: masks.json's counts and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets.label_mapping import FORMAT_VERSION
from datasets.labels import IGNORE_INDEX, LabelSet

MAX_LISTED = 1000  # of one reason, listed one by one; all are counted

Items = list[dict[str, str]]

MAX_LISTED_OF_IMAGE = (
    100  # bad annotations of one image that are listed one by one; all are counted
)


@dataclass
class Skips:
    """Things left out: each reason's count, and the first MAX_LISTED of each by name."""

    by_reason: Counter[str] = field(default_factory=Counter)
    items: Items = field(default_factory=list)
    _listed: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, **names: str) -> None:
        """Count and list something."""
        self.by_reason[reason] += 1
        self.list(reason, **names)

    def list(self, reason: str, **names: str) -> None:
        """List something that was counted, by names a person can find it with."""
        self._listed[reason] += 1
        if self._listed[reason] <= MAX_LISTED:
            self.items.append({**names, "reason": reason})

    def to_dict(self) -> dict[str, Any]:
        by_reason = dict(sorted(self.by_reason.items()))
        return {"count": self.by_reason.total(), "by_reason": by_reason, "items": self.items}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Skips:
        skips = cls(Counter(value["by_reason"]))
        for item in value["items"]:
            skips.list(**item)
        return skips

    def merge(self, other: Skips) -> None:
        self.by_reason.update(other.by_reason)
        for item in other.items:
            self.list(**item)


@dataclass
class MaskReport:
    """The account of a mask folder; images are added in order, reports of shards merged in order.

    Attributes:
        label_set: what the pixel values mean.
        options: the choices that decided the pixels.
        source: the annotation file's name and SHA-256.
        selection: in a shard's report, a digest of the images that all shards choose; else "".
        images: masks that the run accounts for.
        pixels: label index -> pixels.
        images_by_label: label index -> masks that show the label.
        totals: "annotations", "crowds", "contested_pixels", "contested_images".
        beaten: (winner, loser) label indices -> contested pixels.
        drawn: category name -> annotations drawn.
        hidden: category name -> annotations of which other labels left no pixel.
        unmapped: category name -> annotations of categories that no label stands for.
        skipped_images: images without a mask.
        skipped_annotations: annotations that could not be drawn.
        dropped_polygons: bad polygons of annotations that were drawn without them.
        file_remarks: what is odd about the annotation file as a whole -> how often.
    """

    label_set: LabelSet
    options: dict[str, str]
    source: dict[str, str]
    selection: str = ""
    images: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    images_by_label: Counter[int] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    beaten: Counter[tuple[int, int]] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    skipped_images: Skips = field(default_factory=Skips)
    skipped_annotations: Skips = field(default_factory=Skips)
    dropped_polygons: Skips = field(default_factory=Skips)
    file_remarks: Counter[str] = field(default_factory=Counter)

    def add(self, file_name: str, account: Account) -> None:
        """Add the account of one image's mask."""
        self.images += 1
        pixels = {int(index): count for index, count in account.pixels.items()}
        self.pixels.update(pixels)
        self.images_by_label.update(pixels.keys())
        self.totals["annotations"] += account.annotations
        self.totals["crowds"] += account.crowds
        self.totals["contested_pixels"] += account.contested
        self.totals["contested_images"] += account.contested > 0
        for winner, loser, count in account.beaten:
            self.beaten[winner, loser] += count
        for mine, its in (
            (self.drawn, account.drawn),
            (self.hidden, account.hidden),
            (self.unmapped, account.unmapped),
            (self.skipped_annotations.by_reason, account.skipped),
            (self.dropped_polygons.by_reason, account.dropped),
        ):
            mine.update(its)
        for annotation, reason in account.bad:
            self.skipped_annotations.list(reason, image=file_name, annotation=annotation)
        for annotation, reason in account.trimmed:
            self.dropped_polygons.list(reason, image=file_name, annotation=annotation)

    def merge(self, other: MaskReport) -> None:
        """Add the report of the next shard of the same run."""
        self.images += other.images
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name in _SKIPS:
            getattr(self, name).merge(getattr(other, name))

    def to_dict(self, *, complete: bool) -> dict[str, Any]:
        """masks.json; the same input gives the same text."""
        names = [*self.label_set.names]
        return {
            "format_version": FORMAT_VERSION,
            "complete": complete,
            "label_set": self.label_set.to_dict(),
            "options": self.options,
            "source": self.source,
            **({"selection": self.selection} if self.selection else {}),
            "images": self.images,
            "labels": [
                self._share(index, name) for index, name in [*enumerate(names), (IGNORE_INDEX, "")]
            ],
            "totals": dict(sorted(self.totals.items())),
            "contested": [
                {"winner": winner, "loser": loser, "pixels": pixels}
                for (winner, loser), pixels in most_first(self.beaten)
            ],
            "drawn": dict(most_first(self.drawn)),
            "hidden": dict(most_first(self.hidden)),
            "unmapped": dict(most_first(self.unmapped)),
            **{name: getattr(self, name).to_dict() for name in _SKIPS},
            "file_remarks": dict(sorted(self.file_remarks.items())),
        }

    def _share(self, index: int, name: str) -> dict[str, Any]:
        return {
            "index": index,
            "name": name or "(ignored)",
            "pixels": self.pixels[index],
            "images": self.images_by_label[index],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> MaskReport:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: it is of another format.
        """
        if value.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"masks.json has format version {value.get('format_version')!r}, expected "
                f"{FORMAT_VERSION}"
            )
        return cls(
            label_set=LabelSet.from_dict(value["label_set"]),
            options=value["options"],
            source=value["source"],
            selection=value.get("selection", ""),
            images=value["images"],
            pixels=Counter({label["index"]: label["pixels"] for label in value["labels"]}),
            images_by_label=Counter({label["index"]: label["images"] for label in value["labels"]}),
            beaten=Counter({(p["winner"], p["loser"]): p["pixels"] for p in value["contested"]}),
            totals=Counter(value["totals"]),
            drawn=Counter(value["drawn"]),
            hidden=Counter(value["hidden"]),
            unmapped=Counter(value["unmapped"]),
            skipped_images=Skips.from_dict(value["skipped_images"]),
            skipped_annotations=Skips.from_dict(value["skipped_annotations"]),
            dropped_polygons=Skips.from_dict(value["dropped_polygons"]),
            file_remarks=Counter(value["file_remarks"]),
        )


_COUNTERS = (
    "pixels", "images_by_label", "totals", "beaten", "drawn", "hidden", "unmapped", "file_remarks",
)  # fmt: skip
_SKIPS = ("skipped_images", "skipped_annotations", "dropped_polygons")


def most_first(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """Largest first, equal ones by name: a fixed order."""
    return sorted(((key, n) for key, n in counter.items() if n), key=lambda row: (-row[1], row[0]))


@dataclass
class Account:
    """What became of an image's annotations. Plain types only, so that a mask can carry it.

    Attributes:
        pixels: label index -> pixels, for labels that occur; 255 is ignored.
        annotations: how many there were.
        skipped: reason -> annotations that could not be drawn.
        dropped: reason -> polygons left out of annotations whose others were drawn.
        bad: [annotation id, reason] of the skipped, the first MAX_LISTED_OF_IMAGE.
        trimmed: the same of the dropped.
        unmapped: category name -> annotations of categories that no label stands for.
        crowds: annotations marked as crowds, among those drawn.
        contested: pixels that different labels claimed.
        beaten: [winner, loser, pixels] label indices, for contested pixels.
        hidden: category name -> annotations of which other labels left no pixel.
        drawn: category name -> annotations drawn.
    """

    pixels: dict[str, int] = field(default_factory=dict)
    annotations: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    trimmed: list[tuple[str, str]] = field(default_factory=list)
    unmapped: Counter[str] = field(default_factory=Counter)
    crowds: int = 0
    contested: int = 0
    beaten: list[tuple[int, int, int]] = field(default_factory=list)
    hidden: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not empty."""
        return {key: value for key, value in vars(self).items() if value}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Account:
        """The inverse of ``to_dict``, also after a way through JSON."""
        account = cls(**value)
        for name in ("skipped", "dropped", "unmapped", "hidden", "drawn"):
            setattr(account, name, Counter(getattr(account, name)))
        account.bad = [(annotation, reason) for annotation, reason in account.bad]
        account.trimmed = [(annotation, reason) for annotation, reason in account.trimmed]
        account.beaten = [(winner, loser, pixels) for winner, loser, pixels in account.beaten]
        return account

    def skip(self, annotation: str, reason: str) -> None:
        self.skipped[reason] += 1
        if len(self.bad) < MAX_LISTED_OF_IMAGE:
            self.bad.append((annotation, reason))

    def drop(self, annotation: str, reason: str) -> None:
        self.dropped[reason] += 1
        if len(self.trimmed) < MAX_LISTED_OF_IMAGE:
            self.trimmed.append((annotation, reason))
