"""The network on a ResNet, and its pretrained weights, against torchvision's own ResNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

from models import build_model
from models.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint
from models.resnet_attention_unet import ENCODERS, ResNetAttentionUNet
from models.weights import load_encoder_weights, load_pretrained_encoder

KWARGS = {"num_labels": 3, "encoder": "resnet18", "dropout": 0.0}
LAYERS = (3, 4)  # of new networks, and of the checkpoints before them


def trained_resnet(name: str = "resnet18", seed: int = 1) -> nn.Module:
    """torchvision's network, evaluating, with batch statistics that are not those of the start."""
    torch.manual_seed(seed)
    resnet = torchvision.models.get_model(name, weights=None)
    for tensor in resnet.state_dict().values():
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return resnet.eval()


@pytest.fixture(scope="module", params=LAYERS, ids="{} layers".format)
def model(request: pytest.FixtureRequest) -> ResNetAttentionUNet:
    torch.manual_seed(0)
    return ResNetAttentionUNet(num_labels=3, layers=request.param).eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return trained_resnet()


@pytest.fixture
def file(tmp_path: Path, resnet: nn.Module) -> Path:
    torch.save(resnet.state_dict(), tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_features_are_those_of_torchvisions_resnet(
    name: str, layers: int, tmp_path: Path
) -> None:
    resnet, model = trained_resnet(name), ResNetAttentionUNet(3, name, layers=layers).eval()
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    load_encoder_weights(model, tmp_path / "weights.pth")

    seen: dict[str, Tensor] = {}
    for part in ("conv1", "layer1", "layer2", "layer3", "layer4")[: layers + 1]:
        getattr(resnet, part).register_forward_hook(
            lambda _m, _i, output, part=part: seen.update({part: output})
        )
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        features = model.encoder(image)
        resnet(image)
        seen["conv1"] = resnet.bn1(seen["conv1"]).relu()

    assert torch.equal(features[0], image)
    for feature, expected in zip(features[1:], seen.values(), strict=True):
        assert torch.equal(feature, expected)
    assert tuple(f.shape[1] for f in features) == model.encoder.widths
    assert [64 // f.shape[2] for f in features] == [1, 2, 4, 8, 16, 32][: layers + 2]


@torch.inference_mode()
def test_the_encoder_gets_what_torchvisions_own_preset_would_give(
    model: ResNetAttentionUNet,
) -> None:
    seen = []
    hook = model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    logits = model(image)
    hook.remove()
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms(crop_size=64, resize_size=64)
    torch.testing.assert_close(seen[0], preset(image))
    torch.testing.assert_close(model(image.float() / 255), logits)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (64, 31)])
def test_any_height_and_width_is_the_image_with_its_edge_repeated(
    model: ResNetAttentionUNet, size: tuple[int, int]
) -> None:
    image = torch.rand(1, 3, *size)
    stride = 32 if hasattr(model.encoder, "layer4") else 16
    H, W = (-(-side // stride) * stride for side in size)
    rows, columns = torch.arange(H).clamp(max=size[0] - 1), torch.arange(W).clamp(max=size[1] - 1)
    logits = model(image)
    assert logits.shape == (1, 3, *size)
    whole = model(image[:, :, rows][:, :, :, columns])
    torch.testing.assert_close(logits, whole[..., : size[0], : size[1]])


@pytest.mark.parametrize("layers", LAYERS)
def test_every_weight_learns_once_the_gate_is_open(layers: int) -> None:
    torch.manual_seed(0)
    model = ResNetAttentionUNet(num_labels=3, layers=layers)
    torch.nn.init.constant_(model.bottleneck[1].gate, 0.1)
    model(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().max() > 0] == []


def test_a_checkpoint_rebuilds_the_network_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ResNetAttentionUNet
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    checkpoint = {
        "model": {
            "name": "resnet_attention_unet",
            # Those of before have no layers.
            "kwargs": KWARGS if model.stride == 32 else {**KWARGS, "layers": 3},
        },
        "model_state": model.state_dict(),
        "label_set": {"name": "three", "labels": [{"name": name} for name in "abc"]},
        "image_size": 32,
    }
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    loaded = model_from_checkpoint(load_checkpoint(tmp_path / "last.pt"))
    image = torch.rand(1, 3, 32, 64)
    assert torch.equal(loaded(image), model(image))


def test_an_unknown_encoder_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown encoder 'vgg', expected one of: resnet18, res"):
        build_model("resnet_attention_unet", **{**KWARGS, "encoder": "vgg"})


def same_weights(model: ResNetAttentionUNet, resnet: nn.Module) -> bool:
    expected = resnet.state_dict()
    return all(torch.equal(t, expected[n]) for n, t in model.encoder.state_dict().items())


def test_a_file_in_the_old_format_without_batch_counts_fits(
    tmp_path: Path, resnet: nn.Module
) -> None:
    old = {n: t for n, t in resnet.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = ResNetAttentionUNet(num_labels=3)
    load_encoder_weights(model, tmp_path / "old.pth")
    assert same_weights(model, resnet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv1.weight"), r': .*Missing key.* "conv1\.weight"; give'),
        (
            lambda state: state.update(extra=torch.ones(1)),
            r': .*Unexpected.* "extra"; give',
        ),
        (
            lambda state: state.update({"bn1.bias": torch.ones(3)}),
            r": .* mismatch for bn1\.bias: .*\[3\].*\[64\].*; give a state dict of torchvision's",
        ),
    ],
)
def test_a_weight_that_does_not_fit_is_named(
    file: Path, resnet: nn.Module, change: Any, message: str
) -> None:
    state = dict(resnet.state_dict())
    change(state)
    torch.save(state, file)
    model = ResNetAttentionUNet(num_labels=3)
    with pytest.raises(ValueError, match=rf"resnet18\.pth does not fit resnet18{message}"):
        load_encoder_weights(model, file)


def test_weights_of_another_resnet_are_an_error_of_one_readable_line(file: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet18\.pth does not fit resnet34: ") as told:
        load_encoder_weights(ResNetAttentionUNet(3, "resnet34"), file)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no state dict"),
        ({"conv1.weight": 3}, "no state dict"),
        ({"path": Path("/")}, "cannot be read as weights"),  # would run code
    ],
)
def test_a_file_that_holds_no_weights_is_an_error_by_name(
    file: Path, model: ResNetAttentionUNet, content: object, message: str
) -> None:
    torch.save(content, file)
    with pytest.raises(ValueError, match=rf"resnet18\.pth .*{message}"):
        load_encoder_weights(model, file)


def no_network(*args: object, **kwargs: object) -> None:
    raise URLError("Name or service not known")


def test_without_a_network_the_error_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ResNetAttentionUNet
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    message = r"resnet18 cannot be had: .*not known.*resnet18-\w+\.pth.*--encoder_weights FILE"
    with pytest.raises(OSError, match=message):
        load_pretrained_encoder(model)


def test_a_damaged_download_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ResNetAttentionUNet
) -> None:
    def wrong_hash(*args: object, **kwargs: object) -> None:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00000000")')

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", wrong_hash)
    with pytest.raises(OSError, match=r"invalid hash value.*--encoder_weights FILE"):
        load_pretrained_encoder(model)


def test_pretrained_weights_come_from_torchvisions_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resnet: nn.Module
) -> None:
    def download(url: str, path: str, *args: object, **kwargs: object) -> None:
        assert url == torchvision.models.ResNet18_Weights.DEFAULT.url
        torch.save(resnet.state_dict(), path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    model = ResNetAttentionUNet(num_labels=3)
    load_pretrained_encoder(model)
    assert same_weights(model, resnet)
