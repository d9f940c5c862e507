"""What train.py does with a network and images: epochs, their scores, their record; scoring alone.

Within an epoch nothing waits for the device, so that a GPU always has work queued.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from datasets.label_mapping import mapping_to_labels_of
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.mask_checks import check_pairs
from datasets.pairs import Pairs
from datasets.training.augmentation import seed_of
from datasets.training.batches import Loaders, Pair, loader_by_size
from datasets.training.data import TrainingData
from datasets.training.dataset import CocoSegmentationDataset, Resize
from datasets.visualize import Picture, overlay, panel, with_legend, with_titles
from losses.simple import SimpleLoss
from metrics.evaluation import Evaluation, evaluate
from metrics.record import Record, epoch_lines, metrics_row
from metrics.scores import column_of, merit, score_table
from models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)
from models.learner import Learner, learning_rate
from models.prediction import View, label_map_from_logits
from models.progress import Best, NotFinite, Progress, check_continuable
from runtime.devices import Machine, any_rank, copy_buffers_of_main
from runtime.interrupts import StopRequest
from runtime.run_folder import RunFolder, check_last, has_best

logger = logging.getLogger("train")


SHOWN_SIZE = 256  # pixels that the longer side of an image in a picture has, or half of it
SAVE_EVERY = 10  # epochs between the checkpoints that are kept, and between pictures
STOPPED_ELSEWHERE = 143  # exit code, as of SIGTERM, where another process had the signal
CROSS_ENTROPY = SimpleLoss(IGNORE_INDEX)  # tells runs apart that differ in their losses


class _Waiting(Iterator[tuple[Tensor, Tensor]]):
    """The batches of a loader, and the seconds that were spent waiting for them."""

    def __init__(self, loader: Iterable[Pair]) -> None:
        self.seconds = 0.0
        self._batches = iter(loader)

    def __next__(self) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        batch: tuple[Tensor, Tensor] = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


@dataclass(frozen=True)
class Plan:
    """How long a run trains, at which rate, and what it keeps.

    Attributes:
        epochs: in all.
        select: the metric that says which epoch is the best, see ``column_of``.
        lr: the highest learning rate.
        warmup_epochs: in which it rises; see ``learning_rate``.
        early_stop: epochs without a better one that end the run; None: none do.
        checkpoint_steps: steps between checkpoints within an epoch; None: there are none.
        keep: how many checkpoints of epochs are kept; None: all.
    """

    epochs: int
    select: str
    lr: float
    warmup_epochs: float = 0.0
    early_stop: int | None = None
    checkpoint_steps: int | None = None
    keep: int | None = None


class Training:
    """A run: epochs, their scores, checkpoints. Every process of the job must do the same calls.

    Args:
        learner: what learns.
        loaders: of its images.
        data: what they show.
        folder: of the run.
        plan: of its epochs.
        about: what checkpoints say of the network: ``model``, ``image_size``, and ``args``, the
            flags.
    """

    def __init__(
        self,
        learner: Learner,
        loaders: Loaders,
        data: TrainingData,
        folder: RunFolder,
        plan: Plan,
        about: Mapping[str, Any],
    ) -> None:
        self.learner = learner
        self.loaders = loaders
        self.data = data
        self.label_set = data.label_set
        self.folder = folder
        self.plan = plan
        self.machine = learner.machine
        self.world = self.machine.world
        self.about = {
            **about,
            "label_set": data.label_set.to_dict(),
            "mask_values": data.mapping.mask_values,
            "images": data.digest(),
            "images_in_step": loaders.batches.images_in_step,
            "batch_size": loaders.batches.batch_size,
            "world_size": self.world.size,
            "versions": {"torch": str(torch.__version__)},
        }
        names, background = self.label_set.names, self.label_set.has_background
        self.column = column_of(plan.select, names, background=background)
        self.progress, self.best = Progress(), Best()
        self.record: Record | None = None  # in processes that write files, while they train
        self.request = StopRequest()

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, as if the run had never stopped.

        Raises:
            ValueError: that cannot be, for the reason that it says.
        """
        checkpoint = load_checkpoint(path)
        check_continuable(path, checkpoint, self.about)
        check_last(path, checkpoint["epoch"])
        self.learner.load_state_dict(checkpoint)
        self.progress = Progress(checkpoint["epoch"], checkpoint["step"], checkpoint["loss_sum"])
        if not checkpoint["best_epoch"] or has_best(path):
            best = (checkpoint["best_epoch"], checkpoint["best_score"], checkpoint["best_counts"])
            self.best = Best(*best)
        done, before = self.progress.epoch, checkpoint["args"]["epochs"]
        if self.plan.epochs < done + (self.progress.step > 0):
            raise ValueError(
                f"--epochs {self.plan.epochs}: {done} are done, and {self.progress.step} steps of "
                "the next; give more, or leave it out"
            )
        if before != self.plan.epochs:
            logger.info(
                "epochs  %d instead of %d: from here on, the learning rate follows a cosine over "
                "%d",
                *(self.plan.epochs, before, self.plan.epochs),
            )

    def fit(self) -> int:
        """Train to the end, or until a signal asks to stop; gives the exit code.

        Raises:
            ArithmeticError: a loss, or a weight, was not finite; no checkpoint holds these weights.
            OSError: a file could not be written; the one before is still there.
        """
        plan = self.plan
        if self._is_done:
            logger.info("this run is finished; --epochs N, more than before, would train on")
            if self.world.is_main:
                self._tell_end(0)
            return 0
        if self.world.is_main:
            names, settings = self.label_set.names, self.about["args"]
            done, background = self.progress.epoch, self.label_set.has_background
            self.record = Record(self.folder, names, settings, done, background=background)
        steps, kept = self.loaders.batches.steps, plan.epochs // SAVE_EVERY
        if plan.checkpoint_steps and plan.checkpoint_steps >= steps:
            text = "--checkpoint_steps %d: of no effect, as an epoch has %d steps"
            logger.warning(text, plan.checkpoint_steps, steps)
        if plan.keep and plan.keep >= kept:
            text = "--keep %d: of no effect, as %d epochs leave %d checkpoints"
            logger.warning(text, plan.keep, plan.epochs, kept)
        logger.info("run     %s", self.folder.path)
        size = self.learner.num_weights / 1e6
        logger.info("model   %s, %.2f million weights", self.about["model"]["name"], size)
        try:
            with self.request:
                code = self._epochs()
        except NotFinite as error:
            raise ArithmeticError(self._explain(error)) from error
        finally:
            if self.record:
                self.record.close()
        if self.world.is_main:
            self._tell_end(code)
        return code

    def _epochs(self) -> int:
        if self.progress.epoch == self.progress.step == 0:
            self._save("last.pt")  # so that whatever ends the run, --resume works
        while not self._is_done:
            if not self._epoch():
                self._save("last.pt")
                if self.record:  # the rest is there from the epoch before
                    self.record.add_picture(self.progress.epoch + 1, self._draw())
                return self.request.exit_code or STOPPED_ELSEWHERE
        return 0

    def _explain(self, error: NotFinite) -> str:
        pairs = self.data.train.pairs
        batch = self.loaders.batches.images_of_step(error.epoch, error.step)
        return (
            f"{error}; its images: {', '.join(str(pairs[i][0]) for i in batch)}; "
            f"{self.folder.checkpoints / 'last.pt'} is from before. Try a lower --lr, or "
            "--clip_grad 1"
        )

    def _tell_end(self, code: int) -> None:
        """How good the best epoch was, and what to look at next; or how to go on."""
        folder = shlex.quote(str(self.folder.path))
        if code:
            logger.info(
                "stopped in epoch %d after step %d; go on: python3 train.py --resume %s",
                *(self.progress.epoch + 1, self.progress.step, folder),
            )
            return
        if self.ended_early:
            logger.info("no better epoch for %d epochs: ended early", self.plan.early_stop)
        if self.best.epoch:
            logger.info("\nthe best epoch by %s is %d:", self.plan.select, self.best.epoch)
            names, background = self.label_set.names, self.label_set.has_background
            # The result goes to the standard output.
            print(score_table(self.best.counts["val"], names, background=background), flush=True)
            logger.info("")
        for path in sorted(self.folder.predictions.glob("*.png"))[-1:]:
            logger.info("look at %s: image, truth, prediction", path)
        logger.info("curves: %s, or tensorboard --logdir %s", self.folder.curves, folder)
        logger.info(
            "next: python3 inference.py --images_dir FOLDER --checkpoint %s --output_dir "
            "predictions",
            folder,
        )

    def _rate(self, done: float) -> float:
        """The learning rate after ``done`` epochs, fractions counting."""
        plan, steps = self.plan, self.loaders.batches.steps
        return learning_rate(plan.lr, done, plan.epochs, plan.warmup_epochs, steps)

    @property
    def _is_done(self) -> bool:
        return self.progress.epoch >= self.plan.epochs or self.ended_early

    @property
    def ended_early(self) -> bool:
        """Whether the epochs since the best one are as many as ``early_stop``."""
        waited = self.progress.epoch - self.best.epoch
        return self.plan.early_stop is not None and waited >= self.plan.early_stop

    def _epoch(self) -> bool:
        """Train, score and record an epoch; False if a signal ended it before."""
        epoch, lr = self.progress.epoch + 1, self._rate(self.progress.epoch)
        speed = self._steps()
        self._check_weights()
        if speed is None:
            return False
        copy_buffers_of_main(self.learner.evaluated, self.world)
        try:
            train, val = map(self._score, (self.loaders.train_sample, self.loaders.val))
        except _Stopped:
            return False
        train_loss = self.progress.loss_sum / self.progress.step
        row = metrics_row(
            epoch,
            lr,
            speed,
            train_loss,
            train,
            val,
            self.label_set.names,
            background=self.label_set.has_background,
        )
        score = merit(row, self.column)
        if is_best := not self.best.epoch or not score <= self.best.score:
            self.best = Best(epoch, score, {"train": train.counts, "val": val.counts})
        for line in epoch_lines(row, self.plan.epochs, self.plan.select if is_best else ""):
            logger.info("%s", line)
        self.progress.next_epoch()
        if self.record:
            self._write(self.record, row, is_best)
        self._save(*self._checkpoint_names(is_best))
        if self.plan.keep is not None and self.record:
            self.folder.prune_checkpoints(self.plan.keep)
        return True

    def _steps(self) -> tuple[float, float] | None:
        """Do the steps of the epoch that ``progress`` is in, from the step where it is.

        Returns:
            Images per second of all processes, and the share of the time, 0..1, in which this one
            waited for its next batch; None if a signal ended the epoch before its last step.

        Raises:
            NotFinite: a loss was not; told one step later, so that no step waits for it.
        """
        self.learner.model.train()
        progress, batches, world = self.progress, self.loaders.batches, self.world
        batches.start(progress.epoch + 1, progress.step)
        per_step = batches.images_in_step
        first_step, start = progress.step, time.perf_counter()
        waiting = _Waiting(self.loaders.train)
        with tqdm(
            desc=f"epoch {progress.epoch + 1}",
            initial=first_step * per_step,
            total=batches.steps * per_step,
            unit=" images",
            leave=False,
            disable=None if world.is_main else True,
        ) as bar:
            while progress.step < batches.steps:
                torch.manual_seed(seed_of(batches.seed, batches.epoch, progress.step, world.rank))
                lr = self._rate(progress.epoch + progress.step / batches.steps)
                progress.note(self.learner.step(waiting, batches.batches_in_step, lr))
                if bar.update(per_step) and progress.step > 1:  # the bar has just been drawn
                    bar.set_postfix(loss=f"{progress.loss_sum / (progress.step - 1):.3f}")
                if self._pause():
                    return None
        progress.share_loss(world)
        seconds = max(time.perf_counter() - start, 1e-9)
        images = (progress.step - first_step) * per_step
        return images / seconds, min(1.0, waiting.seconds / seconds)

    def _score(self, loader: Iterable[list[Pair]]) -> Evaluation:
        losses = {"loss": self.learner.loss_function, "cross_entropy": CROSS_ENTROPY}
        part = evaluate(
            self.learner.evaluated,
            self._until_stopped(loader),
            losses,
            self.machine,
            len(self.label_set),
            IGNORE_INDEX,
            label_map_from_logits,
        )
        return part.reduce(self.world)

    def _until_stopped(self, loader: Iterable[list[Pair]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Its batches. One process alone may leave in between; several wait for one another."""
        for batch in chain.from_iterable(loader):
            if self.request.signal is not None and self.world.size == 1:
                raise _Stopped
            yield batch

    def _pause(self) -> bool:
        """Between two steps: whether to stop, in agreement with all processes."""
        if any_rank(self.request.signal is not None, self.world):
            return True
        every = self.plan.checkpoint_steps
        if every and self.progress.step % every == 0:
            self._check_weights()
            self._save("last.pt")
        return False

    def _check_weights(self) -> None:
        """A finite loss may still have spoilt the weights, which must then replace no file.

        Raises:
            NotFinite: a weight is not.
        """
        self.progress.settle()
        if not self.learner.is_finite():
            what = "the weights are not finite after it"
            raise NotFinite(self.progress.epoch + 1, self.progress.step, what)

    def _write(self, record: Record, row: Mapping[str, float], is_best: bool) -> None:
        for remark in record.add_epoch(row):
            logger.info("    %s", remark)
        if is_best:
            record.report_best(self.best.epoch, self.plan.select, self.best.counts)
        record.draw_curves(self.best.epoch)
        if self.progress.epoch % SAVE_EVERY == 0 or self._is_done:
            record.add_picture(self.progress.epoch, self._draw())

    @torch.inference_mode()
    def _draw(self) -> Picture:
        """A row for each image shown, small ones enlarged: itself, truth, prediction."""
        model, pictures = self.learner.evaluated.eval(), list[Picture]()
        seen: list[npt.NDArray[np.uint8]] = []
        palette, background = self.label_set.palette(), self.label_set.has_background
        for image, truth in self.loaders.shown:
            times = max(1, SHOWN_SIZE // max(image.shape))
            size = (times * image.shape[1], times * image.shape[2])
            logits = model(image[None].to(self.machine.device)).float()
            prediction = label_map_from_logits(logits[0].contiguous(), size).cpu()
            truth = interpolate(truth[None, None], size, mode="nearest-exact")[0, 0]
            picture = image.permute(1, 2, 0).numpy().repeat(times, 0).repeat(times, 1)  # H, W, 3
            pictures.append(picture)
            for labels in (truth.numpy(), prediction.numpy()):
                pictures.append(overlay(picture, labels, palette, background=background))
                seen.append(labels.ravel())
        titled = with_titles(panel(pictures, columns=3), ("image", "truth", "prediction"))
        return with_legend(titled, np.concatenate(seen), self.label_set)

    def _checkpoint_names(self, is_best: bool) -> list[str]:
        """What to write, last.pt last: a run goes on from it, with all the rest in place."""
        kept = self.folder.checkpoint_of(self.progress.epoch).name
        is_kept = self.progress.epoch % SAVE_EVERY == 0
        return [*(["best.pt"] if is_best else []), *([kept] if is_kept else []), "last.pt"]

    def _save(self, *names: str) -> None:
        self.progress.share_loss(self.world)
        if not self.record:
            return
        state = {
            **self.about,
            **self.learner.state_dict(),
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "loss_sum": self.progress.loss_sum,
            "best_epoch": self.best.epoch,
            "best_score": self.best.score,
            "best_counts": dict(self.best.counts),
        }
        for name in names:
            save_checkpoint(self.folder.checkpoints / name, state)


class _Stopped(Exception):
    """A signal came while scores were computed."""


def score(
    checkpoint: Checkpoint,
    found: Pairs,
    machine: Machine,
    batch_size: int,
    workers: int,
    described: LabelSet | None = None,
) -> tuple[Evaluation, LabelSet, int]:
    """Score the network of a checkpoint, at its size.

    Args:
        checkpoint: what ``load_checkpoint`` gives.
        found: images and masks; those that cannot be used are said and left out.
        machine: where to compute; every process scores a part.
        batch_size: images at a time.
        workers: processes that read them.
        described: what the masks mean, if a person says it.

    Returns:
        The scores of all processes, with the loss "cross_entropy"; what the labels mean; and how
        many images there are.

    Raises:
        ValueError: the masks mean other labels, or none can be used.
    """
    mapping = mapping_to_labels_of(found.masks_dir, checkpoint, described)
    pairs = check_pairs(found, mapping, workers).pairs
    view = View.of_checkpoint(checkpoint)
    resize = Resize(view, keep_labels=view.shorter_side is not None)
    dataset = CocoSegmentationDataset(pairs, mapping, resize)
    own = range(machine.world.rank, len(dataset), machine.world.size)
    loader = loader_by_size(dataset, own, batch_size=batch_size, workers=workers)
    model = model_from_checkpoint(checkpoint).to(machine.device)
    losses = {"cross_entropy": CROSS_ENTROPY}
    labels = len(mapping.label_set)
    batches = chain.from_iterable(loader)
    part = evaluate(model, batches, losses, machine, labels, IGNORE_INDEX, label_map_from_logits)
    return part.reduce(machine.world), mapping.label_set, len(pairs)
