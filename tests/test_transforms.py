import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.transforms import Resize, eval_preset, train_preset


def under_the_centre(length: int, size: int, nudge: float) -> list[int]:
    """For each new pixel, the old one under its centre; ``nudge`` decides when that is an edge."""
    centres = [(new + 0.5) * length / size + nudge for new in range(size)]
    return [min(max(int(centre), 0), length - 1) for centre in centres]


@settings(max_examples=50, deadline=None)
@given(length=st.integers(2, 40), size=st.integers(2, 40))
def test_each_label_is_the_one_under_the_new_pixels_centre(length: int, size: int) -> None:
    label_map = torch.arange(length, dtype=torch.uint8).expand(length, length)  # value = column
    for turned in (label_map, label_map.T):
        _, resized = Resize(size)(torch.zeros(3, length, length, dtype=torch.uint8), turned)
        columns = resized if turned is label_map else resized.T
        for row in columns.tolist():
            allowed = zip(
                under_the_centre(length, size, -1e-4),
                under_the_centre(length, size, 1e-4),
                strict=True,
            )
            assert all(low <= got <= high for got, (low, high) in zip(row, allowed, strict=True))


def test_the_image_is_resized_as_pillow_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    resized, _ = Resize(16)(image, torch.zeros(37, 53, dtype=torch.uint8))
    expected = np.array(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
    difference = resized.permute(1, 2, 0).numpy().astype(int) - expected.astype(int)
    assert np.abs(difference).max() <= 1
    assert resized.dtype == torch.uint8


@pytest.mark.parametrize("preset", [train_preset, eval_preset])
def test_presets_give_squares_of_bytes(preset: type[Resize]) -> None:
    image, label_map = preset(32)(
        torch.zeros(3, 20, 30, dtype=torch.uint8), torch.zeros(20, 30, dtype=torch.uint8)
    )
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.uint8)
    assert (label_map.shape, label_map.dtype) == ((32, 32), torch.uint8)


def test_training_and_inference_resize_images_alike() -> None:
    from models.prediction import resize_image

    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 41, 29), generator=generator).to(torch.uint8)
    trained, _ = Resize(24)(image, torch.zeros(41, 29, dtype=torch.uint8))
    assert torch.equal(trained, resize_image(image, 24))
