"""A large image seen through a window that slides over it, the tiles blended smoothly.

Each tile is predicted like an image of its own. Where tiles overlap, their logits are averaged,
weighted by a window that falls to nothing at a tile's edge: no seam shows, and what a tile says
of its middle counts more than what it says of its edge, where it sees only half of things.

Memory is bounded: rows of the label map are decided as soon as no later tile reaches them, so what
is held is the scores of the rows of one row of tiles, 4 bytes a label and pixel.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice

import torch
from torch import Tensor

from models.prediction import Plane, Prediction, decide, enlarge

# Crops (3, h, w) uint8 -> the logits (C, H, W) float32 of each, perhaps still being computed.
Network = Callable[[Sequence[Tensor]], Sequence[Future[Tensor]]]

# Tiles that are given to the network at a time: enough for its threads, and for a GPU's batch.
AT_ONCE = 64


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
    def of(cls, image: Tensor, tile: tuple[int, int], overlap: float) -> Tiling:
        """The tiles of an image (3, H, W), each of height and width ``tile``."""
        height, width = image.shape[-2:]
        return cls(Axis(height, tile[0], overlap), Axis(width, tile[1], overlap))

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
    decide: Callable[[Plane, int], Prediction] = decide,
) -> Prediction:
    """Predict an image tile by tile.

    Args:
        image: (3, H, W) uint8 RGB.
        tiling: its tiles.
        network: predicts tiles.
        num_labels: C.
        decide: what is known of some rows, from their scores.
    """
    height, width = image.shape[-2:]
    starts = tiling.rows.starts
    label_map = torch.empty((height, width), dtype=torch.uint8)
    shares = None
    tiles = logits_of_tiles(image, tiling, network)
    first = next(tiles)
    scores = BlendedScores(tiling, first)
    tiles = chain([first], tiles)
    for row, top in enumerate(starts):
        for column in range(len(tiling.columns.starts)):
            scores.add(row, column, next(tiles))
        bottom = height if row + 1 == len(starts) else starts[row + 1]
        part = decide(partial(scores.plane, top, bottom), num_labels)
        scores.drop(top, bottom)
        label_map[top:bottom] = part.label_map
        if part.probabilities is not None:
            if shares is None:
                shares = part.probabilities.new_empty((num_labels, height, width))
            shares[:, top:bottom] = part.probabilities
    return Prediction(label_map, shares)


def logits_of_tiles(image: Tensor, tiling: Tiling, network: Network) -> Iterator[Tensor]:
    """The logits (C, H, W) of each tile, row by row; further ones are computed meanwhile."""
    crops = chain.from_iterable(tiling.crops(image, row) for row in range(len(tiling.rows.starts)))
    at_once = min(AT_ONCE, len(tiling.columns.starts))
    coming = network(list(islice(crops, at_once)))
    while coming:
        now = deque(coming)
        following = list(islice(crops, at_once))
        coming = network(following) if following else []
        while now:
            yield now.popleft().result()


class BlendedScores:
    """Scores of the rows that tiles have reached and that are not decided yet.

    Args:
        tiling: the tiles.
        like: logits (C, H, W) of one, for the number of labels and the device.
    """

    def __init__(self, tiling: Tiling, like: Tensor) -> None:
        self._tiling = tiling
        self._scores = like.new_zeros(len(like), tiling.rows.size, tiling.columns.length)

    def add(self, row: int, column: int, logits: Tensor) -> None:
        """Take over the logits (C, H, W) of the next tile, row by row."""
        rows, columns = self._tiling.rows, self._tiling.columns
        device, left = logits.device, columns.starts[column]
        down, along = rows.weights[row][:, None].to(device), columns.weights[column].to(device)
        for scores, plane in zip(self._scores, logits, strict=True):
            tile = enlarge(plane, self._tiling.tile_size)
            scores[:, left : left + columns.size] += tile * (down * along)

    def plane(self, top: int, bottom: int, label: int) -> Tensor:
        """The scores (bottom - top, W) of one label; all tiles that reach them must be there."""
        return self._scores[label, : bottom - top]

    def drop(self, top: int, bottom: int) -> None:
        """Forget the rows above ``bottom``; ``top`` is the ``bottom`` before."""
        for scores in self._scores:  # one by one, for the copy
            left = scores[bottom - top :].clone()
            scores[: len(left)] = left
            scores[len(left) :] = 0
