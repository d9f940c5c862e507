"""The network at work: precision, folding, mirrored images, and crops spread over a machine.

On a processor every crop is computed by itself on one thread, and as many at a time as there are
threads. That is faster than many threads on one batch, since no thread waits for another, and the
bits of a result depend on nothing but the crop: not on its neighbours, nor on the number of cores.
On a GPU crops go in batches.
"""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.prediction import View
from runtime.devices import Machine

logger = logging.getLogger(__name__)

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


class ThreadedNetwork:
    """Crop by crop, each on one thread of a pool: for processors.

    Args:
        forward: the network.
        view: makes of a crop what the network sees.
        threads: how many.

    Attributes:
        pool: the threads; work given to it must not wait for other work in it.
    """

    def __init__(self, forward: Forward, view: View, threads: int) -> None:
        self.forward = forward
        self.view = view
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def logits(self, crop: Tensor) -> Tensor:
        """One crop (3, h, w) uint8 -> its logits (C, H, W) float32, computed by this thread."""
        return self.forward(self.view(crop)[None])[0]

    def __call__(self, crops: Sequence[Tensor]) -> list[Future[Tensor]]:
        """Crops (3, h, w) uint8 -> the logits (C, H, W) float32 of each, being computed."""
        return [self.pool.submit(self.logits, crop) for crop in crops]


class BatchedNetwork:
    """Crops in batches: for GPUs. A batch that does not fit in memory is halved, and tried again.

    Args:
        forward: the network.
        view: makes of a crop what the network sees.
        batch_size: crops at a time, at most.
        threads: that resize crops.

    Attributes:
        pool: these threads.
    """

    def __init__(self, forward: Forward, view: View, batch_size: int, threads: int) -> None:
        self.forward = forward
        self.view = view
        self.batch_size = batch_size
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def logits(self, resized: Sequence[Tensor]) -> list[Tensor]:
        """The logits (C, H, W) float32 of each of the images (3, H, W), on the device.

        Raises:
            RuntimeError: not even one fits in the memory.
        """
        by_size: dict[torch.Size, list[int]] = {}
        for index, image in enumerate(resized):
            by_size.setdefault(image.shape, []).append(index)
        done: dict[int, Tensor] = {}
        for indices in by_size.values():
            done |= zip(indices, self._of_one_size([resized[i] for i in indices]), strict=True)
        return [done[index] for index in range(len(resized))]

    def _of_one_size(self, resized: Sequence[Tensor]) -> list[Tensor]:
        done: list[Tensor] = []
        while len(done) < len(resized):
            batch = resized[len(done) : len(done) + self.batch_size]
            try:
                done += self.forward(torch.stack(tuple(batch)))
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise RuntimeError(
                        "the GPU has too little free memory for a single image; free some, choose "
                        "a smaller --image_size, or use --device cpu"
                    ) from error
            # Only here, where the exception no longer holds on to the tensors of the batch.
            self.batch_size = len(batch) // 2
            logger.warning("%d images do not fit in GPU memory; now %d at a time",
                           len(batch), self.batch_size)  # fmt: skip
            free_memory()
        return done

    def __call__(self, crops: Sequence[Tensor]) -> list[Future[Tensor]]:
        """Crops (3, h, w) uint8 -> the logits (C, H, W) float32 of each, already computed."""
        futures: list[Future[Tensor]] = []
        for logits in self.logits(list(self.pool.map(self.view, crops))):
            futures.append(Future())
            futures[-1].set_result(logits)
        return futures


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had too little memory; not every backend has a type for it."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def free_memory() -> None:
    """Give back what no tensor uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a network, for evaluation only, whose convolutions do what batch norm did.

    In evaluation batch norm is a scale and a shift of each channel, which a convolution can do by
    itself (Jacob et al. 2018, section 3.2). Logits are the same but for rounding; save the
    original, not the copy.

    Args:
        model: a batch norm that directly follows a convolution in the order in which their module
            was given its parts is taken to be applied right after it; all networks here, and the
            ResNets of torchvision, are written so. It is left as it is.

    Returns:
        The copy, in evaluation mode.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return folded
