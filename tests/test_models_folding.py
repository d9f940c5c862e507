"""Batch norm folded into convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models import MODELS, build_model
from models.execution import fold_batch_norm

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "residual": ("residual_attention_unet", {"features": [4, 8], "dropout": 0.3}),
    "resnet18": ("resnet_attention_unet", {"encoder": "resnet18"}),
    "resnet50": ("resnet_attention_unet", {"encoder": "resnet50"}),
}


def used_network(name: str) -> nn.Module:
    """With an open gate and batch statistics that folding must not lose."""
    torch.manual_seed(0)
    model = build_model(NETWORKS[name][0], num_labels=3, **NETWORKS[name][1])
    nn.init.constant_(model.bottleneck[1].gate, 0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def test_every_network_is_tried() -> None:
    assert {name for name, _ in NETWORKS.values()} == set(MODELS)


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same_logits_without_batch_norm(name: str) -> None:
    model = used_network(name).double()  # so that rounding hides no mistake
    image = torch.rand(1, 3, 37, 64, dtype=torch.float64)
    folded = fold_batch_norm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(image), model.eval()(image))


@torch.inference_mode()
def test_in_float32_the_predicted_labels_stay() -> None:
    model = used_network("residual").eval()
    image = torch.rand(2, 3, 40, 40)
    logits, folded = model(image), fold_batch_norm(model)(image)
    torch.testing.assert_close(folded, logits, rtol=1e-4, atol=1e-4)
    assert (folded.argmax(1) == logits.argmax(1)).float().mean() > 0.999


def test_the_network_that_was_folded_is_left_as_it_is() -> None:
    model = used_network("residual").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batch_norm(model)
    assert not folded.training and all(module.training for module in model.modules())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
