"""Chance by example: the same whoever draws it, and beside whom."""

import numpy as np
import pytest

from fastdiffusers.training.chance import RowChance


def draws(chance: RowChance, count: int) -> list[np.ndarray]:
    return [
        chance.integers(7, size=count),
        chance.integers(2, 9, count),
        chance.random(count),
        chance.uniform(1.0, 3.0, count),
        chance.standard_normal((count, 2, 3), dtype=np.float32),
    ]


def test_parts_of_a_batch_put_together_are_the_batch():
    whole = draws(RowChance(5, 11, 0, 5), 5)
    parts = [draws(RowChance(5, 11, 0, 3), 3), draws(RowChance(5, 11, 3, 2), 2)]
    for one, *two in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(two), one)
    assert whole[-1].dtype == np.float32 and whole[-1].shape == (5, 2, 3)
    assert whole[0].max() < 7 and whole[1].min() >= 2 and whole[3].min() >= 1


def test_examples_batches_and_seeds_differ():
    for other in (RowChance(6, 11, 0, 4), RowChance(5, 12, 0, 4), RowChance(5, 11, 4, 4)):
        assert (other.random(4) != RowChance(5, 11, 0, 4).random(4)).all()
    rows = RowChance(5, 11, 0, 4).random(4)
    assert len(set(rows.tolist())) == 4


def test_what_is_common_is_the_same_in_every_part():
    assert RowChance(5, 11, 0, 3).common.random() == RowChance(5, 11, 3, 2).common.random()
    assert RowChance(5, 11, 0, 3).common.random() != RowChance(5, 12, 0, 3).common.random()


@pytest.mark.parametrize("size", [None, (), 4, (3, 5)])
def test_an_array_that_is_not_of_the_examples_is_refused(size):
    with pytest.raises(ValueError, match="chance for 5 examples was asked for an array of shape"):
        RowChance(0, 0, 0, 5).random(size)
