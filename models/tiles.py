"""A large image seen through a window that slides over it, the tiles blended smoothly.

Each tile is predicted like an image of its own. Where tiles overlap, their logits are averaged,
weighted by a window that falls to nothing at a tile's edge: no seam shows, and what a tile says
of its middle counts more than what it says of its edge, where it sees only half of things.

Memory is bounded: finished rows of the label map are decided as soon as no later tile reaches
them, and of the tiles only their logits at the network's size are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from models.prediction import Prediction, decide, enlarge

# Crops (3, h, w) uint8 -> the logits (C, S, S) float32 of each, perhaps still being computed.
Network = Callable[[Sequence[Tensor]], Sequence[Future[Tensor]]]


@dataclass(frozen=True)
class Axis:
    """Tiles along the height or the width of an image, at even distances.

    Attributes:
        length: of the image, pixels.
        tile: wanted size of a tile, pixels; an image that is smaller has one tile of its size.
        overlap: least share of a tile that its neighbour covers too, 0 or more and less than 1.
    """

    length: int
    tile: int
    overlap: float

    @property
    def size(self) -> int:
        """Pixels of each tile."""
        return min(self.tile, self.length)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each tile."""
        room = self.length - self.size
        stride = max(1, math.floor(self.size * (1 - self.overlap)))
        steps = math.ceil(room / stride)
        return tuple(room * step // steps for step in range(steps + 1)) if steps else (0,)

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """(size,) float32 of each tile; at each pixel of the image, those of its tiles sum to 1.

        A squared sine (Hann's window, sampled at the middle of pixels, so never quite 0).
        """
        middles = (torch.arange(self.size, dtype=torch.float64) + 0.5) / self.size
        window = (math.pi * middles).sin() ** 2
        total = torch.zeros(self.length, dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.size] += window
        shares = (window / total[start : start + self.size] for start in self.starts)
        return tuple(share.float() for share in shares)


@dataclass(frozen=True)
class Tiling:
    """The tiles of an image: every row of tiles with every column.

    Attributes:
        rows: tiles along the height.
        columns: tiles along the width.
    """

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, image: Tensor, tile: int, overlap: float) -> Tiling:
        """The tiles of an image (3, H, W)."""
        height, width = image.shape[-2:]
        return cls(Axis(height, tile, overlap), Axis(width, tile, overlap))

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of each tile."""
        return self.rows.size, self.columns.size

    def crops(self, image: Tensor, row: int) -> list[Tensor]:
        """The tiles of one row, as views of the image (3, H, W)."""
        top = self.rows.starts[row]
        strip = image[:, top : top + self.rows.size]
        return [strip[..., left : left + self.columns.size] for left in self.columns.starts]


def predict_tiled(
    image: Tensor,
    tiling: Tiling,
    network: Network,
    num_labels: int,
    *,
    min_confidence: float = 0.0,
    probabilities: torch.dtype | None = None,
) -> Prediction:
    """Predict an image tile by tile; the arguments behind ``num_labels`` are those of ``decide``.

    Args:
        image: (3, H, W) uint8 RGB.
        tiling: its tiles.
        network: predicts tiles.
        num_labels: C.
    """
    height, width = image.shape[-2:]
    starts = tiling.rows.starts
    label_map = torch.empty((height, width), dtype=torch.uint8)
    shares = None
    if probabilities is not None:
        shares = torch.empty((num_labels, height, width), dtype=probabilities)
    alive: dict[int, list[Tensor]] = {}  # row of tiles -> logits of each
    coming = network(tiling.crops(image, 0))
    for row, top in enumerate(starts):
        alive[row] = [logits.result() for logits in coming]
        is_last = row + 1 == len(starts)
        if not is_last:  # is computed while the rows above it are decided
            coming = network(tiling.crops(image, row + 1))
        bottom = height if is_last else starts[row + 1]
        alive = {r: tiles for r, tiles in alive.items() if starts[r] + tiling.rows.size > top}
        part = decide(
            partial(blend, tiling, alive, top, bottom),
            num_labels,
            min_confidence=min_confidence,
            probabilities=probabilities,
        )
        label_map[top:bottom] = part.label_map
        if shares is not None and part.probabilities is not None:
            shares[:, top:bottom] = part.probabilities
    return Prediction(label_map, shares)


def blend(
    tiling: Tiling, alive: Mapping[int, Sequence[Tensor]], top: int, bottom: int, label: int
) -> Tensor:
    """The scores of one label in the rows ``top`` to ``bottom`` - 1, from all tiles in them.

    Args:
        tiling: the tiles.
        alive: row of tiles -> logits (C, S, S) of each of its tiles, for all that reach the rows.
        top: first row.
        bottom: the row after the last.
        label: which label.

    Returns:
        (bottom - top, W) float32.
    """
    size = tiling.rows.size
    device = next(iter(alive.values()))[0].device
    scores = torch.zeros((bottom - top, tiling.columns.length), device=device)
    for row, tiles in alive.items():
        start = tiling.rows.starts[row]
        low, high = max(top, start), min(bottom, start + size)
        if low >= high:
            continue
        down = tiling.rows.weights[row][low - start : high - start, None].to(device)
        strip = scores[low - top : high - top]
        for left, along, logits in zip(
            tiling.columns.starts, tiling.columns.weights, tiles, strict=True
        ):
            tile = enlarge(logits[label], tiling.tile_size)[low - start : high - start]
            strip[:, left : left + tiling.columns.size] += tile * (down * along.to(device))
    return scores
