import numpy as np
import pytest

from datasets.training.batches import EpochBatches, sample_weights
from datasets.training.choices import SAMPLERS
from runtime.devices import World


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


def drawn(batches: EpochBatches, epoch: int = 1, step: int = 0) -> list[list[int]]:
    batches.start(epoch, step)
    listed = [[index for index, _ in batch] for batch in batches]
    assert len(listed) == len(batches)
    return listed


def flat(lists: list[list[int]]) -> list[int]:
    return [index for part in lists for index in part]


def test_weighted_draws_in_proportion_to_the_weights() -> None:
    weights = np.repeat([1.0, 3.0], 2000)
    indices = flat(drawn(EpochBatches("weighted", weights, 8)))
    assert len(indices) == 4000
    assert np.mean(np.array(indices) >= 2000) == pytest.approx(0.75, abs=0.03)


def test_shuffle_yields_each_index_once_in_another_order() -> None:
    indices = flat(drawn(EpochBatches("shuffle", np.ones(50), 10)))
    assert indices != sorted(indices)
    assert sorted(indices) == list(range(50))


@pytest.mark.parametrize("name", SAMPLERS)
def test_seed_and_epoch_alone_decide_the_order(name: str) -> None:
    batches = [EpochBatches(name, np.ones(20), 4, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (drawn(part, epoch=3) for part in batches)
    assert first == again
    assert first != other
    assert first != drawn(batches[0], epoch=4)


def test_seed_epoch_index_and_repeat_each_change_the_chance_of_a_draw() -> None:
    seeds: set[int] = set()
    for seed, epoch in ((0, 1), (1, 1), (0, 2)):
        batches = EpochBatches("weighted", np.ones(40), 40, seed=seed)
        batches.start(epoch)
        (batch,) = batches
        assert len({index for index, _ in batch}) < 40, "some are drawn more than once"
        seeds |= {chance for _, chance in batch}
    assert len(seeds) == 3 * 40


def test_draws_have_the_seeds_that_earlier_versions_gave_them() -> None:
    (batch,) = EpochBatches("weighted", np.array([1e-9, 1.0, 1e-9]), 3, seed=5)
    keys = [(5, 1, 1, repeat) for repeat in range(3)]  # seed, epoch, index
    states = [np.random.SeedSequence(key).generate_state(1, np.uint64) for key in keys]
    assert batch == [(1, int(state[0])) for state in states]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("batch_size", "accumulate", "world_size"), [(2, 2, 3), (12, 1, 1)])
def test_a_step_sees_the_same_images_however_it_is_made_up(
    name: str, batch_size: int, accumulate: int, world_size: int
) -> None:
    weights = np.linspace(1, 2, 30)
    whole = drawn(EpochBatches(name, weights, 12))
    ranks = [
        EpochBatches(
            name, weights, batch_size, accumulate=accumulate, world=World(rank, world_size)
        )
        for rank in range(world_size)
    ]
    parts = [drawn(rank) for rank in ranks]
    assert len(whole) == ranks[0].steps == 2  # 6 of the 30 are left over
    for step, images in enumerate(whole):
        seen = [flat(part[step * accumulate : (step + 1) * accumulate]) for part in parts]
        assert sorted(flat(seen)) == sorted(images)


def test_an_epoch_goes_on_after_any_step() -> None:
    batches = EpochBatches("shuffle", np.ones(33), 4, accumulate=2, world=World(1, 2))
    whole = drawn(batches, epoch=5)
    assert batches.steps == 2
    for step in range(batches.steps + 1):
        assert drawn(batches, epoch=5, step=step) == whole[2 * step :]


def test_fewer_images_than_a_step_are_one_step() -> None:
    batches = EpochBatches("shuffle", np.ones(10), 4, accumulate=8)
    assert [len(batch) for batch in drawn(batches)] == [3, 3, 4]
    assert (batches.steps, batches.batches_in_step, batches.images_in_step) == (1, 3, 10)
    assert sorted(flat(drawn(batches))) == list(range(10))
    assert drawn(batches, epoch=1, step=1) == []
    with pytest.raises(ValueError, match="10 images are less than one step of 2 processes x 8"):
        EpochBatches("shuffle", np.ones(10), 4, accumulate=8, world=World(0, 2))


def test_the_images_of_a_step_can_be_named_afterwards() -> None:
    batches = EpochBatches("shuffle", np.ones(20), 3, accumulate=2)
    whole = drawn(batches, epoch=2)
    assert batches.images_of_step(2, 3) == flat(whole[4:6])
