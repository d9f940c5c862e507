"""The network at work: precision, folding, mirrored images, and crops spread over a machine.

On a processor every crop is computed by itself on one thread, and as many at a time as there are
threads. That is faster than many threads on one batch, since no thread waits for another, and the
bits of a result depend on nothing but the crop: not on its neighbours, nor on the number of cores.
On a GPU crops go in batches.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.prediction import View
from runtime.devices import Machine
from runtime.workers import in_order

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
Result = TypeVar("Result")

MOST_PIXELS = 100_000_000  # of the images worked on at a time, or one image: about 1 GB

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

# Resized crops (N, 3, H, W) uint8, on the CPU -> logits (N, C, H, W) float32, on the device.
Forward = Callable[[Tensor], Tensor]


class Evaluator:
    """Computes the logits of resized images; callable, by several threads at once.

    Args:
        model: the network, on the CPU; it is left as it is, unless ``plain``.
        machine: where to compute, and how; compiling takes a minute at the first call.
        plain: change nothing about the network, so that in float32 the logits are those of
            ``model(image)``, bit for bit. Otherwise batch norm is folded into the convolutions,
            and memory is laid out channel by channel: faster, and equal but for rounding.
        flip: average the logits with those of the mirrored image.
    """

    def __init__(
        self, model: nn.Module, machine: Machine, *, plain: bool = False, flip: bool = False
    ) -> None:
        self.machine = machine
        self.flip = flip
        self.layout = torch.contiguous_format if plain else torch.channels_last
        if not plain:
            model = fold_batch_norm(model).to(memory_format=self.layout)
        if machine.amp:  # once, or autocast would do it at every call
            for module in model.modules():
                if isinstance(module, WEIGHTED):
                    module.to(machine.amp)
        self.model: Forward = model.eval().to(machine.device)
        if machine.compile:
            self.model = torch.compile(self.model)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Resized crops (N, 3, H, W) uint8 -> logits (N, C, H, W) float32 on the device."""
        # A copy, so that all are tensors of one kind, for which torch.compile makes code but once.
        images = images.to(self.machine.device, memory_format=self.layout, copy=True)
        logits = self._logits(images)
        if self.flip:
            logits = (logits + self._logits(images.flip(-1)).flip(-1)) / 2
        return logits.contiguous()

    def _logits(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=self.layout)
        with self.machine.autocast():
            return self.model(images).float()


class Network:
    """A network at work on many images: taken a few ahead, given back in their order.

    Args:
        forward: computes logits.
        view: makes of an image what ``forward`` takes.
        threads: how many there are.
        batch_size: images at a time, halved for good when they do not fit in memory; None: each by
            itself, on one thread.
    """

    def __init__(
        self, forward: Forward, view: View, threads: int, batch_size: int | None = None
    ) -> None:
        self.forward, self.view, self.batch_size = forward, view, batch_size
        self.most = 2 * (batch_size or threads)  # under way at a time, so that all have work
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def stream(
        self, images: Iterable[tuple[Key, Tensor]], finish: Callable[[Tensor, Tensor], Result]
    ) -> Generator[tuple[Key, Result], None, None]:
        """What is made of each image, with the key that it came with.

        Those that are taken and not yet given back have ``MOST_PIXELS`` at most, or are one.

        Args:
            images: pairs of anything and an image (3, H, W) uint8 RGB, on the CPU.
            finish: of the logits (C, H, W) and the image; several threads may call it.
        """

        def alone(image: Tensor) -> Result:
            return finish(self.forward(self.view(image)[None])[0], image)

        if self.batch_size is None:
            for (key, _), result in self._ahead(alone, images):
                yield key, result
            return
        resized = self._ahead(self.view, images)
        while batch := list(islice(resized, self.batch_size)):
            logits = self._logits([small for _, small in batch])
            for ((key, image), _), scores in zip(batch, logits, strict=True):
                yield key, finish(scores, image)

    def _ahead(
        self, function: Callable[[Tensor], Result], images: Iterable[tuple[Key, Tensor]]
    ) -> Generator[tuple[tuple[Key, Tensor], Result], None, None]:
        return in_order(
            lambda pair: self.pool.submit(function, pair[1]),
            images,
            most=self.most,
            weight=lambda pair: pair[1][0].numel(),
            most_weight=MOST_PIXELS,
        )

    def _logits(self, resized: Sequence[Tensor]) -> list[Tensor]:
        """Of images (3, h, w) of any sizes, in batches of one size."""
        done: dict[int, Tensor] = {}
        while left := [number for number in range(len(resized)) if number not in done]:
            same = [n for n in left if resized[n].shape == resized[left[0]].shape]
            batch = same[: self.batch_size]
            logits = self._batch(torch.stack([resized[n] for n in batch]))
            if logits is not None:
                done.update(zip(batch, logits, strict=True))
        return [done[number] for number in range(len(resized))]

    def _batch(self, images: Tensor) -> Tensor | None:
        """Their logits; None if memory is too small for so many, and half as many are the limit."""
        try:
            return self.forward(images)
        except RuntimeError as error:
            if "out of memory" not in str(error):  # not every backend has a type for it
                raise
            if len(images) == 1:
                raise RuntimeError(
                    "the GPU has too little free memory for a single image; free some, choose a "
                    "smaller --image_size, or use --device cpu"
                ) from error
        # Only here, where the exception no longer holds on to the tensors of the batch.
        self.batch_size = len(images) // 2
        text = "%d images do not fit in GPU memory; now %d at a time"
        logger.warning(text, len(images), self.batch_size)
        torch.cuda.empty_cache()
        return None


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a network, for evaluation only, whose convolutions do what batch norm did.

    In evaluation batch norm is a scale and a shift of each channel, which a convolution can do by
    itself (Jacob et al. 2018, section 3.2). Logits are the same but for rounding. A batch norm that
    directly follows a convolution in the order in which their module was given its parts is taken
    to be applied right after it; all networks here, and torchvision's ResNets, are written so.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return folded
