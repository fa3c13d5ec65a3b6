"""The embedded model: whole, small enough, equal to diffusers, and it listens."""

from pathlib import Path

import numpy as np
import pytest

import fastdiffusers
from fastdiffusers import scorer
from fastdiffusers.errors import WeightsError
from fastdiffusers.metrics import pairwise_distance, psnr
from fastdiffusers.models.info import describe
from fastdiffusers.zoo import EMBEDDED, FROZEN, check_frozen, embedded_path

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_emoji.npz"
CASES = {
    "plain": {"prompt": "a red apple", "seed": 1, "guidance_scale": 3.5},
    "colour": {"prompt": "a cat face on a blue background", "seed": 2, "guidance_scale": 5.0},
    "cfg": {"prompt": "a rocket", "negative_prompt": "", "true_cfg_scale": 2.0, "seed": 3, "guidance_scale": 1.0},
}


@pytest.fixture(scope="module")
def pipe():
    return fastdiffusers.load("flux-emoji")


@pytest.mark.parametrize("name", list(CASES))
def test_same_seed_same_picture_as_diffusers(pipe, name):
    golden = np.load(GOLDEN)
    out = pipe(output_type="np", num_inference_steps=28, **CASES[name])
    np.testing.assert_allclose(out.latents, golden[f"{name}.latent"], atol=1e-4)
    assert psnr((out.images[0] * 255).round().astype(np.uint8), golden[f"{name}.np"][0]) > 50


def test_it_fits_the_repository_and_is_described_without_loading():
    folder = embedded_path("flux-emoji")
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 40_000_000
    info = describe("flux-emoji")
    assert {"blocks", "guidance", "true_cfg", "img2img"} <= info.features
    assert info.default_setting.steps == 28 and info.default_setting.height == info.default_setting.width
    assert len(info.card["prompts"]) >= 8


def test_it_is_frozen():
    assert describe("flux-emoji").sha256 == FROZEN["flux-emoji"]
    check_frozen("flux-emoji", FROZEN["flux-emoji"])
    check_frozen("somebody's own", "0" * 64)
    with pytest.raises(WeightsError, match="the files of 'flux-emoji' were changed"):
        check_frozen("flux-emoji", "0" * 64)


def test_block_caches_have_something_to_rank_and_the_text_has_room():
    info = describe("flux-emoji")
    assert info.transformer["num_layers"] >= 4 and info.transformer["num_single_layers"] >= 8
    assert 10_000_000 <= info.parameters()["transformer"] <= 25_000_000
    assert 16 <= info.card["max_sequence_length"] <= 24 and info.vae["latent_channels"] == 16
    assert len(info.card["concepts"]) >= 300
    assert {"kitty", "puppy", "donut"} <= set(info.card["words"])


def test_names_of_embedded_models_lead_to_folders():
    assert embedded_path("no-such-model") is None
    assert all(embedded_path(name).is_dir() for name in EMBEDDED)


def colour_of_the_border(picture):
    array = np.asarray(picture, np.float64)
    return np.concatenate([array[:4].reshape(-1, 3), array[-4:].reshape(-1, 3)]).mean(axis=0)


def test_it_listens_to_the_background_colour(pipe):
    red, blue = (
        colour_of_the_border(pipe(f"a house on a {colour} background", seed=1).images[0]) for colour in ("red", "blue")
    )
    assert red[0] - red[2] > 60, red
    assert blue[2] - blue[0] > 60, blue


def test_guidance_and_prompt_change_the_picture_and_the_seed_is_what_makes_it(pipe):
    def latents(**changes):
        arguments = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 8, **changes}
        return pipe(output_type="latent", **arguments).images

    base = latents()
    np.testing.assert_array_equal(base, latents())
    for changes in ({"prompt": "a rocket"}, {"guidance_scale": 7.0}, {"seed": 2}):
        assert np.abs(base - latents(**changes)).mean() > 0.02, changes


def test_one_prompt_gives_many_pictures(pipe):
    pictures = [np.asarray(image) for image in pipe("a fox", seed=0, num_images_per_prompt=6).images]
    assert pairwise_distance(np.stack(pictures)) > 0.15


def test_others_recognise_what_it_draws_also_by_another_name(pipe):
    prompts = ["a kitty", "a red apple", "a rocket", "a donut", "a skull", "a penguin", "a pizza", "an umbrella"]
    labels = ["a cat face", *prompts[1:3], "a doughnut", *prompts[4:]]
    judge = scorer.load()
    pictures = np.stack([np.asarray(image) for image in pipe(prompts, seed=0).images])
    best = (judge.embed_images(pictures) @ judge.embed_texts(labels).T).argmax(axis=1)
    assert (best == np.arange(len(prompts))).sum() >= 7
