"""Ground colour: exact on a plain ground, undisturbed by objects, right on the packaged pictures."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import ground_colour
from fastdiffusers.zoo.emoji import PALETTE, SAMPLE, EmojiDataset


def test_a_plain_ground_and_an_object_that_touches_the_edge():
    picture = np.full((32, 24, 3), (92, 156, 236), np.uint8)
    picture[4:28, 4:20] = (200, 10, 10)
    assert ground_colour(picture) == (92, 156, 236)
    picture[:, 5:15] = (200, 10, 10)
    assert ground_colour(picture) == (92, 156, 236)
    assert all(type(part) is int for part in ground_colour(picture))


def test_it_is_the_edge_that_counts():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[2:-2, 2:-2] = 255
    assert ground_colour(picture) == (0, 0, 0)


@pytest.mark.parametrize("name", list(PALETTE))
def test_every_packaged_picture_has_the_ground_it_was_given(name):
    data = EmojiDataset(SAMPLE, size=48, split="all")
    for i in range(len(data)):
        assert ground_colour(data.image(i, name)) == PALETTE[name]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3), (2, 8, 8, 3)])
def test_bad_picture(shape):
    with pytest.raises(InputError, match="is not valid; uint8") as error:
        ground_colour(np.zeros(shape, np.uint8))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="float64"):
        ground_colour(np.zeros((8, 8, 3)))
