"""The flags of train.py as a run keeps them, and what of them may change when it goes on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.labels import LabelSet
from datasets.training.data import FOLDERS
from runtime.command_line import CommandParser
from runtime.run_folder import RunFolder, find_checkpoint

# What may be given anew when resuming; batches only in other parts of the same steps.
CHANGEABLE = {
    *(*FOLDERS, "epochs", "early_stop", "batch_size", "accumulate"),
    *("workers", "cache", "device", "compile", "checkpoint_steps", "keep"),
}
NOT_SETTINGS = {"data_dir", "run_dir", "resume", "init_from", "eval_only", "check_only"}
BARE = 0  # --crop without a number


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that make the run what it is, as args.json has them."""
    return {name: _plain(value) for name, value in vars(args).items() if name not in NOT_SETTINGS}


def _plain(value: Any) -> Any:
    if isinstance(value, LabelSet):
        return value.to_dict()
    return str(value) if isinstance(value, Path) else value


def merged(*flags: Mapping[str, Any]) -> argparse.Namespace:
    """Flags by name; those of a later mapping hold."""
    args = argparse.Namespace(**{name: each[name] for each in flags for name in each})
    if args.crop == BARE:
        size = args.image_size
        args.crop = size if isinstance(size, int) else min(size)
    return args


def as_in_run(
    parser: CommandParser,
    args: argparse.Namespace,
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
) -> argparse.Namespace:
    """The flags, where those that are not given are as in the run that is resumed or scored."""
    flag, name = ("resume", "last.pt") if args.resume else ("eval_only", "best.pt")
    try:
        checkpoint = find_checkpoint(getattr(args, flag), name)
        folder = RunFolder.of_checkpoint(checkpoint)
        # Any checkpoint can be scored, also one that was moved out of its run.
        settings = folder.settings() if args.resume or (folder.path / "args.json").is_file() else {}
    except ValueError as error:
        parser.error(f"--{flag} {getattr(args, flag)}: {error}")
    if args.resume and args.run_dir and args.run_dir.resolve() != folder.path.resolve():
        parser.error(f"--resume goes on in {folder.path}, not in --run_dir {args.run_dir}")
    before = {**defaults, **settings}
    if args.data_dir:  # its folders, not those of the run
        settings.update(dict.fromkeys(FOLDERS))
    if args.eval_only:
        settings.pop("label_set", None)  # the checkpoint knows what its values mean
        if args.data_dir or args.val_images or args.val_masks:
            settings.pop("val_fraction", None)  # other images: all of them
    place = {"run_dir": folder.path, "init_from": None} if args.resume else {}
    now = merged(defaults, settings, given, place, {flag: checkpoint})
    for name in sorted(given.keys() - CHANGEABLE - NOT_SETTINGS) if args.resume else ():
        value = getattr(now, name)
        moved = name == "encoder_weights" and value and before[name]  # the run has them by now
        if _plain(value) != before[name] and not moved:
            parser.error(
                f"--{name} {value}: the run in {folder.path} has {before[name]}, which cannot "
                "change on the way; start a new run"
            )
    if isinstance(now.label_set, dict):  # as the run has kept it
        now.label_set = LabelSet.from_dict(now.label_set)
    return now
