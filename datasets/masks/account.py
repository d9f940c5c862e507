"""What became of annotations: the account of an image or, as they add up, of a mask folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets.label_mapping import FORMAT_VERSION
from datasets.labels import IGNORE_INDEX, LabelSet

MAX_LISTED = 1000  # of one reason, listed one by one; all are counted
MAX_LISTED_OF_IMAGE = 100  # the same of one image, of all reasons together


@dataclass
class Skips:
    """Things left out: each reason's count, and the first MAX_LISTED of each by name."""

    by_reason: Counter[str] = field(default_factory=Counter)
    items: list[dict[str, str]] = field(default_factory=list)
    _listed: Counter[str] = field(default_factory=Counter, compare=False)

    def add(self, reason: str, **names: str) -> None:
        """Count and list something, by names that a person can find it with."""
        self.merge({reason: 1}, [{**names, "reason": reason}])

    def merge(self, by_reason: Mapping[str, int], items: Iterable[dict[str, str]]) -> None:
        """Add those that come after these."""
        self.by_reason.update(by_reason)
        for item in items:
            self._listed[item["reason"]] += 1
            if self._listed[item["reason"]] <= MAX_LISTED:
                self.items.append(item)

    def to_dict(self) -> dict[str, Any]:
        by_reason = dict(sorted(self.by_reason.items()))
        return {"count": self.by_reason.total(), "by_reason": by_reason, "items": self.items}


@dataclass
class Account:
    """What became of the annotations of an image, or of many: accounts add up, in order.

    Attributes:
        images: masks that it accounts for.
        pixels, images_by_label: label index -> pixels, and masks that show it; 255 is ignored.
        totals: "annotations", "crowds", "contested_pixels", "contested_images"; if there are such,
            "holed" annotations with a polygon inside another, their "holed_pixels", and the
            "hole_pixels" among them that an even number of polygons cover; and images
            "turned_upright" and "exif_ignored" (see ``writer``).
        beaten: (winner, loser) label indices -> contested pixels.
        drawn, empty: category name -> annotations with and without a pixel in their image.
        scales: K -> those among them that images K times as large would hold, and, under 0, all
            with coordinates from 0 to 1.
        hidden: category name -> annotations of which other labels left no pixel.
        unmapped: category name -> annotations of categories that no label stands for.
        skipped_images, skipped_annotations: without a mask; that could not be drawn.
        dropped_polygons: bad polygons of annotations that were drawn without them.
        file_remarks: what is odd about the annotation file as a whole -> how often.
    """

    images: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    images_by_label: Counter[int] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    beaten: Counter[tuple[int, int]] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    scales: Counter[int] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    skipped_images: Skips = field(default_factory=Skips)
    skipped_annotations: Skips = field(default_factory=Skips)
    dropped_polygons: Skips = field(default_factory=Skips)
    file_remarks: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        """Add the account of what comes next."""
        self.images += other.images
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, Skips):
                mine.merge(theirs.by_reason, theirs.items)

    def to_stamp(self) -> dict[str, Any]:
        """The account of one image as its mask carries it: plain, short, what is not empty.

        ``pixels`` by index; ``annotations``, ``crowds``, ``contested``: numbers; ``beaten``:
        [winner, loser, pixels]; ``skipped`` and ``dropped`` by reason, and those listed as
        [annotation, reason] in ``bad`` and ``trimmed``.
        """
        value = {
            "pixels": self.pixels,
            "annotations": self.totals["annotations"],
            "skipped": self.skipped_annotations.by_reason,
            "dropped": self.dropped_polygons.by_reason,
            "bad": _listed(self.skipped_annotations),
            "trimmed": _listed(self.dropped_polygons),
            "unmapped": self.unmapped,
            "crowds": self.totals["crowds"],
            "contested": self.totals["contested_pixels"],
            "beaten": [(*pair, count) for pair, count in self.beaten.items()],
            "hidden": self.hidden,
            "drawn": self.drawn,
            "empty": self.empty,
            "scales": self.scales,
            "holes": [self.totals[name] for name in _HOLES if self.totals[name]],
        }
        return {key: each for key, each in value.items() if each}

    @classmethod
    def of_stamp(cls, value: Mapping[str, Any], file_name: str) -> Account:
        """The inverse of ``to_stamp``, after a way through JSON."""
        contested = value.get("contested", 0)
        account = cls(images=1, pixels=_by_number(value["pixels"]))
        account.images_by_label.update(account.pixels.keys())
        account.totals = Counter(
            annotations=value.get("annotations", 0),
            crowds=value.get("crowds", 0),
            contested_pixels=contested,
            contested_images=int(contested > 0),
            **dict(zip(_HOLES, value.get("holes", ()), strict=False)),
        )
        account.beaten.update({(win, lose): n for win, lose, n in value.get("beaten", ())})
        account.scales = _by_number(value.get("scales", {}))
        for name in (*_BY_CATEGORY, "empty"):
            getattr(account, name).update(value.get(name, {}))
        for skips, counts, names in (
            (account.skipped_annotations, "skipped", "bad"),
            (account.dropped_polygons, "dropped", "trimmed"),
        ):
            rows = value.get(names, ())
            items = [{"image": file_name, "annotation": a, "reason": reason} for a, reason in rows]
            skips.merge(value.get(counts, {}), items)
        return account

    def to_dict(self, label_set: LabelSet) -> dict[str, Any]:
        """Its part of masks.json; the same input gives the same text."""
        names = [*enumerate(label_set.names), (IGNORE_INDEX, "(ignored)")]
        return {
            "images": self.images,
            "labels": [
                {
                    "index": index,
                    "name": name,
                    "pixels": self.pixels[index],
                    "images": self.images_by_label[index],
                }
                for index, name in names
            ],
            "totals": dict(sorted(self.totals.items())),
            "contested": [
                {"winner": winner, "loser": loser, "pixels": pixels}
                for (winner, loser), pixels in most_first(self.beaten)
            ],
            **{name: dict(most_first(getattr(self, name))) for name in _BY_CATEGORY},
            **{name: getattr(self, name).to_dict() for name in _SKIPS},
            "file_remarks": dict(sorted(self.file_remarks.items())),
            **({"empty": dict(most_first(self.empty))} if self.empty else {}),
            **({"scales": dict(sorted(self.scales.items()))} if self.scales else {}),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Account:
        """The inverse of ``to_dict``, after a way through JSON."""
        account = cls(images=value["images"], scales=_by_number(value.get("scales", {})))
        for label in value["labels"]:
            account.pixels[label["index"]] = label["pixels"]
            account.images_by_label[label["index"]] = label["images"]
        for pair in value["contested"]:
            account.beaten[pair["winner"], pair["loser"]] = pair["pixels"]
        for name in (*_BY_CATEGORY, "totals", "file_remarks", "empty"):
            getattr(account, name).update(value.get(name, {}))
        for name in _SKIPS:
            getattr(account, name).merge(value[name]["by_reason"], value[name]["items"])
        return account


_BY_CATEGORY = ("drawn", "hidden", "unmapped")
_HOLES = ("holed", "holed_pixels", "hole_pixels")
_SKIPS = ("skipped_images", "skipped_annotations", "dropped_polygons")


def _listed(skips: Skips) -> list[tuple[str, str]]:
    return [(item["annotation"], item["reason"]) for item in skips.items]


def _by_number(counts: Mapping[str, int]) -> Counter[int]:
    """The inverse of what JSON does to keys."""
    return Counter({int(key): count for key, count in counts.items()})


def most_first(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """Largest first, equal ones by name: a fixed order."""
    return sorted(((key, n) for key, n in counter.items() if n), key=lambda row: (-row[1], row[0]))


@dataclass
class MaskReport:
    """masks.json: what the masks of a folder mean, what they were made from, and their account.

    Attributes:
        label_set: what the pixel values mean.
        options: the choices that decided the pixels.
        source: the annotation file's name and SHA-256; of several, also each one's in "files".
        selection: in a shard's report, a digest of the images that all shards choose; else "".
        account: of all its masks.
    """

    label_set: LabelSet
    options: dict[str, str]
    source: dict[str, Any]
    selection: str = ""
    account: Account = field(default_factory=Account)

    def to_dict(self, *, complete: bool) -> dict[str, Any]:
        """The file's content; ``complete`` says whether the run that made the masks has ended."""
        return {
            "format_version": FORMAT_VERSION,
            "complete": complete,
            "label_set": self.label_set.to_dict(),
            "options": self.options,
            "source": self.source,
            **({"selection": self.selection} if self.selection else {}),
            **self.account.to_dict(self.label_set),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> MaskReport:
        """The inverse of ``to_dict``."""
        label_set, account = LabelSet.from_dict(value["label_set"]), Account.from_dict(value)
        selection = value.get("selection", "")
        return cls(label_set, value["options"], value["source"], selection, account)
