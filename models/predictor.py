"""A checkpoint in use: images in, label maps out. What inference.py works with, and other programs.

predictor = Predictor.load("runs/NAME")
label_map = predictor(Image.open("photo.jpg").convert("RGB"))
print({predictor.label_names[label] for label in np.unique(label_map)})
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.checkpoint import Checkpoint, load_checkpoint, model_from_checkpoint
from models.execution import (
    BatchedNetwork,
    Evaluator,
    ThreadedNetwork,
    free_memory,
    is_out_of_memory,
)
from models.prediction import Prediction, View, decide, planes_of
from models.tiles import Tiling, predict_tiled
from runtime.devices import Machine
from runtime.run_folder import find_checkpoint
from runtime.workers import in_order

Key = TypeVar("Key")
Result = TypeVar("Result")

MOST_PIXELS = 100_000_000  # of the images worked on at a time, or one image: about 1 GB


class Predictor(AbstractContextManager["Predictor"]):
    """The network of a checkpoint, and how it is to be used.

    Args:
        checkpoint: what ``load_checkpoint`` gives.
        machine: where to compute, and how; compiling takes a minute.
        plain: compute as plain PyTorch does: on a processor in float32, the result is that of a
            loop over the images on one thread, bit for bit.
        image_size: height and width at which the network sees an image; one number for a square
            or, if it was trained on crops, for the shorter side; None: as it was trained.
        flip: average the logits with those of the mirrored image.
        tile: see the image through a window of this height, in its own pixels, and of the shape
            of what the network sees; None: as a whole.
        tile_overlap: least share of a tile that its neighbour covers too, 0 or more, less than 1.
        min_confidence: a pixel whose best label is less probable, 0..1, becomes label 0, for sets
            in which that is the background.
        probabilities: the type to give the probabilities of all labels in; None for none.
        batch_size: images at a time on a GPU; it changes nothing on a processor.

    Attributes:
        label_names: the name of each label index; index 0 is the background if there is one.
        label_set: the checkpoint's, with colours, as a plain dict.

    Raises:
        ValueError: the checkpoint contradicts itself.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        machine: Machine,
        *,
        plain: bool = False,
        image_size: int | Sequence[int] | None = None,
        flip: bool = False,
        tile: int | None = None,
        tile_overlap: float = 0.25,
        min_confidence: float = 0.0,
        probabilities: torch.dtype | None = None,
        batch_size: int = 8,
    ) -> None:
        self.label_set: dict[str, Any] = checkpoint["label_set"]
        self.label_names = tuple(str(label["name"]) for label in self.label_set["labels"])
        self.view = View.of_checkpoint(checkpoint, image_size, whole=tile is None)
        self.machine = machine
        self.tile = tile
        self.tile_overlap = tile_overlap
        self.decide = partial(decide, min_confidence=min_confidence, probabilities=probabilities)
        forward = Evaluator(model_from_checkpoint(checkpoint), machine, plain=plain, flip=flip)
        threads = torch.get_num_threads()
        self.network: ThreadedNetwork | BatchedNetwork
        if machine.device.type == "cpu":
            self.network = ThreadedNetwork(forward, self.view, threads)
        else:
            self.network = BatchedNetwork(forward, self.view, batch_size, threads)
        if machine.compile:
            self._compile()

    def _compile(self) -> None:
        """Make code now, not in all threads at once, by predicting something."""
        from torch._inductor import config

        def first() -> None:
            # Weights as constants are laid out for the processor once, not at every call. The
            # setting is the thread's own, and so is the number of threads that code is made for.
            with config.patch(freezing=self.machine.device.type == "cpu"):
                self.network.forward(self.view(torch.zeros(3, 1, 1, dtype=torch.uint8))[None])

        self.network.pool.submit(first).result()

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        device: str = "auto",
        amp: str = "auto",
        compile: bool = False,
        **options: Any,
    ) -> Predictor:
        """A predictor from a checkpoint file, or from the folder of a run: its best.

        Args:
            path: the file or folder.
            device: one of ``command_line.DEVICES``.
            amp: one of ``command_line.AMP``; "off" computes as plain PyTorch does.
            compile: let ``torch.compile`` make code for the network, which takes a minute.
            **options: the others of ``Predictor``.

        Raises:
            ValueError: there is no checkpoint, it is damaged, or there is no such device.
        """
        checkpoint = load_checkpoint(find_checkpoint(Path(path), "best.pt"))
        machine = Machine.choose(device, amp, compile=compile)
        return cls(checkpoint, machine, plain=amp == "off", **options)

    def __call__(self, image: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The label map of one image.

        Args:
            image: (H, W, 3) uint8 RGB, an array or a Pillow image of mode RGB.

        Returns:
            (H, W) uint8 label indices.

        Raises:
            ValueError: the image is of another shape or type.
        """
        ((_, prediction),) = self.stream([(None, tensor_of(image))])
        label_map: npt.NDArray[np.uint8] = prediction.label_map.numpy()
        return label_map

    def stream(
        self, images: Iterable[tuple[Key, Tensor]]
    ) -> Generator[tuple[Key, Prediction], None, None]:
        """Predict many images; results come in their order, with the keys they came with.

        Images are taken a few ahead, so that all threads have work; those that are taken and not
        yet given back have ``MOST_PIXELS`` at most, or are a single one.

        Args:
            images: pairs of anything and an image (3, H, W) uint8 RGB, on the CPU.
        """
        if self.tile:
            yield from self._by_tiles(images)
        elif isinstance(self.network, ThreadedNetwork):
            yield from self._one_by_one(images, self.network)
        else:
            yield from self._in_batches(images, self.network)

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        self.network.pool.shutdown(cancel_futures=True)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _by_tiles(self, images: Iterable[tuple[Key, Tensor]]) -> Iterator[tuple[Key, Prediction]]:
        """Tiles keep all threads busy; a second image fills the gaps that the first one leaves."""
        at_once = 2 if isinstance(self.network, ThreadedNetwork) else 1
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from (
                (key, found) for (key, _), found in _ahead(pool, self._tiled, images, at_once)
            )

    @torch.inference_mode()
    def _tiled(self, image: Tensor) -> Prediction:
        assert self.tile
        width = max(1, round(self.tile * self.view.width / self.view.height))
        tiling = Tiling.of(image, (self.tile, width), self.tile_overlap)
        return predict_tiled(image, tiling, self.network, len(self.label_names), self.decide)

    def _one_by_one(
        self, images: Iterable[tuple[Key, Tensor]], network: ThreadedNetwork
    ) -> Iterator[tuple[Key, Prediction]]:
        def whole(image: Tensor) -> Prediction:
            return self._decide(network.logits(image), image)

        for (key, _), prediction in _ahead(network.pool, whole, images, 2 * network.threads):
            yield key, prediction

    def _in_batches(
        self, images: Iterable[tuple[Key, Tensor]], network: BatchedNetwork
    ) -> Iterator[tuple[Key, Prediction]]:
        resized = _ahead(network.pool, network.view, images, 2 * network.batch_size)
        while batch := list(islice(resized, network.batch_size)):
            logits = network.logits([small for _, small in batch])
            for ((key, image), _), scores in zip(batch, logits, strict=True):
                yield key, self._decide(scores, image)

    @torch.inference_mode()
    def _decide(self, logits: Tensor, image: Tensor) -> Prediction:
        size = (image.shape[1], image.shape[2])
        try:
            return self.decide(planes_of(logits, size), len(logits))
        except RuntimeError as error:
            if logits.device.type == "cpu" or not is_out_of_memory(error):
                raise
        free_memory()  # an image of very many pixels; the processor has more room
        return self.decide(planes_of(logits.cpu(), size), len(logits))


def tensor_of(image: npt.ArrayLike) -> Tensor:
    """(H, W, 3) uint8 RGB -> a tensor (3, H, W).

    Raises:
        ValueError: the image is of another shape or type.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise ValueError(
            f"got an image of shape {array.shape} and type {array.dtype}, expected (height, width, "
            '3) and uint8; of a Pillow image, give image.convert("RGB")'
        )
    if not array.flags.writeable:
        array = array.copy()  # PyTorch warns of memory that it may not write to
    return torch.from_numpy(array).permute(2, 0, 1)


def _ahead(
    pool: Executor,
    function: Callable[[Tensor], Result],
    images: Iterable[tuple[Key, Tensor]],
    most: int,
) -> Iterator[tuple[tuple[Key, Tensor], Result]]:
    """Images and what a pool makes of them, in order; ``most`` are under way at a time."""
    return in_order(
        lambda pair: pool.submit(function, pair[1]),
        images,
        most=most,
        weight=lambda pair: pair[1].shape[1] * pair[1].shape[2],
        most_weight=MOST_PIXELS,
    )
