"""What train.py does with a network and images: epochs, their scores, their record.

Within an epoch nothing waits for the device, so that a GPU always has work queued.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.training.batches import Loader, Loaders, seed_of
from datasets.visualize import Picture, overlay, panel
from losses.simple import SimpleLoss
from metrics.evaluation import Evaluation, evaluate
from metrics.history import epoch_lines, metrics_row
from metrics.record import Record
from models.checkpoint import save_checkpoint
from models.learner import Learner
from models.prediction import predict
from runtime.devices import Machine
from runtime.distributed import World, any_rank, copy_buffers_of_main, sum_over_ranks
from runtime.interrupts import StopRequest
from runtime.run_folder import RunFolder

logger = logging.getLogger("train")


SAVE_EVERY = 10  # epochs between the checkpoints that are kept, and between pictures
STOPPED_ELSEWHERE = 143  # exit code, as of SIGTERM, where another process had the signal
CROSS_ENTROPY = SimpleLoss(IGNORE_INDEX)  # tells runs apart that differ in their losses


class NotFinite(ArithmeticError):
    """The loss of a step, or a weight after it, is infinite or not a number."""

    def __init__(self, epoch: int, step: int, what: str) -> None:
        super().__init__(f"epoch {epoch}, step {step}: {what}")
        self.epoch, self.step = epoch, step


class Progress:
    """Where a run is. With the seed, that says all about order, augmentation and dropout.

    Attributes:
        epoch: whole epochs done.
        step: steps done in the epoch after those.
        loss_sum: of the losses of these steps but the last, float64.
    """

    def __init__(self, epoch: int = 0, step: int = 0, loss_sum: float = 0.0) -> None:
        self.epoch, self.step, self.loss_sum = epoch, step, loss_sum
        self._last: Tensor | None = None

    def note(self, loss: Tensor) -> None:
        """Count a step. Its loss is looked at with the next one, as now it may not be computed."""
        self.settle()
        self._last = loss
        self.step += 1

    def settle(self) -> None:
        """Look at the last loss.

        Raises:
            NotFinite: it is not finite; do not save these weights.
        """
        if self._last is None:
            return
        loss, self._last = float(self._last), None
        if not math.isfinite(loss):
            raise NotFinite(self.epoch + 1, self.step, f"the loss is {loss}")
        self.loss_sum += loss

    def share_loss(self, world: World) -> None:
        """Let every process have the mean of their sums of losses; all must call it."""
        self.settle()
        total = sum_over_ranks(torch.tensor(self.loss_sum, dtype=torch.float64), world)
        self.loss_sum = float(total) / world.size

    def next_epoch(self) -> None:
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0


@dataclass(frozen=True)
class Speed:
    """Where the time of the steps of an epoch went.

    Attributes:
        images_per_second: of all processes together.
        data_wait: share of the time, 0..1, in which this process waited for its next batch.
    """

    images_per_second: float
    data_wait: float


def train_epoch(
    learner: Learner,
    loaders: Loaders,
    progress: Progress,
    rate: Callable[[float], float],
    stop: Callable[[], bool],
    world: World,
) -> Speed | None:
    """Do the steps of the epoch that ``progress`` is in, from the step where it is.

    Args:
        learner: what learns.
        loaders: of its images.
        progress: where the run is; moves with each step.
        rate: epochs done, fractions counting -> learning rate.
        stop: called after each step; whether to leave the epoch here.
        world: the processes of this job.

    Returns:
        How fast it was; None if ``stop`` ended the epoch before its last step.

    Raises:
        NotFinite: a loss was not; told one step later, so that no step waits for it.
    """
    learner.model.train()
    batches = loaders.batches
    batches.start(progress.epoch + 1, progress.step)
    per_step = batches.images_in_step
    first_step, start = progress.step, time.perf_counter()
    waiting = _Waiting(loaders.train)
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
            lr = rate(progress.epoch + progress.step / batches.steps)
            progress.note(learner.step(waiting, batches.batches_in_step, lr))
            if bar.update(per_step) and progress.step > 1:  # the bar has just been drawn
                bar.set_postfix(loss=f"{progress.loss_sum / (progress.step - 1):.3f}")
            if stop():
                return None
    progress.share_loss(world)
    seconds = max(time.perf_counter() - start, 1e-9)
    images = (progress.step - first_step) * per_step
    return Speed(images / seconds, min(1.0, waiting.seconds / seconds))


class _Waiting(Iterator[tuple[Tensor, Tensor]]):
    """The batches of a loader, and the seconds that were spent waiting for them."""

    def __init__(self, loader: Loader) -> None:
        self.seconds = 0.0
        self._batches = iter(loader)

    def __next__(self) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        batch: tuple[Tensor, Tensor] = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


@dataclass(frozen=True)
class Best:
    """The epoch of the highest validation mean IoU, with the counts behind its scores."""

    epoch: int = 0
    score: float = -math.inf
    counts: Mapping[str, Tensor] = field(default_factory=dict)  # of "train" and "val"


class Training:
    """A run: epochs, their scores, checkpoints.

    Args:
        learner: what learns.
        loaders: of its images.
        progress, best: how far the run is.
        label_set: what the label maps mean.
        folder: of the run.
        record: of its numbers; None in processes that write no files.
        about: what checkpoints say beside.
        epochs: in all.
        rate: epochs done, fractions counting -> learning rate.
        early_stop: epochs without a better one that end the run; None: none do.
        checkpoint_steps: steps between checkpoints within an epoch; None: there are none.
        keep: how many checkpoints of epochs are kept; None: all.
        machine: what it runs on. All of its processes must do the same calls.
    """

    def __init__(
        self,
        learner: Learner,
        loaders: Loaders,
        progress: Progress,
        best: Best,
        label_set: LabelSet,
        folder: RunFolder,
        record: Record | None,
        about: Mapping[str, Any],
        *,
        epochs: int,
        rate: Callable[[float], float],
        early_stop: int | None = None,
        checkpoint_steps: int | None = None,
        keep: int | None = None,
        machine: Machine,
    ) -> None:
        self.learner = learner
        self.loaders = loaders
        self.progress = progress
        self.best = best
        self.label_set = label_set
        self.folder = folder
        self.record = record
        self.about = about
        self.epochs = epochs
        self.rate = rate
        self.early_stop = early_stop
        self.checkpoint_steps = checkpoint_steps
        self.keep = keep
        self.machine = machine
        self.world = machine.world
        self.request = StopRequest()

    def fit(self) -> int:
        """Train to the end, or until a signal asks to stop; gives the exit code.

        Raises:
            NotFinite: a loss was; no checkpoint holds these weights.
            OSError: a file could not be written; the one before is still there.
        """
        with self.request:
            if self.progress.epoch == self.progress.step == 0:
                self._save("last.pt")  # so that whatever ends the run, --resume works
            while self.progress.epoch < self.epochs and not self.ended_early:
                if not self._epoch():
                    self._save("last.pt")
                    return self.request.exit_code or STOPPED_ELSEWHERE
        return 0

    @property
    def ended_early(self) -> bool:
        """Whether the epochs since the best one are as many as ``early_stop``."""
        waited = self.progress.epoch - self.best.epoch
        return self.early_stop is not None and waited >= self.early_stop

    def _epoch(self) -> bool:
        """Train, score and record an epoch; False if a signal ended it before."""
        epoch, lr = self.progress.epoch + 1, self.rate(self.progress.epoch)
        speed = train_epoch(
            self.learner, self.loaders, self.progress, self.rate, self._pause, self.world
        )
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
            (speed.images_per_second, speed.data_wait),
            train_loss,
            train,
            val,
            self.label_set.names,
        )
        is_best = not row["val/mean_iou"] <= self.best.score  # the first one always is
        if is_best:
            counts = {"train": train.counts, "val": val.counts}
            self.best = Best(epoch, row["val/mean_iou"], counts)
        for line in epoch_lines(row, self.epochs, is_best):
            logger.info("%s", line)
        self.progress.next_epoch()
        if self.record:
            self._write(self.record, row, is_best)
        self._save(*self._checkpoint_names(is_best))
        if self.keep is not None and self.record:
            self.folder.prune_checkpoints(self.keep)
        return True

    def _score(self, loader: Loader) -> Evaluation:
        part = evaluate(
            self.learner.evaluated,
            self._until_stopped(loader),
            {"loss": self.learner.loss_function, "cross_entropy": CROSS_ENTROPY},
            self.machine,
            len(self.label_set),
            IGNORE_INDEX,
        )
        return part.reduce(self.world)

    def _until_stopped(self, loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
        """Its batches. One process alone may leave in between; several wait for one another."""
        for batch in loader:
            if self.request.signal is not None and self.world.size == 1:
                raise _Stopped
            yield batch

    def _pause(self) -> bool:
        """Between two steps: whether to stop, in agreement with all processes."""
        if any_rank(self.request.signal is not None, self.world):
            return True
        if self.checkpoint_steps and self.progress.step % self.checkpoint_steps == 0:
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
        if remark := record.add_epoch(row):
            logger.info("%s", remark)
        if is_best:
            record.report_best(self.best.epoch, self.best.counts)
        if self.progress.epoch % SAVE_EVERY == 0 or self.progress.epoch == self.epochs:
            palette = self.label_set.palette()
            model, device = self.learner.evaluated, self.machine.device
            picture = draw_predictions(model, self.loaders.shown, palette, device)
            record.add_picture(self.progress.epoch, picture)

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
