"""What a network runs on: device, precision, compiled or not, and with which other processes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from runtime.distributed import ALONE, World

CPU = torch.device("cpu")


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
        """The machine that flags name; of several GPUs, the one of this process.

        Args:
            device: one of ``command_line.DEVICES``.
            amp: one of ``command_line.AMP``.
            compile, world: as above.

        Raises:
            ValueError: there is no such device, or it has no such precision.
        """
        own = pick_device(device, world)
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
    has = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
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
    if device.type == "cpu":  # PyTorch has no public name for this; without one, the answer is no
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return False
