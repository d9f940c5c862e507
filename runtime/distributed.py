"""The processes of one training job, as torchrun starts them; without it, one process.

One process a device. The ranks do the same on other images; rank 0 alone writes files.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """Which process this is.

    Attributes:
        rank: 0 to ``size`` - 1 over all machines.
        size: number of processes.
        local_rank: 0 to ``local_size`` - 1 on this machine; the number of its GPU.
        local_size: processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


ALONE = World()


def world_of_environment(environment: Mapping[str, str]) -> World:
    """The world that torchrun describes in its variables; one process without them."""
    if "WORLD_SIZE" not in environment:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        return World(*(int(environment[name]) for name in names))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"the environment names a WORLD_SIZE, but not all of {', '.join(names)} as numbers "
            f"({error}); start several processes with torchrun, or unset WORLD_SIZE"
        ) from error


@contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes of ``world``; nothing to do for one.

    Gloo carries what is on the CPU, NCCL what is on a GPU.
    """
    if world.size == 1:
        yield
        return
    # Functions in it have the group as a default argument where it is imported after the group is
    # made, as DistributedDataParallel does: then the group and its threads never end.
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        # A thread of the group that drops its last tensor while the interpreter ends aborts the
        # process. The group joins its threads when its last owner goes, networks before it.
        gc.collect()
        dist.destroy_process_group()


def any_rank(flag: bool, world: World) -> bool:
    """Whether the flag is set in any process; all must call it. Runs on the CPU: no GPU waits."""
    if world.size == 1:
        return flag
    shared = torch.tensor(int(flag))
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return bool(shared)


def sum_over_ranks(tensor: Tensor, world: World) -> Tensor:
    """The sum of the tensors of all processes, on the CPU; all must call it."""
    total = tensor.detach().cpu()
    if world.size > 1:
        dist.all_reduce(total)
    return total


def copy_buffers_of_main(module: nn.Module, world: World) -> None:
    """Give every process the buffers of rank 0, so that all score the same network."""
    if world.size > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


@contextmanager
def main_first(world: World) -> Iterator[None]:
    """Rank 0 goes first, the others after it: what it leaves in caches, they find there."""
    if world.size > 1 and not world.is_main:
        dist.barrier()
    yield
    if world.size > 1 and world.is_main:
        dist.barrier()
