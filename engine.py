"""The steps that train.py puts together: batches, an epoch, its numbers, its pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from datasets.visualize import Picture, overlay, panel
from metrics import scores
from metrics.evaluation import Evaluation
from models.prediction import predict

SegmentationSet = Dataset[tuple[Tensor, Tensor]]
Loader = DataLoader[tuple[Tensor, Tensor]]


def make_loaders(
    train_set: SegmentationSet,
    val_set: SegmentationSet,
    sampler: Sampler[int],
    batch_size: int,
    workers: int,
) -> tuple[Loader, Loader]:
    """Batches of images (N, 3, S, S) and label maps (N, S, S), uint8: to train, to validate."""
    make = partial(
        DataLoader,
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # of worker seeds: they would draw on dropout's chance
    )
    # Leave out a last batch that is not full: a few images make poor batch statistics.
    full = len(sampler) >= batch_size  # type: ignore[arg-type]
    return make(train_set, sampler=sampler, drop_last=full), make(val_set)


def seeds_of(seed: int, epoch: int) -> tuple[int, int]:
    """The seeds of an epoch, of its order and its dropout: it is the same after a resume."""
    order, dropout = np.random.SeedSequence((seed, epoch)).generate_state(2)
    return int(order), int(dropout)


def cosine(epoch: int, epochs: int) -> float:
    """Cosine annealing from 1 to 0 (Loshchilov, Hutter 2017); ``epoch`` counts from 0."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def train_epoch(
    model: nn.Module,
    loader: Loader,
    loss_function: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    title: str,
) -> tuple[float, float]:
    """A step for each batch; gives the mean loss over the images, and images per second."""
    model.train()
    loss_sum: float | Tensor = 0.0  # stays on the device: reading it would wait for each step
    num_images = 0
    start = time.perf_counter()
    total = len(loader) * (loader.batch_size or 1)
    with tqdm(desc=title, total=total, unit=" images", leave=False, disable=None) as bar:
        for images, label_map in loader:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            label_map = label_map.to(device, non_blocking=True).long()
            loss = loss_function(model(images), label_map)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            loss_sum += loss.detach() * len(images)
            num_images += len(images)
            if bar.update(len(images)):  # the bar has just been drawn
                bar.set_postfix(loss=f"{float(loss_sum) / num_images:.3f}", refresh=False)
    mean_loss = float(loss_sum) / num_images
    return mean_loss, num_images / (time.perf_counter() - start)


def metrics_row(
    epoch: int, lr: float, speed: float, train_loss: float, val: Evaluation, names: Sequence[str]
) -> dict[str, float]:
    """The numbers of an epoch, by their column in metrics.csv and their name in TensorBoard."""
    return {
        "epoch": epoch,
        "lr": lr,
        "images_per_second": speed,
        "loss/train": train_loss,
        "loss/val": val.loss,
        "val/mean_iou": scores.mean_iou(val.counts),
        "val/mean_iou_without_background": scores.mean_iou(val.counts, with_background=False),
        "val/mean_dice": scores.mean_dice(val.counts),
        "val/pixel_accuracy": scores.pixel_accuracy(val.counts),
        **{
            f"val_iou/{name}": value
            for name, value in zip(names, scores.iou(val.counts).tolist(), strict=True)
        },
    }


def draw_predictions(
    model: nn.Module,
    samples: Iterable[tuple[Tensor, Tensor]],
    palette: Sequence[int],
    device: torch.device,
) -> Picture:
    """A row for each sample: image, truth, prediction."""
    images, truths = zip(*samples, strict=True)
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    predictions = predict(model.eval(), torch.stack(images), sizes, device)
    pictures: list[Picture] = []
    for image, truth, prediction in zip(images, truths, predictions, strict=True):
        picture = image.permute(1, 2, 0).numpy()  # H, W, 3
        labelled = (overlay(picture, labels.numpy(), palette) for labels in (truth, prediction))
        pictures += [picture, *labelled]
    return panel(pictures, columns=3)
