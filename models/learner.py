"""A network while it learns: the step, the optimizer, averaged weights."""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from runtime.devices import Machine


def learning_rate(
    lr: float, done: float, epochs: int, warmup_epochs: float, steps_per_epoch: int
) -> float:
    """The rate of the step after ``done`` epochs: a linear start, then a cosine that ends at 0.

    Linear warm-up to ``lr``: Goyal et al. 2017. Cosine annealing: Loshchilov, Hutter 2017.
    """
    if done < warmup_epochs:
        return lr * min(1.0, (done + 1 / steps_per_epoch) / warmup_epochs)
    share = (done - warmup_epochs) / max(epochs - warmup_epochs, 1 / steps_per_epoch)
    return lr * (1 + math.cos(math.pi * share)) / 2


class Learner:
    """A network and all that a step changes.

    Args:
        model: the network; it is moved to the machine's device.
        loss_function: (logits, int64 label map) -> scalar.
        machine: where to compute, and how; its processes average their gradients.
        weight_decay: of weights with two or more dimensions; norms and biases have none.
        encoder_lr: learning rate of the encoder's weights, as a factor of that of the others.
        clip_grad: the longest gradient, by its norm over all weights; 0 does not clip.
        ema: decay of the averaged weights, by step; 0 averages nothing. The first steps decay
            faster, (1 + n) / (10 + n) after n of them: else the average would for epochs be a
            mixture with random weights (as in TensorFlow's ExponentialMovingAverage).
        sync_bn: take batch statistics over all processes; for GPUs.

    Attributes:
        model: the network that is trained.
        evaluated: the network that is scored, saved and used: the average, where there is one.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_function: nn.Module,
        machine: Machine,
        *,
        weight_decay: float = 0.0,
        encoder_lr: float = 1.0,
        clip_grad: float = 0.0,
        ema: float = 0.0,
        sync_bn: bool = False,
    ) -> None:
        device = machine.device
        if sync_bn and machine.world.size > 1:
            if device.type != "cuda":
                raise ValueError("--sync_bn: PyTorch has it for GPUs only; leave it out")
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        # The CPU's and the GPU's fast convolutions want the channels last in memory.
        model = model.to(device).to(memory_format=torch.channels_last)
        self.model = model
        self.loss_function = loss_function.to(device)
        self.machine = machine
        self.clip_grad = clip_grad
        self.optimizer = _adamw(model, weight_decay, encoder_lr, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=machine.amp == torch.float16)
        self.average: AveragedModel | None = None
        if ema:
            self.average = AveragedModel(model, multi_avg_fn=self._move_average, use_buffers=True)
        self._ema = ema
        self._wrap()

    def _wrap(self) -> None:
        """Make ``network`` of the model: several processes exchange what gradients there are."""
        self.network: nn.Module = self.model
        self._no_sync: Callable[[], AbstractContextManager[None]] = nullcontext
        device = self.machine.device
        if self.machine.world.size > 1:
            gc.collect()  # the one before, so that it no longer waits for gradients
            devices = [device] if device.type == "cuda" else None
            # Buffers are copied once an epoch instead, before they are first looked at.
            known = inspect.signature(DistributedDataParallel).parameters  # torch 2.14 renamed it
            name = "forward_sync_buffers"
            every_step: dict[str, Any] = {name if name in known else "broadcast_buffers": False}
            network = DistributedDataParallel(self.model, devices, **every_step)
            self.network, self._no_sync = network, network.no_sync
        if self.machine.compile:
            self.network = torch.compile(self.network)  # type: ignore[assignment]

    def train(self, *, frozen_encoder: bool = False) -> None:
        """Make ready to learn; a frozen encoder keeps its weights and batch statistics."""
        self.model.train()
        encoder = getattr(self.model, "encoder", None)
        if encoder is None:
            return
        encoder.train(not frozen_encoder)
        if frozen_encoder == any(weight.requires_grad for weight in encoder.parameters()):
            encoder.requires_grad_(not frozen_encoder)
            self._wrap()

    @property
    def evaluated(self) -> nn.Module:
        return self.average.module if self.average else self.model

    def is_finite(self) -> bool:
        """Whether all weights are, averaged ones and batch statistics included."""
        networks = {self.model, self.evaluated}
        tensors = [tensor for network in networks for tensor in network.state_dict().values()]
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def step(self, batches: Iterator[tuple[Tensor, Tensor]], count: int, lr: float) -> Tensor:
        """Change the weights by the mean gradient of the images of the next ``count`` batches.

        Args:
            batches: images (N, 3, H, W) and label maps (N, H, W), uint8, on the CPU.

        Returns:
            Their mean loss, scalar on the device, detached.
        """
        device = self.machine.device
        total = torch.zeros((), device=device)
        parts = [next(batches) for _ in range(count)]
        num_images = sum(len(images) for images, _ in parts)
        for number, (images, label_map) in enumerate(parts):
            share = len(images) / num_images
            # uint8: a quarter of the bytes; the network normalises.
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            label_map = label_map.to(device, non_blocking=True).long()
            # Processes exchange gradients once a step, with the last batch.
            with nullcontext() if number == count - 1 else self._no_sync():
                with self.machine.autocast():
                    logits = self.network(images)
                loss = self.loss_function(logits, label_map) * share
                self.scaler.scale(loss).backward()
            total += loss.detach()
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_factor", 1.0)  # older checkpoints have none
        if self.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update_parameters(self.model)
        return total

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on as if nothing had happened."""
        state: dict[str, Any] = {
            "model_state": self.evaluated.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.average:
            state["training_state"] = self.model.state_dict()
            state["averaged_steps"] = self.average.n_averaged
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.model.load_state_dict(state["training_state" if self.average else "model_state"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.module.load_state_dict(state["model_state"])
            self.average.n_averaged.copy_(state["averaged_steps"])

    def _move_average(self, averaged: Any, current: Any, count: Tensor | int) -> None:
        assert self.average
        done = int(self.average.n_averaged)  # is on the CPU: nothing waits for a GPU
        decay = min(self._ema, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(averaged, current, count)  # type: ignore[no-untyped-call]


def _adamw(
    model: nn.Module, weight_decay: float, encoder_lr: float, device: torch.device
) -> torch.optim.AdamW:
    """AdamW (Loshchilov, Hutter 2019), which without weight decay is Adam."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        factor = encoder_lr if name.startswith("encoder.") else 1.0
        groups.setdefault((factor, weight.ndim <= 1), []).append(weight)
    rows = [
        {"params": weights, "weight_decay": 0.0 if bare else weight_decay, "lr_factor": factor}
        for (factor, bare), weights in sorted(groups.items(), key=lambda group: group[0])
    ]
    return torch.optim.AdamW(rows, lr=0.0, fused=device.type in ("cpu", "cuda"))
