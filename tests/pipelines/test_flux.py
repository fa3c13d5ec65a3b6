"""Whole runs against diffusers on a checkpoint that diffusers saved, and what a call must refuse."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from fastdiffusers.errors import InputError, NumericalError
from fastdiffusers.models.info import describe
from fastdiffusers.pipelines.flux import FluxPipeline

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_pipeline"
SIZE = {"height": 24, "width": 32}


@pytest.fixture(scope="module", params=["dev", "schnell"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(name):
    return FluxPipeline.from_pretrained(describe(GOLDEN / name))


@pytest.fixture(scope="module")
def dev():
    return FluxPipeline.from_pretrained(describe(GOLDEN / "dev"))


def compare(pipe, name, case, **arguments):
    golden = np.load(GOLDEN / f"{name}.npz")
    steps = 28
    image = Image.fromarray(golden["picture"]) if "img2img" in case else None
    out = pipe(num_inference_steps=steps, output_type="np", image=image, **SIZE, **arguments)
    np.testing.assert_allclose(out.latents, golden[f"{case}.latent"], atol=1e-4)
    np.testing.assert_allclose(out.images, golden[f"{case}.np"], atol=1e-4)


def test_text_to_image_equals_diffusers(pipe, name):
    compare(pipe, name, "two", prompt=["a red apple", "grinning face"], seed=5)


def test_true_guidance_equals_diffusers(pipe, name):
    compare(pipe, name, "cfg", prompt="a red apple", negative_prompt="", true_cfg_scale=2.5, seed=7)


def test_image_to_image_equals_diffusers(pipe, name):
    compare(pipe, name, "img2img", prompt="a cat", strength=0.6, seed=9)


def test_image_to_image_of_a_batch_draws_each_picture_from_its_own_seed(dev):
    golden = np.load(GOLDEN / "dev.npz")
    image = Image.fromarray(golden["picture"])
    both = dev(["a cat", "dog"], image=image, strength=0.35, seed=2**31, output_type="latent", **SIZE)
    np.testing.assert_allclose(both.images[0], golden["img2img2.latent"][0], atol=1e-4)
    for i, (prompt, seed) in enumerate([("a cat", 2**31), ("dog", 3)]):
        out = dev(prompt, image=image, strength=0.35, seed=seed, output_type="latent", **SIZE)
        np.testing.assert_allclose(out.images[0], golden["img2img2.latent"][i], atol=1e-4)


def test_picture_i_of_n_is_the_picture_of_seed_plus_i(dev):
    many = dev("a red apple", num_images_per_prompt=3, seed=4, num_inference_steps=4, output_type="latent", **SIZE)
    one = dev("a red apple", seed=6, num_inference_steps=4, output_type="latent", **SIZE)
    assert many.seeds == (4, 5, 6)
    np.testing.assert_allclose(many.images[2], one.images[0], atol=1e-5)
    assert np.abs(many.images[0] - many.images[2]).max() > 0.1


def test_guidance_acts_where_it_is_embedded_and_nowhere_else(pipe, name):
    low, high = (
        pipe("a cat", guidance_scale=g, seed=1, num_inference_steps=2, output_type="latent", **SIZE).images
        for g in (1.0, 7.0)
    )
    assert (np.abs(low - high).max() > 1e-3) == (name == "dev")


def test_given_latents_and_sigmas_replace_the_drawn_ones(dev):
    start = np.random.RandomState(0).standard_normal((1, 48, 64)).astype(np.float32)
    out = dev("a cat", latents=start, sigmas=[1.0, 0.75, 0.5, 0.25], output_type="latent", **SIZE)
    again = dev("a cat", latents=start, num_inference_steps=4, output_type="latent", **SIZE)
    np.testing.assert_array_equal(out.images, again.images)


def test_the_default_size_is_the_models_own_and_pil_is_the_default_output(dev):
    out = dev("a cat", num_inference_steps=1, seed=0)
    assert [image.size for image in out.images] == [(32, 32)]
    assert set(out.stages) == {"text", "denoise", "decode", "total"}


def test_an_empty_prompt_is_valid_and_an_overlong_one_says_what_was_cut(dev):
    assert dev("", num_inference_steps=1, seed=0).truncated == (None,)
    assert dev("apple " * 40 + "zebra", num_inference_steps=1, seed=0).truncated[0].endswith("zebra")


def test_fewer_text_tokens_than_the_tokenizers_own(dev):
    own, same, fewer = (
        dev("a cat", num_inference_steps=2, seed=0, max_sequence_length=n, output_type="latent").images
        for n in (None, 24, 12)
    )
    np.testing.assert_array_equal(own, same)
    assert np.abs(own - fewer).max() > 1e-4


def test_the_callback_sees_every_step_and_the_context_every_branch(dev):
    seen = []
    context = dev.context
    generation = context.generation

    def callback(step, sigma, latents):
        seen.append((step, round(sigma, 4), context.branch, tuple(latents.shape)))

    dev("a cat", negative_prompt="dog", true_cfg_scale=2.0, num_inference_steps=3, seed=0, callback=callback, **SIZE)
    assert [(step, branch) for step, _, branch, _ in seen] == [(0, "uncond"), (1, "uncond"), (2, "uncond")]
    assert seen[0][1] == 1.0 and seen[0][1] > seen[1][1] > seen[2][1] > 0
    assert seen[0][3] == (1, 48, 64)
    assert context.generation == generation + 1 and not context.active


def test_an_exception_in_the_callback_ends_the_generation(dev):
    def stop(step, sigma, latents):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dev("a cat", num_inference_steps=3, callback=stop, **SIZE)
    assert not dev.context.active


def test_a_picture_of_no_numbers_is_reported(dev):
    bias = dev.vae.decoder.conv_out.bias
    before = bias.numpy()
    try:
        bias.set_value(paddle.full_like(bias, float("nan")))
        with pytest.raises(NumericalError, match="the VAE decoded NaN"):
            dev("a cat", num_inference_steps=1, seed=0, **SIZE)
    finally:
        bias.set_value(before)


def test_numpy_integers_are_integers(dev):
    out = dev("a cat", height=np.int64(32), width=np.int32(32), num_inference_steps=1, seed=0)
    assert out.images[0].size == (32, 32)


def test_given_latents_with_a_picture_are_the_start_as_in_diffusers(dev):
    start = np.random.RandomState(0).standard_normal((1, 64, 64)).astype(np.float32)
    arguments = {"latents": start, "strength": 0.5, "num_inference_steps": 4, "output_type": "latent"}
    white, black = (dev("a cat", image=Image.new("RGB", (32, 32), c), **arguments).images for c in ("white", "black"))
    np.testing.assert_array_equal(white, black)


def test_what_was_cut_off_is_said_also_for_negative_prompts_and_clip(dev):
    long = "apple " * 40 + "zebra"
    out = dev("a cat", negative_prompt=long, true_cfg_scale=2.0, num_inference_steps=1, seed=0)
    assert out.truncated == (None,)
    assert [note.split(": ")[1].split()[0] for note in out.notes] == ["T5", "CLIP"]
    assert all("zebra" in note for note in out.notes)


def test_nan_is_reported_with_its_step(dev):
    weight = dev.transformer.proj_out.bias
    before = weight.numpy()
    try:
        weight.set_value(paddle.full_like(weight, float("nan")))
        with pytest.raises(NumericalError, match="after step 1 of 3"):
            dev("a cat", num_inference_steps=3, seed=0, **SIZE)
    finally:
        weight.set_value(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 30}, "height 30 is not valid; it must be a multiple of 4"),
        ({"width": 0}, "width 0 is not valid"),
        ({"num_inference_steps": 0}, "it must be an integer of at least 1"),
        ({"guidance_scale": -1.0}, "guidance_scale -1.0"),
        ({"guidance_scale": float("nan")}, "guidance_scale nan"),
        ({"true_cfg_scale": 0.5}, "true_cfg_scale 0.5"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt 0"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**64 - 1, "num_images_per_prompt": 2}, "seed 18446744073709551616"),
        ({"max_sequence_length": 1}, "max_sequence_length 1 is not valid"),
        ({"output_type": "jpeg"}, "unknown output_type 'jpeg'"),
        ({"latents": np.zeros((1, 3, 64))}, "packed latents of shape"),
        ({"latents": "abc"}, "latents are not an array of numbers"),
        ({"latents": np.full((1, 64, 64), np.nan)}, "latents hold NaN or infinity"),
        ({"guidance_scale": "3"}, "guidance_scale '3' is not valid"),
        ({"max_sequence_length": "a"}, "max_sequence_length 'a' is not valid"),
        ({"image": "nowhere.png"}, "picture 'nowhere.png' does not exist"),
        ({"image": __file__}, "is not a readable picture"),
        ({"prompt": 3}, "give a text or a list of texts"),
        ({"prompt": []}, "give a text or a list of texts"),
        ({"image": Image.new("RGB", (8, 8)), "strength": 0.0}, "strength"),
        ({"image": Image.new("RGB", (8, 8)), "strength": 1.5}, "strength is 1.5"),
        (
            {"negative_prompt": ["a", "b", "c"], "true_cfg_scale": 2.0, "prompt": ["a", "b"]},
            "3 negative prompts for 2 prompts",
        ),
        ({"height": 100_000, "width": 100_000}, "GiB are free"),
    ],
)
def test_bad_calls_are_refused_in_one_line(dev, arguments, message):
    with pytest.raises(InputError) as caught:
        dev(**{"prompt": "a cat", **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dtype_without_kernels_here_is_refused():
    info = describe(GOLDEN / "dev")
    for dtype, message in (("bfloat16", "no eager kernels on a CPU"), ("int8", "unknown dtype 'int8'")):
        with pytest.raises(InputError, match=message):
            FluxPipeline.from_pretrained(info, dtype)


def test_saved_pipeline_draws_the_same_bits(dev, tmp_path):
    dev.save_pretrained(tmp_path / "copy")
    again = FluxPipeline.from_pretrained(describe(tmp_path / "copy"))
    first, second = (
        p("a red apple", seed=3, num_inference_steps=3, output_type="latent", **SIZE).images for p in (dev, again)
    )
    np.testing.assert_array_equal(first, second)
    with pytest.raises(InputError, match="exists already"):
        dev.save_pretrained(tmp_path / "copy")
