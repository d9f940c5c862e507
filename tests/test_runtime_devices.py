"""Which device and which precision the flags choose."""

from __future__ import annotations

import pytest
import torch

from runtime.devices import pick_amp

CPU, GPU, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
PROBES = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize("has", [(True, False), (False, True), (False, False)])
def test_auto_is_bf16_on_a_processor_that_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, has: tuple[bool, bool]
) -> None:
    for name, value in zip(PROBES, has, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    assert pick_amp("auto", CPU) == (torch.bfloat16 if any(has) else None)


def test_auto_is_float32_where_pytorch_cannot_tell_what_the_processor_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in PROBES:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert pick_amp("auto", CPU) is None


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), None), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_auto_is_bf16_on_nvidia_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert pick_amp("auto", GPU) == expected


def test_what_is_asked_for_is_what_is_used() -> None:
    assert pick_amp("off", CPU) is None
    assert pick_amp("bf16", CPU) == torch.bfloat16
    assert pick_amp("fp16", GPU) == torch.float16
    assert pick_amp("auto", MPS) is None


def test_a_precision_that_the_device_lacks_is_refused_by_its_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="--amp fp16: is for GPUs"):
        pick_amp("fp16", CPU)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: device != "mps")
    with pytest.raises(ValueError, match=r"--amp bf16: PyTorch .* no mixed precision on mps"):
        pick_amp("bf16", MPS)
