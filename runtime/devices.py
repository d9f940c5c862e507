"""Which device computes."""

from __future__ import annotations

import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is the first GPU if there is one, else the CPU.

    Raises:
        ValueError: this machine, or this build of PyTorch, has no such device.
    """
    has = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device in has if has[device]))
    if not has[name]:
        raise ValueError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device here, "
            f"only {', '.join(device for device in has if has[device])}"
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device as a person knows it."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)
