"""Wishes: what a caption says, and that real renderings show it and vary in what it leaves open."""

import numpy as np
import pytest
from measures import nearest_ground, obeyed
from pictures import read_prompts
from wishes import Wish, World, colour_if_unsaid, wish_of

from fastdiffusers.errors import InputError
from fastdiffusers.zoo.emoji import PALETTE, SAMPLE, CaptionSampler, EmojiDataset
from fastdiffusers.zoo.emoji.captions import held_out_pair
from fastdiffusers.zoo.emoji.concepts import core_concepts, iconic_labels


@pytest.fixture(scope="module")
def world():
    data = EmojiDataset(SAMPLE, size=32, split="all")
    sampler = CaptionSampler(
        "varied", data.index, background_probability=0.5, mention_probability=0.5, white_probability=0.3
    )
    return World(data, sampler)


def test_the_share_of_colours_under_a_silent_caption_is_that_of_the_sampler(world):
    rng = np.random.default_rng(0)
    entry = world.data.entries[0]
    drawn = [world.sampler.sample(rng, entry) for _ in range(6000)]
    silent = [caption for caption in drawn if not caption.background_mentioned]
    share = np.mean([caption.background is not None for caption in silent])
    assert colour_if_unsaid(world.sampler) == pytest.approx(0.25 / 0.6)
    assert share == pytest.approx(colour_if_unsaid(world.sampler), abs=0.03)


def test_renderings_lie_on_the_ground_that_is_named(world):
    wishes = world.pairs(False, 40, np.random.default_rng(0)) + world.pairs(True, 10, np.random.default_rng(0))
    result = obeyed(wishes, world.render(wishes, np.random.default_rng(1)))
    assert result["obeyed"] == 1.0 and result["n"] == 50 and result["instead"] == {}


def test_what_is_not_named_varies(world):
    wish = Wish("a thing", next(iter(world.concepts)))
    pictures = world.render([wish] * 60, np.random.default_rng(0))
    grounds = [nearest_ground(picture) for picture in pictures]
    assert len(set(grounds)) > 3 and 20 < grounds.count("white") < 50
    styled = Wish("x", wish.hexcode, "noto", "white")
    assert len(np.unique(world.render([styled] * 30, np.random.default_rng(0)).reshape(30, -1), axis=0)) <= 2


def test_a_disobedient_picture_is_counted(world):
    wish = next(w for w in world.pairs(False, None, np.random.default_rng(0)) if w.ground == "blue")
    pictures = world.render([wish, Wish("x", wish.hexcode, None, "white")], np.random.default_rng(0))
    result = obeyed([wish, wish], pictures)
    assert result["obeyed"] == 0.5 and result["instead"] == {"blue -> white": 1} and result["wrong"] == [wish.text]


def test_pairs_are_those_of_the_training_or_the_others_and_never_hidden(world):
    for held_out in (False, True):
        wishes = world.pairs(held_out, None, np.random.default_rng(0))
        assert wishes and len({wish.text for wish in wishes}) == len(wishes)
        for wish in wishes:
            assert held_out_pair(wish.hexcode, wish.ground) == held_out
            rows = world.concepts[wish.hexcode]
            assert all(wish.ground not in world.data.entries[row]["clashes"] for row in rows)


def test_a_wish_says_what_its_caption_says(world):
    rng = np.random.default_rng(3)
    for _ in range(200):
        entry = world.data.entries[rng.integers(len(world.data))]
        caption = world.sampler.sample(rng, entry)
        wish = wish_of(caption, entry)
        assert (wish.style is not None) == ("style" in caption.text)
        assert (wish.ground is not None) == ("background" in caption.text)
        assert wish.ground is None or wish.ground in caption.text


def test_prompts_are_read_back(world):
    entry = world.entry(next(iter(world.concepts)))
    assert world.read(f"{entry['label']} on a blue background") == Wish(
        f"{entry['label']} on a blue background", entry["hexcode"], None, "blue"
    )
    for prompt, message in (("a xyzzy", "no name"), (f"{entry['label']} on a mauve background", "ground 'mauve'")):
        with pytest.raises(InputError, match=message):
            world.read(prompt)


def test_the_fixed_prompts_are_64_of_the_core_list_and_half_of_them_name_a_ground():
    prompts = read_prompts()
    grounded = [prompt for prompt in prompts if prompt.endswith(" background")]
    assert len(prompts) == len(set(prompts)) == 64 and len(grounded) == 32
    assert {prompt.split()[-2] for prompt in grounded} == set(PALETTE)
    names = {name: label for label, aliases in core_concepts().items() for name in (label, *aliases)}
    subjects = [prompt.rpartition(" on a")[0] or prompt for prompt in prompts]
    labels = [names.get(subject) or names[subject.split(" ", 1)[1]] for subject in subjects]
    assert len(set(labels)) == 64 and iconic_labels()
    aliases = [s for s, label in zip(subjects, labels, strict=True) if label not in (s, s.partition(" ")[2])]
    assert len(aliases) == 8
