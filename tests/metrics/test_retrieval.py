"""Retrieval: exact shares where every caption competes, equal captions, ties, chance."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import retrieval

NAMES = [f"thing {i}" for i in range(40)]


def test_pictures_like_their_own_captions_are_all_found():
    assert retrieval(np.eye(40), np.eye(40), NAMES, choices=40) == 1.0
    assert retrieval(np.eye(40), np.roll(np.eye(40), 1, axis=0), NAMES, choices=40) == 0.0


def test_the_share_is_exact_when_all_captions_compete():
    images = np.eye(40)
    images[:10] = images[10:20]  # ten pictures show something else
    assert retrieval(images, np.eye(40), NAMES, choices=40) == 0.75


def test_a_caption_never_competes_with_its_own_copy():
    texts = [NAMES[i // 2] for i in range(40)]
    vectors = np.eye(40)[[i // 2 for i in range(40)]]
    assert retrieval(vectors, vectors, texts, choices=20) == 1.0
    with pytest.raises(InputError, match="choices is 21; valid are 2 to 20, the number of different texts"):
        retrieval(vectors, vectors, texts, choices=21)


def test_the_own_caption_is_always_among_the_choices_and_the_others_are_different():
    # every picture likes its own caption less than exactly one other: found unless that one is drawn, 9 times in 39
    images = np.eye(40) + 2 * np.roll(np.eye(40), 1, axis=1)
    shares = [retrieval(images, np.eye(40), NAMES, choices=10, seed=seed) for seed in range(200)]
    assert np.mean(shares) == pytest.approx(30 / 39, abs=0.01)
    assert retrieval(images, np.eye(40), NAMES, choices=10, seed=3) == shares[3]


def test_a_tie_is_a_miss():
    assert retrieval(np.ones((40, 4)), np.ones((40, 4)), NAMES, choices=5) == 0.0


@pytest.mark.parametrize(
    ("images", "captions", "texts", "choices", "message"),
    [
        (np.eye(3), np.eye(4), ["a", "b", "c"], 2, "do not fit"),
        (np.eye(3), np.eye(3), ["a", "b"], 2, "3 texts|2 texts"),
        (np.eye(3), np.eye(3), ["a", "b", "c"], 1, "choices is 1; valid are 2 to 3"),
        (np.eye(3), np.eye(3), ["a", "b", "c"], 4, "choices is 4; valid are 2 to 3"),
        (np.ones(3), np.ones(3), ["a", "b", "c"], 2, "do not fit"),
    ],
)
def test_bad_input(images, captions, texts, choices, message):
    with pytest.raises(InputError, match=message) as error:
        retrieval(images, captions, texts, choices=choices)
    assert "\n" not in str(error.value)
