"""A large image seen through a window that slides over it, the tiles blended smoothly.

Each tile is predicted like an image of its own. Where tiles overlap, their logits are averaged,
weighted by a window that falls to nothing at a tile's edge: no seam shows, and what a tile says
of its middle counts more than what it says of its edge, where it sees only half of things.

Memory is bounded: rows of the label map are decided as soon as no later tile reaches them, so what
is held is the scores of the rows of one row of tiles, 4 bytes a label and pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.prediction import Plane, Prediction, decide


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
    """The tiles of an image: every row of tiles with every column, row by row."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, image: Tensor, tile: tuple[int, int], overlap: float) -> Tiling:
        """The tiles of an image (3, H, W), each of height and width ``tile``."""
        height, width = image.shape[-2:]
        return cls(Axis(height, tile[0], overlap), Axis(width, tile[1], overlap))

    def crops(self, image: Tensor) -> Iterator[Tensor]:
        """The tiles, as views of the image (3, H, W)."""
        for top in self.rows.starts:
            for left in self.columns.starts:
                yield image[:, top : top + self.rows.size, left : left + self.columns.size]

    @torch.inference_mode()
    def predict(
        self,
        tiles: Iterator[Tensor],
        decide: Callable[[Plane, int], Prediction] = decide,
    ) -> Prediction:
        """Predict the image.

        Args:
            tiles: the scores (C, h, w) float32 of each, at its size; no more are taken.
            decide: what is known of some rows, from their scores.
        """
        rows, columns = self.rows, self.columns
        label_map = torch.empty((rows.length, columns.length), dtype=torch.uint8)
        scores = probabilities = None
        for row, top in enumerate(rows.starts):
            for column, left in enumerate(columns.starts):
                tile = next(tiles)
                if scores is None:  # of the rows that tiles have reached, but for decided ones
                    scores = tile.new_zeros(len(tile), rows.size, columns.length)
                weights = rows.weights[row][:, None] * columns.weights[column]
                scores[..., left : left + columns.size] += tile.mul_(weights.to(tile.device))
            assert scores is not None
            bottom = (*rows.starts, rows.length)[row + 1]
            part = decide(scores[:, : bottom - top].__getitem__, len(scores))
            label_map[top:bottom] = part.label_map
            if part.probabilities is not None:
                if probabilities is None:
                    size = (len(scores), *label_map.shape)
                    probabilities = part.probabilities.new_empty(size)
                probabilities[:, top:bottom] = part.probabilities
            for plane in scores:  # one by one, for the copy
                plane.copy_(plane.roll(top - bottom, 0))
                plane[top - bottom :] = 0
        return Prediction(label_map, probabilities)
