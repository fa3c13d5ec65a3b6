"""Adapters of the embedded model: made for it, small, equal in diffusers, nearer than as many plain steps."""

from pathlib import Path

import numpy as np
import pytest

import fastdiffusers
from fastdiffusers.distillation.adapter import SHIPPED, WEIGHTS, find_adapters, read_card
from fastdiffusers.models.info import describe
from fastdiffusers.plugins import registry
from fastdiffusers.zoo import FROZEN

GOLDEN = Path(__file__).parents[1] / "golden" / "adapters.npz"
FOLDERS = sorted((SHIPPED / "flux-emoji").iterdir())
NAMES = [folder.name for folder in FOLDERS]


@pytest.fixture(scope="module")
def pipe():
    return fastdiffusers.load("flux-emoji")


def draw(pipe, accel=None, **setting):
    with fastdiffusers.accelerate(pipe, accel):
        return pipe("a red apple", seed=1, guidance_scale=3.5, output_type="latent", **setting).latents


def accelerator_of(method: str) -> str:
    return registry().distillers[method].accelerator


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_belongs_to_the_frozen_model_and_is_small(folder):
    card = read_card(folder)
    assert (card.base, card.base_sha256) == ("flux-emoji", FROZEN["flux-emoji"])
    assert folder.name == f"{card.method}-{card.steps}"
    assert (folder / WEIGHTS).stat().st_size <= 3_000_000
    assert find_adapters(describe("flux-emoji"), card.method)[card.steps] == folder


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_draws_what_diffusers_draws_with_it_and_nearer_than_as_many_plain_steps(pipe, folder):
    card, golden = read_card(folder), np.load(GOLDEN)
    spec = f"{accelerator_of(card.method)}:steps={card.steps}"
    found = draw(pipe, spec)
    if card.sampler == "euler":
        np.testing.assert_allclose(found, golden[folder.name], atol=2e-4)
        goal, plain = draw(pipe, num_inference_steps=28), draw(pipe, num_inference_steps=card.steps)
        assert np.abs(found - goal).mean() < np.abs(plain - goal).mean()
    else:
        assert folder.name not in golden.files


def test_the_default_is_the_one_of_four_steps(pipe):
    np.testing.assert_array_equal(draw(pipe, "pcm"), draw(pipe, "pcm:steps=4"))
