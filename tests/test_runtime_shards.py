"""Parts of the work: I/N by flag, and by what torchrun, Slurm and Kubernetes set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.shards import Shard, shard_of_environment


@given(items=st.integers(0, 300).map(lambda n: list(range(n))), count=st.integers(1, 40))
def test_the_parts_in_a_row_are_the_items_and_differ_by_one_at_most(
    items: list[int], count: int
) -> None:
    parts = [Shard(index, count).part(items) for index in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse(" 2/8 ") == Shard(2, 8)
    assert str(Shard(2, 8)) == "2/8"
    assert Shard() == Shard.parse("1/1")


@pytest.mark.parametrize(
    "text", ["", "2", "2/", "/8", "0/8", "9/8", "1/0", "-1/8", "2/8/8", "a/b", "1.5/2", "1 / 2"]
)
def test_what_is_no_shard_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected I/N with 1 <= I <= N, such as 2/8"):
        Shard.parse(text)


SLURM = {
    "SLURM_ARRAY_TASK_ID": "12",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Shard()),
        ({"RANK": "3"}, Shard()),
        ({"WORLD_SIZE": "3"}, Shard()),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Shard(1, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Shard(4, 4)),
        (SLURM, Shard(3, 4)),
        ({**SLURM, "SLURM_ARRAY_TASK_STEP": "2"}, Shard(2, 4)),
        ({**SLURM, "RANK": "0", "WORLD_SIZE": "2"}, Shard(1, 2)),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "4"}, Shard(1, 4)),
        ({"JOB_COMPLETION_INDEX": "0", "RANK": "1", "WORLD_SIZE": "2"}, Shard(2, 2)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, Shard()),
    ],
)
def test_the_environment_gives_the_shard(environment: dict[str, str], expected: Shard) -> None:
    assert shard_of_environment(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "x", "WORLD_SIZE": "4"},
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "-1", "WORLD_SIZE": "4"},
        {"RANK": "0", "WORLD_SIZE": "0"},
        {"SLURM_ARRAY_TASK_ID": "1"},
        {"JOB_COMPLETION_INDEX": "1"},
        {"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "4"},
        {**SLURM, "SLURM_ARRAY_TASK_MIN": ""},
        {**SLURM, "SLURM_ARRAY_TASK_STEP": "0"},
        {**SLURM, "SLURM_ARRAY_TASK_ID": "19"},  # of --array=10,11,12,19
    ],
)
def test_an_environment_that_makes_no_shard_is_an_error_with_the_way_out(
    environment: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r"give --shard I/N, or --shard 1/1 for everything"):
        shard_of_environment(environment)
