"""The network, against formulas written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models import MODELS, build_model
from models.attention_unet import ResidualAttentionUNet, ResidualBlock, SelfAttention

SMALL = {"num_labels": 3, "features": (4, 6)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def warmed_up(**kwargs: object) -> ResidualAttentionUNet:
    """A small network, evaluating, with an open gate and batch statistics of its own."""
    model = ResidualAttentionUNet(**{**SMALL, **kwargs})
    torch.nn.init.constant_(model.bottleneck[1].gate, 0.7)
    for _ in range(3):
        model(torch.rand(2, 3, 16, 16))
    return model.eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 8), (5, 7), (33, 18)])
def test_logits_have_the_height_and_width_of_the_image(size: tuple[int, int]) -> None:
    assert warmed_up()(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_a_size_that_does_not_halve_evenly_is_the_image_with_its_edge_repeated() -> None:
    model = warmed_up()
    image = torch.rand(1, 3, 5, 7)
    rows, columns = [0, 1, 2, 3, 4, 4, 4, 4], [0, 1, 2, 3, 4, 5, 6, 6]
    by_hand = image[:, :, rows][:, :, :, columns]  # 8 x 8, a multiple of 4
    torch.testing.assert_close(model(image), model(by_hand)[:, :, :5, :7])


def test_uint8_and_float_images_give_the_same_logits() -> None:
    model = warmed_up()
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(model(image), model(image.float() / 255))


def test_input_is_normalised_with_the_statistics_of_imagenet() -> None:
    seen = []
    model = warmed_up()
    model.encoder[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.tensor([255, 0, 128], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(seen[0][0, :, 2, 3], torch.tensor(expected))


def test_normalisation_is_not_in_the_state_dict() -> None:
    assert not {"mean", "std"} & set(ResidualAttentionUNet(**SMALL).state_dict())


def test_default_network_goes_from_64_channels_down_to_1024_at_a_sixteenth() -> None:
    model = ResidualAttentionUNet(num_labels=10).eval()
    shapes = []
    for block in (*model.encoder, *model.bottleneck, *reversed(model.decoder)):
        block.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        model(torch.rand(1, 3, 32, 64))
    assert shapes == [
        *[(64, 32, 64), (128, 16, 32), (256, 8, 16), (512, 4, 8)],
        *[(1024, 2, 4), (1024, 2, 4)],
        *[(512, 4, 8), (256, 8, 16), (128, 16, 32), (64, 32, 64)],
    ]


@pytest.mark.parametrize("channels", [(4, 4), (3, 5)])
def test_residual_block_equals_its_formula(channels: tuple[int, int]) -> None:
    block = ResidualBlock(*channels)
    x = torch.randn(2, channels[0], 6, 5)

    def normalised(y: torch.Tensor) -> torch.Tensor:
        mean = y.mean((0, 2, 3), keepdim=True)
        return (y - mean) / (y.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()

    y = normalised(F.conv2d(x, block.conv1.weight, padding=1))
    y = normalised(F.conv2d(y * y.sigmoid(), block.conv2.weight, padding=1))
    same = channels[0] == channels[1]
    y = y + (x if same else normalised(F.conv2d(x, block.shortcut[0].weight)))
    torch.testing.assert_close(block(x), y * y.sigmoid())


def test_attention_is_the_identity_at_first() -> None:
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(SelfAttention(16)(x), x)


def test_attention_equals_a_loop_over_positions() -> None:
    attention = SelfAttention(16).double().requires_grad_(False)
    torch.nn.init.constant_(attention.gate, 0.5)
    x = torch.randn(1, 16, 3, 4, dtype=torch.float64)

    positions = x[0].reshape(16, 12).T
    qkv = positions @ attention.qkv.weight[:, :, 0, 0].T + attention.qkv.bias
    q, k, v = qkv[:, :2], qkv[:, 2:4], qkv[:, 4:]  # 16 // 8 channels each
    expected = torch.empty_like(positions)
    for i in range(12):
        share = torch.tensor([torch.dot(q[i], k[j]) / 2**0.5 for j in range(12)]).exp()
        mixed = sum(share[j] / share.sum() * v[j] for j in range(12))
        projected = attention.project.weight[:, :, 0, 0] @ mixed + attention.project.bias
        expected[i] = positions[i] + 0.5 * projected
    torch.testing.assert_close(attention(x)[0].reshape(16, 12).T, expected)


def test_the_gate_learns_from_the_first_step_and_then_every_weight_does() -> None:
    model = ResidualAttentionUNet(**SMALL)
    images = torch.rand(2, 3, 8, 8)
    model(images).square().sum().backward()
    assert model.bottleneck[1].gate.grad.abs() > 0
    torch.nn.init.constant_(model.bottleneck[1].gate, 0.1)
    model(images).square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().max() > 0] == []


def test_an_upsampling_starts_as_a_nearest_neighbour_enlargement() -> None:
    for upsample in ResidualAttentionUNet(**SMALL).upsample:
        enlarged = upsample(torch.randn(1, upsample.in_channels, 3, 5))
        assert torch.equal(enlarged, F.interpolate(enlarged[..., ::2, ::2], scale_factor=2))


def test_dropout_acts_while_training_only() -> None:
    model, images = warmed_up(dropout=0.5), torch.rand(1, 3, 8, 8)
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


def test_dropout_zeroes_whole_channels_between_the_convolutions() -> None:
    block, seen = ResidualBlock(3, 64, dropout=0.5), []
    block.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(torch.randn(1, 3, 6, 6))
    zeroed = (seen[0] == 0).flatten(2).float().mean(2)  # share of each channel
    assert set(zeroed.flatten().tolist()) == {0.0, 1.0}


def test_the_network_runs_in_bfloat16_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = warmed_up()(torch.randint(0, 256, (1, 3, 9, 9), dtype=torch.uint8))
    assert logits.isfinite().all()


def test_build_model_makes_the_network_by_name() -> None:
    model = build_model("residual_attention_unet", num_labels=5, features=[2], dropout=0.1)
    assert model.eval()(torch.rand(1, 3, 4, 4)).shape[1] == 5


def test_an_unknown_model_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'vgg'.*" + ", ".join(MODELS)):
        build_model("vgg", num_labels=2)
