import numpy as np
import pytest
import torch

from datasets.sampling import SAMPLERS, build_sampler, sample_weights


def test_weights_are_the_mean_inverse_frequency_of_the_labels_present() -> None:
    counts = np.array([[9, 0, 0], [5, 4, 0], [1, 0, 2], [3, 3, 3]])
    # In 4, 2 and 2 of 4 images: inverse frequencies 1, 2, 2.
    assert sample_weights(counts).tolist() == [1, 1.5, 1.5, pytest.approx(5 / 3)]


def test_how_many_pixels_a_label_has_does_not_matter() -> None:
    counts = np.array([[9, 0], [5, 4]])
    assert np.array_equal(sample_weights(counts), sample_weights(counts * 1000))


def test_an_image_without_counted_pixels_gets_the_smallest_weight() -> None:
    assert sample_weights(np.array([[1, 0], [0, 0], [1, 1]])).tolist() == [1.5, 1.5, 2.25]


def test_images_without_any_counted_pixel_weigh_the_same() -> None:
    assert sample_weights(np.zeros((3, 2), int)).tolist() == [1, 1, 1]


def test_weighted_draws_in_proportion_to_the_weights() -> None:
    weights = np.repeat([1.0, 3.0], 2000)
    drawn = list(build_sampler("weighted", weights, torch.Generator().manual_seed(0)))
    assert len(drawn) == 4000
    assert np.mean(np.array(drawn) >= 2000) == pytest.approx(0.75, abs=0.03)


def test_shuffle_yields_each_index_once_in_another_order() -> None:
    drawn = list(build_sampler("shuffle", np.ones(50), torch.Generator().manual_seed(0)))
    assert drawn != sorted(drawn)
    assert sorted(drawn) == list(range(50))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_generator_alone_decides_the_order(name: str) -> None:
    first, again, other = (
        list(build_sampler(name, np.ones(20), torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_an_unknown_sampler_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'even'; known are weighted, shuffle"):
        build_sampler("even", np.ones(2), torch.Generator())
