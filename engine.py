"""What train.py does with a network and images: epochs, their scores, their record; scoring alone.

Within an epoch nothing waits for the device, so that a GPU always has work queued.
"""

from __future__ import annotations

import logging
import math
import shlex
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from datasets.label_mapping import mapping_to_labels_of
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.mask_checks import check_pairs
from datasets.pairs import Pairs
from datasets.training.augmentation import seed_of
from datasets.training.batches import Loaders, Pair, loader_by_size
from datasets.training.data import TrainingData
from datasets.training.dataset import CocoSegmentationDataset
from datasets.visualize import Picture, overlay, panel, with_legend, with_titles
from losses.simple import SimpleLoss
from metrics.evaluation import Evaluation, evaluate
from metrics.record import Record, epoch_lines, metrics_row
from metrics.scores import column_of, merit, score_table
from models.checkpoint import (
    Checkpoint,
    check_continuable,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)
from models.learner import Learner, learning_rate
from models.prediction import View, label_map_from_logits
from runtime.bar import Bar
from runtime.devices import Machine, any_rank, copy_buffers_of_main, sum_over_ranks
from runtime.interrupts import StopRequest
from runtime.run_folder import RunFolder, check_last, has_best

logger = logging.getLogger("train")

SHOWN_SIZE = 256  # pixels that the longer side of an image in a picture has, or half of it
SAVE_EVERY = 10  # epochs between the checkpoints that are kept, and between pictures
TIMED_STEPS, TIMED_SECONDS = 10, 30.0  # after either of which is told how long all will take
STOPPED_ELSEWHERE = 143  # exit code, as of SIGTERM, where another process had the signal


class Training:
    """A run: epochs, their scores, checkpoints. Every process of the job must do the same calls.

    Where it is, with the seed, says all about order, augmentation and dropout: whole epochs done,
    steps done in the epoch after those, and the sum of the losses of these.

    Args:
        learner: what learns.
        loaders: of its images.
        data: what they show.
        folder: of the run.
        about: what checkpoints say of the network: ``model``, ``image_size``, and ``args``, the
            flags.
    """

    def __init__(
        self,
        learner: Learner,
        loaders: Loaders,
        data: TrainingData,
        folder: RunFolder,
        about: Mapping[str, Any],
    ) -> None:
        self.learner = learner
        self.loaders = loaders
        self.data = data
        self.label_set = data.label_set
        self.names, self.background = data.label_set.names, data.label_set.has_background
        self.folder = folder
        self.args = about["args"]
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
        self.column = column_of(self.args["select"], self.names, background=self.background)
        self.epoch, self.step, self.loss_sum = 0, 0, 0.0
        self.last_loss: Tensor | None = None  # looked at a step later: now it may not be computed
        self.waited = 0.0  # seconds, for batches of this epoch
        self.best: dict[str, Any] = {"best_epoch": 0, "best_score": -math.inf, "best_counts": {}}
        self.record: Record | None = None  # in processes that write files, while they train
        told = "stopping after this step; Ctrl-C again to stop now" if self.world.is_main else ""
        self.request = StopRequest(told)
        self.durations: deque[float] = deque(maxlen=100)  # of the last steps, seconds
        self.scoring = 0.0  # seconds, in the last epoch
        self.time_told = False

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, as if the run had never stopped.

        Raises:
            ValueError: that cannot be, for the reason that it says.
        """
        checkpoint = load_checkpoint(path)
        check_continuable(path, checkpoint, self.about)
        check_last(path, checkpoint["epoch"])
        self.learner.load_state_dict(checkpoint)
        self.epoch, self.step = checkpoint["epoch"], checkpoint["step"]
        self.loss_sum = checkpoint["loss_sum"]
        if not checkpoint["best_epoch"] or has_best(path):
            self.best = {key: value for key, value in checkpoint.items() if key in self.best}
        before, now = checkpoint["args"]["epochs"], self.args["epochs"]
        if now < self.epoch + (self.step > 0):
            raise ValueError(
                f"--epochs {now}: {self.epoch} are done, and {self.step} steps of the next; give "
                "more, or leave it out"
            )
        if before != now:
            text = "epochs  %d instead of %d: the learning rate now follows a cosine over %d"
            logger.info(text, now, before, now)

    def fit(self) -> int:
        """Train to the end, or until a signal asks to stop; gives the exit code.

        Raises:
            ArithmeticError: a loss, or a weight, was not finite; no checkpoint holds these weights.
            OSError: a file could not be written; the one before is still there.
        """
        if self._is_done:
            logger.info("this run is finished; --epochs N, more than before, would train on")
        code = 0 if self._is_done else self._train()
        if self.world.is_main:
            self._tell_end(code)
        return code

    def _train(self) -> int:
        if self.world.is_main:
            self.record = Record(
                self.folder, self.names, self.args, self.epoch, background=self.background
            )
        steps, kept = self.loaders.batches.steps, self.args["epochs"] // SAVE_EVERY
        limits = {"checkpoint_steps": (steps, "steps"), "keep": (kept, "epoch_*.pt")}
        for flag, (most, what) in limits.items():
            if (self.args[flag] or 0) >= max(1, most):
                text = "--%s %d: of no effect, as there are %d %s"
                logger.warning(text, flag, self.args[flag], most, what)
        logger.info("run     %s", self.folder.path)
        name = self.about["model"]["name"]
        weights = sum(weight.numel() for weight in self.learner.model.parameters()) / 1e6
        size = 4 * weights * (4 if self.args["ema"] else 3)  # AdamW has two numbers for each weight
        logger.info("model   %s, %.2f million weights, %.1f MB a checkpoint", name, weights, size)
        text = "step    %d images (--batch_size %d x --accumulate %d x %d processes), %d an epoch"
        parts = (self.about["batch_size"], self.args["accumulate"], self.world.size)
        logger.info(text, self.about["images_in_step"], *parts, steps)
        try:
            with self.request:
                if self.epoch == self.step == 0:
                    self._save("last.pt")  # so that whatever ends the run, --resume works
                while not self._is_done:
                    if not self._do_epoch():
                        self._save("last.pt")
                        if self.record:  # the rest is there from the epoch before
                            self.record.add_picture(self.epoch + 1, self._draw())
                        return self.request.exit_code or STOPPED_ELSEWHERE
        finally:
            if self.record:
                self.record.close()
        return 0

    def _tell_end(self, code: int) -> None:
        """How good the best epoch was, and what to look at next; or how to go on."""
        folder = shlex.quote(str(self.folder.path))
        if code:
            text = "stopped in epoch %d after step %d; go on: python3 train.py --resume %s"
            logger.info(text, self.epoch + 1, self.step, folder)
            return
        if self._ended_early:
            logger.info("no better epoch for %d epochs: ended early", self.args["early_stop"])
        if best := self.best["best_epoch"]:
            logger.info("\nthe best epoch by %s is %d:", self.args["select"], best)
            counts = self.best["best_counts"]["val"]  # the result goes to the standard output
            print(score_table(counts, self.names, background=self.background), flush=True)
            logger.info("")
        for path in sorted(self.folder.predictions.glob("*.png"))[-1:]:
            logger.info("look at %s: image, truth, prediction", path)
        logger.info("curves: %s, or tensorboard --logdir %s", self.folder.curves, folder)
        command = f"python3 inference.py --images_dir FOLDER --checkpoint {folder}"
        logger.info("next: %s --output_dir predictions", command)

    def _rate(self, done: float) -> float:
        """The learning rate after ``done`` epochs, fractions counting."""
        lr, epochs, warmup = (self.args[name] for name in ("lr", "epochs", "warmup_epochs"))
        return learning_rate(lr, done, epochs, warmup, self.loaders.batches.steps)

    @property
    def _is_done(self) -> bool:
        return self.epoch >= self.args["epochs"] or self._ended_early

    @property
    def _ended_early(self) -> bool:
        """Whether the epochs since the best one are as many as ``early_stop``."""
        patience = self.args["early_stop"]
        return patience is not None and self.epoch - self.best["best_epoch"] >= patience

    def _do_epoch(self) -> bool:
        """Train, score and record an epoch; False if a signal ended it before."""
        lr, speed = self._rate(self.epoch), self._steps()
        self._check_weights()
        if speed is None:
            return False
        copy_buffers_of_main(self.learner.evaluated, self.world)
        start = time.perf_counter()
        train, val = map(self._score, (self.loaders.train_sample, self.loaders.val))
        self.scoring = time.perf_counter() - start
        if self._stops_alone():
            return False
        loss = self.loss_sum / self.step
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        measured = self.epoch, lr, speed, loss, train, val
        row = metrics_row(*measured, self.names, background=self.background)
        score = merit(row, self.column)
        if is_best := not self.best["best_epoch"] or not score <= self.best["best_score"]:
            self.best = {"best_epoch": self.epoch, "best_score": score}
            self.best["best_counts"] = {"train": train.counts, "val": val.counts}
        for line in epoch_lines(row, self.args["epochs"], self.args["select"] if is_best else ""):
            logger.info("%s", line)
        if self.record:
            self._write(self.record, row, is_best)
        kept = [f"epoch_{self.epoch:04d}.pt"] * (self.epoch % SAVE_EVERY == 0)
        self._save(*["best.pt"] * is_best, *kept, "last.pt")  # a run goes on from it: the last
        if self.args["keep"] is not None and self.record:
            self.folder.prune_checkpoints(self.args["keep"])
        return True

    def _steps(self) -> tuple[float, float] | None:
        """Do the steps of the epoch, from the one where it is.

        Returns:
            Images per second of all processes, and the share of the time, 0..1, in which this one
            waited for its next batch; None if a signal ended the epoch before its last step.
        """
        self.learner.train(frozen_encoder=self.epoch < (self.args["freeze_encoder"] or 0))
        batches, world = self.loaders.batches, self.world
        batches.start(self.epoch + 1, self.step)
        per_step = batches.images_in_step
        first_step, start, self.waited = self.step, time.perf_counter(), 0.0
        waiting = self._timed(self.loaders.train)
        before, name = start, f"epoch {self.epoch + 1}"
        total, done = batches.steps * per_step, self.step * per_step
        with Bar(name, total, " images", done=done, shown=world.is_main) as bar:
            while self.step < batches.steps:
                torch.manual_seed(seed_of(batches.seed, batches.epoch, self.step, world.rank))
                lr = self._rate(self.epoch + self.step / batches.steps)
                loss = self.learner.step(waiting, batches.batches_in_step, lr)
                self._settle()
                self.last_loss = loss
                self.step += 1
                bar.advance(per_step, self._outlook)
                if self._pause():
                    return None
                self.durations.append(time.perf_counter() - before)
                before += self.durations[-1]
                self._tell_time(bar)
        self._share_loss()
        seconds = max(time.perf_counter() - start, 1e-9)
        images = (self.step - first_step) * per_step
        return images / seconds, min(1.0, self.waited / seconds)

    def _time_of(self, epochs: int, steps: int = 0) -> str:
        """What so many epochs and steps will take, by the last steps but the first."""
        known = list(self.durations)[1:]
        steps += epochs * self.loaders.batches.steps
        seconds = steps * sum(known) / max(1, len(known)) + epochs * self.scoring
        return str(Bar.format_interval(seconds))

    def _outlook(self) -> str:
        epochs, steps = self.args["epochs"] - self.epoch - 1, self.loaders.batches.steps - self.step
        loss = f"loss {self.loss_sum / (self.step - 1):.3f}, " if self.step > 1 else ""
        epoch, run = self._time_of(0, steps), self._time_of(epochs, steps)
        return f"{loss}{epoch} left of the epoch, {run} of the run"

    def _tell_time(self, bar: Bar) -> None:
        """How long all will take, once: after some steps, the first of which warms up."""
        number, seconds = len(self.durations), sum(self.durations)
        if self.time_told or (number <= TIMED_STEPS and (number < 2 or seconds < TIMED_SECONDS)):
            return
        self.time_told, epochs, device = True, self.args["epochs"], self.machine.device
        rest = "" if self.scoring else ", and the time to score"
        if device.type == "cuda":
            rest += f"; a step takes {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB"
        bar.clear()
        text = "time    about %s an epoch, %s for %d epochs%s"
        logger.info(text, self._time_of(1), self._time_of(epochs), epochs, rest)

    def _timed(self, loader: Iterable[Pair]) -> Iterator[tuple[Tensor, Tensor]]:
        """Its batches; the seconds that one waits for them are counted."""
        batches, start = iter(loader), time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()

    def _settle(self) -> None:
        """Look at the loss of the last step."""
        if self.last_loss is not None:
            loss, self.last_loss = float(self.last_loss), None
            self._require(math.isfinite(loss), f"the loss is {loss}")
            self.loss_sum += loss

    def _share_loss(self) -> None:
        """Let every process have the mean of their sums of losses; all must call it."""
        self._settle()
        total = sum_over_ranks(torch.tensor(self.loss_sum, dtype=torch.float64), self.world)
        self.loss_sum = float(total) / self.world.size

    def _require(self, finite: bool, what: str) -> None:
        """End the run, before it saves these weights, unless all is finite."""
        if finite:
            return
        pairs, batches = self.data.train.pairs, self.loaders.batches
        indices = batches.images_of_step(self.epoch + 1, self.step)
        raise ArithmeticError(
            f"epoch {self.epoch + 1}, step {self.step}: {what}; its images: "
            f"{', '.join(str(pairs[i][0]) for i in indices)}; "
            f"{self.folder.checkpoints / 'last.pt'} is from before. Try a lower --lr, or "
            "--clip_grad 1"
        )

    def _score(self, loader: DataLoader[list[Pair]]) -> Evaluation:
        model, losses = self.learner.evaluated, {"loss": self.learner.loss_function}
        batches = _batches_of(loader, shown=self.world.is_main)
        batches = takewhile(lambda _: not self._stops_alone(), batches)
        return _scores(model, batches, losses, self.machine, len(self.label_set))

    def _stops_alone(self) -> bool:
        """Whether to stop now, between two batches: several processes wait for one another."""
        return self.request.signal is not None and self.world.size == 1

    def _pause(self) -> bool:
        """Between two steps: whether to stop, in agreement with all processes."""
        if any_rank(self.request.signal is not None, self.world):
            return True
        every = self.args["checkpoint_steps"]
        if every and self.step % every == 0:
            self._check_weights()
            self._save("last.pt")
        return False

    def _check_weights(self) -> None:
        """A finite loss may still have spoilt the weights, which must then replace no file."""
        self._settle()
        self._require(self.learner.is_finite(), "the weights are not finite after it")

    def _write(self, record: Record, row: Mapping[str, float], is_best: bool) -> None:
        for remark in record.add_epoch(row):
            logger.info("    %s", remark)
        best = self.best["best_epoch"], self.args["select"]
        if is_best:
            record.report_best(*best, self.best["best_counts"])
        record.draw_curves(*best)
        if self.epoch % SAVE_EVERY == 0 or self._is_done:
            record.add_picture(self.epoch, self._draw())

    @torch.inference_mode()
    def _draw(self) -> Picture:
        """A row for each image shown, small ones enlarged: itself, truth, prediction."""
        model, pictures = self.learner.evaluated.eval(), list[Picture]()
        seen: list[npt.NDArray[np.uint8]] = []
        palette = self.label_set.palette()
        for image, truth in self.loaders.shown:
            times = max(1, SHOWN_SIZE // max(image.shape))
            size = (times * image.shape[1], times * image.shape[2])
            logits = model(image[None].to(self.machine.device)).float()
            prediction = label_map_from_logits(logits[0].contiguous(), size).cpu()
            truth = interpolate(truth[None, None], size, mode="nearest-exact")[0, 0]
            picture = image.permute(1, 2, 0).numpy().repeat(times, 0).repeat(times, 1)  # H, W, 3
            pictures.append(picture)
            for labels in (truth.numpy(), prediction.numpy()):
                pictures.append(overlay(picture, labels, palette, background=self.background))
                seen.append(labels.ravel())
        titled = with_titles(panel(pictures, columns=3), ("image", "truth", "prediction"))
        return with_legend(titled, np.concatenate(seen), self.label_set)

    def _save(self, *names: str) -> None:
        self._share_loss()
        if not self.record:
            return
        state = {
            **self.about,
            **self.learner.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            **self.best,
        }
        for name in names:
            save_checkpoint(self.folder.checkpoints / name, state)


def score(
    checkpoint: Checkpoint,
    found: Pairs,
    machine: Machine,
    batch_size: int,
    workers: int,
    described: LabelSet | None = None,
) -> tuple[Evaluation, LabelSet, int]:
    """Score the network of a checkpoint, at its size, on the images and masks that were found.

    ``described`` is what the masks mean, if a person says it; every process scores a part.

    Returns:
        The scores of all processes, with the loss "cross_entropy"; what the labels mean; and how
        many images there are.

    Raises:
        ValueError: the masks mean other labels, or none can be used.
    """
    mapping = mapping_to_labels_of(found.masks_dir, checkpoint, described)
    pairs = check_pairs(found, mapping, workers).pairs
    view = View.of_checkpoint(checkpoint)
    dataset = CocoSegmentationDataset(pairs, mapping, view, view.shorter_side is not None)
    own = range(machine.world.rank, len(dataset), machine.world.size)
    loader = loader_by_size(dataset, own, batch_size=batch_size, workers=workers)
    model = model_from_checkpoint(checkpoint).to(machine.device)
    batches, labels = _batches_of(loader, shown=machine.world.is_main), mapping.label_set
    return _scores(model, batches, {}, machine, len(labels)), labels, len(pairs)


def _batches_of(loader: DataLoader[list[Pair]], *, shown: bool) -> Iterator[Pair]:
    with Bar("scoring", len(loader), " batches", shown=shown) as bar:
        for batches in loader:
            yield from batches
            bar.advance(1)


def _scores(
    model: nn.Module,
    batches: Iterable[Pair],
    losses: Mapping[str, nn.Module],
    machine: Machine,
    num_labels: int,
) -> Evaluation:
    """Of all processes; cross-entropy too, which tells runs apart that differ in their losses."""
    losses = {**losses, "cross_entropy": SimpleLoss(IGNORE_INDEX)}
    labels = num_labels, IGNORE_INDEX, label_map_from_logits
    return evaluate(model, batches, losses, machine, *labels).reduce(machine.world)
