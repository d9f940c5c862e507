"""A checkpoint in use: images in, label maps out. What inference.py works with, and other programs.

predictor = Predictor.load("runs/NAME")
label_map = predictor(Image.open("photo.jpg").convert("RGB"))
print({predictor.label_names[label] for label in np.unique(label_map)})
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from functools import partial
from itertools import tee
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.checkpoint import Checkpoint, load_checkpoint, model_from_checkpoint
from models.execution import Evaluator, Key, Network
from models.prediction import Prediction, View, decide, enlarge, planes_of
from models.tiles import Tiling
from runtime.devices import Machine
from runtime.run_folder import find_checkpoint


class Predictor(AbstractContextManager["Predictor"]):
    """The network of a checkpoint, and how it is to be used.

    Args:
        checkpoint: what ``load_checkpoint`` gives.
        machine: where to compute, and how; compiling takes a minute, now.
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
        view = View.of_checkpoint(checkpoint, image_size, whole=tile is None)
        self.machine = machine
        self.tile = tile and (tile, max(1, round(tile * view.width / view.height)))
        self.tile_overlap = tile_overlap
        self.decide = partial(decide, min_confidence=min_confidence, probabilities=probabilities)
        forward = Evaluator(model_from_checkpoint(checkpoint), machine, plain=plain, flip=flip)
        at_once = None if machine.device.type == "cpu" else batch_size
        self.network = Network(forward, view, torch.get_num_threads(), at_once)
        if machine.compile:  # now, not in all threads at once
            self.network.pool.submit(self._compile).result()

    def _compile(self) -> None:
        from torch._inductor import config

        # Weights as constants are laid out for the processor once, not at every call. The setting
        # is the thread's own, and so is the number of threads that code is made for.
        with config.patch(freezing=self.machine.device.type == "cpu"):
            image = torch.zeros(3, 1, 1, dtype=torch.uint8)
            self.network.forward(self.network.view(image)[None])

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
            device, amp, compile: see ``Machine.choose``; "off" computes as plain PyTorch does.
            **options: the others of ``Predictor``.

        Raises:
            ValueError: there is no checkpoint, it is damaged, or there is no such device.
        """
        checkpoint = load_checkpoint(find_checkpoint(Path(path), "best.pt"))
        machine = Machine.choose(device, amp, compile=compile)
        return cls(checkpoint, machine, plain=amp == "off", **options)

    def __call__(self, image: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The label map of one image: (H, W) uint8 label indices.

        Args:
            image: (H, W, 3) uint8 RGB, an array or a Pillow image of mode RGB.

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

        Images are taken a few ahead, so that all threads have work, but ``execution.MOST_PIXELS``
        at most.

        Args:
            images: pairs of anything and an image (3, H, W) uint8 RGB, on the CPU.
        """
        if not self.tile:
            yield from self.network.stream(images, self._whole)
            return
        images, ahead = tee(images)
        # A thread that takes no further ones, for which those of the network would have to wait.
        one = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        crops = ((None, crop) for _, image in ahead for crop in self._tiling(image).crops(image))
        with closing(self.network.stream(crops, _scores)) as tiles, one as blender:
            scores = (scores for _, scores in tiles)
            for key, image in images:
                predict = self._tiling(image).predict
                yield key, blender.submit(predict, scores, self.decide).result()

    def _tiling(self, image: Tensor) -> Tiling:
        assert self.tile
        return Tiling.of(image, self.tile, self.tile_overlap)

    @torch.inference_mode()
    def _whole(self, logits: Tensor, image: Tensor) -> Prediction:
        return self.decide(planes_of(logits, image.shape[1:]), len(logits))

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        self.network.pool.shutdown(cancel_futures=True)

    def __exit__(self, *_: object) -> None:
        self.close()


@torch.inference_mode()
def _scores(logits: Tensor, crop: Tensor) -> Tensor:
    return enlarge(logits, crop.shape[1:])


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
