"""What a network runs on: device, precision, compiled or not, and with which other processes.

One process a device, as torchrun starts them; without it, one process. The ranks do the same on
other images; rank 0 alone writes files.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runtime.workers import available_cores

CPU = torch.device("cpu")


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


@dataclass(frozen=True)
class Machine:
    """What a network runs on, and how.

    Attributes:
        device: where it computes.
        amp: the type of ``torch.autocast``; None computes in float32.
        compile: whether ``torch.compile`` makes code for it.
        world: the processes that share the work, and which of them this is.
    """

    device: torch.device = CPU
    amp: torch.dtype | None = None
    compile: bool = False
    world: World = ALONE

    @classmethod
    def choose(
        cls, device: str, amp: str = "auto", *, compile: bool = False, world: World = ALONE
    ) -> Machine:
        """The machine that flags name: one of ``command_line.DEVICES``, one of its ``AMP``.

        Raises:
            ValueError: there is no such device, or it has no such precision.
        """
        own, cores = pick_device(device, world), available_cores()
        if torch.get_num_threads() > cores:  # PyTorch knows nothing of quotas
            torch.set_num_threads(cores)
        return cls(own, pick_amp(amp, own), compile, world)

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which operations compute in ``amp``."""
        return torch.autocast(self.device.type, self.amp) if self.amp else nullcontext()

    def __str__(self) -> str:
        """As a person knows it."""
        text = str(self.device)
        if self.device.type == "cuda":
            text += f" ({torch.cuda.get_device_name(self.device)})"
        if self.device.type == "cpu":
            text = f"cpu ({torch.get_num_threads()} threads)"
        return text + (f" x {self.world.size}" if self.world.size > 1 else "")


def pick_device(name: str, world: World = ALONE) -> torch.device:
    """The device called ``name``; "auto" is a GPU if there is one, else the CPU.

    Of several GPUs it is the one of this process, which becomes the current one.

    Raises:
        ValueError: this machine, or this build of PyTorch, has no such device, or too few.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in has if has[device])
    if not has[name]:
        raise ValueError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device here, "
            f"only {', '.join(device for device in has if has[device])}"
        )
    if name != "cuda":
        return torch.device(name)
    if world.local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"process {world.local_rank} of this machine has no GPU, as there are "
            f"{torch.cuda.device_count()}; start torchrun with a smaller --nproc_per_node"
        )
    torch.cuda.set_device(world.local_rank)
    return torch.device(name, world.local_rank)


def pick_amp(name: str, device: torch.device) -> torch.dtype | None:
    """The type that ``torch.autocast`` computes in on a device; None for float32 throughout.

    "auto" is bfloat16 where the hardware multiplies it (NVIDIA from Ampere on, processors with
    AVX-512 BF16 or AMX), else None. float16 is never chosen by itself: its range is so small that
    training needs a gradient scaler.

    Raises:
        ValueError: the device cannot do what was asked for.
    """
    if name == "off" or (name == "auto" and not _multiplies_bf16(device)):
        return None
    if name == "fp16" and device.type == "cpu":
        raise ValueError("--amp fp16: is for GPUs; on a processor use bf16, auto or off")
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            f"--amp {name}: PyTorch {torch.__version__} has no mixed precision on {device}; use off"
        )
    return torch.float16 if name == "fp16" else torch.bfloat16


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch has no public name for this of processors; without one, the answer is no.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == CPU and any(getattr(torch.cpu, probe, bool)() for probe in probes)


@contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes of ``world``; Gloo carries what is on the CPU, NCCL the rest."""
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
    return bool(sum_over_ranks(torch.tensor(int(flag)), world))


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
