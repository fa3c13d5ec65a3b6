"""SD1.5, SDXL and SD3 against diffusers on the same weights, and what the arguments mean."""

import numpy as np
import pytest
from ppdiffusers_checkpoint import golden

from fastdiffusers.errors import InputError
from fastdiffusers.noise import picture_noise

FAMILIES = ("sd15", "sdxl", "sd3")
SIZE = {"height": 24, "width": 32, "max_sequence_length": 24}
CASES = {
    "plain": {"prompt": "a red apple", "num_inference_steps": 6, "seed": 5},
    "free": {"prompt": "a cat", "guidance_scale": 1.0, "num_inference_steps": 5, "seed": 8},
    "two": {
        "prompt": ["a red apple", "grinning face"],
        "negative_prompt": ["dog", ""],
        "guidance_scale": 3.0,
        "num_inference_steps": 10,
        "seed": 6,
    },
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_latents_and_pictures_are_those_of_diffusers(pipelines, family, case):
    wanted = golden(family)
    output = pipelines(family)(**CASES[case], **SIZE, output_type="np")
    latents, pictures = wanted[f"{case}.latent"], wanted[f"{case}.np"]
    assert np.abs(output.latents - latents).max() < 1e-4 * max(1.0, np.abs(latents).max())
    assert np.abs(output.images - pictures).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_to_start_from_is_redrawn_as_by_diffusers(pipelines, family):
    from PIL import Image

    wanted = golden(family)
    # diffusers' SD3 resamples to the model's own size, the others keep the picture's
    size = {"height": 32, "width": 32} if family == "sd3" else {"height": 24, "width": 32}
    output = pipelines(family)(
        "a cat",
        image=Image.fromarray(wanted["picture"]),
        strength=0.6,
        guidance_scale=4.0,
        num_inference_steps=10,
        seed=9,
        max_sequence_length=24,
        output_type="np",
        **size,
    )
    latents, pictures = wanted["img2img.latent"], wanted["img2img.np"]
    assert np.abs(output.latents - latents).max() < 1e-4 * np.abs(latents).max()
    assert np.abs(output.images - pictures).max() < 1e-4
    assert pipelines(family).context.steps == (7 if family == "sd15" else 6)  # PNDM computes one step twice


@pytest.mark.parametrize("family", FAMILIES)
def test_picture_i_of_a_batch_is_the_single_one_with_that_seed(pipelines, family):
    pipe = pipelines(family)
    common = {"prompt": "a cat", "num_inference_steps": 4, "output_type": "latent", **SIZE}
    both = pipe(**common, num_images_per_prompt=2, seed=3)
    assert both.seeds == (3, 4) and both.latents.shape == (2, 4, 12, 16)
    for i, seed in enumerate(both.seeds):
        single = pipe(**common, seed=seed).latents
        assert np.abs(both.latents[i : i + 1] - single).max() < 1e-4 * np.abs(single).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_given_latents_take_the_place_of_a_seed(pipelines, family):
    pipe = pipelines(family)
    common = {"prompt": "a cat", "num_inference_steps": 3, "output_type": "latent", **SIZE}
    noise = picture_noise((4, 12, 16), (11,))
    assert np.array_equal(pipe(**common, latents=noise).latents, pipe(**common, seed=11).latents)
    with pytest.raises(InputError, match=r"latents have the shape \(1, 4, 3, 3\); \(1, 4, 12, 16\) is needed"):
        pipe(**common, latents=noise[:, :, :3, :3])


def test_defaults_are_those_of_diffusers(pipelines):
    settings = {name: pipelines(name).info.default_setting for name in FAMILIES}
    assert {name: (s.steps, s.guidance) for name, s in settings.items()} == {
        "sd15": (50, 7.5),
        "sdxl": (50, 5.0),
        "sd3": (28, 7.0),
    }
    assert all((s.height, s.width) == (32, 32) for s in settings.values())


def test_the_output_has_pictures_seeds_stages_and_what_was_cut_off(pipelines):
    prompt = " ".join(["a red apple on the table"] * 6)
    output = pipelines("sd15")(prompt, num_inference_steps=2, seed=1, height=24, width=32)
    assert output.images[0].size == (32, 24) and output.seeds == (1,)
    assert set(output.stages) == {"text", "denoise", "decode", "total"}
    assert output.truncated[0] and prompt.endswith(output.truncated[0])
    assert "CLIP" in output.notes[0] and "was cut off" in output.notes[0]
    # ppdiffusers' own SD3 stops here
    assert pipelines("sd3")(prompt, num_inference_steps=2, seed=1, **SIZE).truncated[0]


def test_the_step_context_knows_every_step_and_names_a_doubled_batch_cond(pipelines):
    pipe = pipelines("sd3")
    seen = []
    pipe(
        "a cat",
        num_inference_steps=4,
        seed=0,
        callback=lambda *a: seen.append((a[0], a[1], pipe.context.branch)),
        **SIZE,
    )
    context = pipe.context
    assert [step for step, *_ in seen] == [0, 1, 2, 3] and {branch for *_, branch in seen} == {"cond"}
    assert context.steps == 4 and context.grid == (6, 8) and not context.active
    assert context.sigmas[0] == 1.0 and list(context.sigmas) == sorted(context.sigmas, reverse=True)
    assert [sigma for _, sigma, _ in seen] == list(context.sigmas)


def test_the_step_context_of_a_unet_has_the_levels_of_its_scheduler(pipelines):
    pipe = pipelines("sd15")
    pipe("a cat", num_inference_steps=5, seed=0, output_type="latent", **SIZE)
    # PNDM computes the second step twice
    assert pipe.context.steps == 6 and pipe.context.grid == (12, 16)
    assert 0 < min(pipe.context.sigmas) < max(pipe.context.sigmas) < 1


def test_an_interruption_ends_the_generation(pipelines):
    pipe = pipelines("sd3")

    def stop(step, *_):
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe("a cat", num_inference_steps=4, seed=0, callback=stop, **SIZE)
    assert not pipe.context.active
    common = {"prompt": "a cat", "num_inference_steps": 4, "seed": 0, "output_type": "latent", **SIZE}
    assert np.array_equal(pipe(**common).latents, pipe(**common).latents)


BAD = [
    ({"height": 25}, "height 25 is not valid; it must be a multiple of 4"),
    ({"num_inference_steps": 0}, "num_inference_steps 0 is not valid"),
    ({"guidance_scale": -1.0}, "guidance_scale -1.0 is not valid"),
    ({"image": "no.png"}, "picture 'no.png' does not exist"),
    ({"image": "no.png", "latents": [1]}, "image and latents both say where to start"),
    ({"image": "no.png", "strength": 0.1}, "strength 0.1 of 2 steps leaves none to run"),
    ({"image": "no.png", "strength": 2}, "strength 2 is not valid"),
    ({"output_type": "tiff"}, "unknown output_type 'tiff'"),
    ({"negative_prompt": ["a", "b", "c"]}, "3 negative prompts for 1 prompts"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_arguments_are_one_line(pipelines, changes, words):
    with pytest.raises(InputError) as caught:
        pipelines("sd3")(**{"prompt": "a", "seed": 0, "num_inference_steps": 2, **changes})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_generator_of_paddle_is_where_it_was(pipelines):
    import paddle

    paddle.seed(5)
    before = paddle.get_rng_state()[0].current_seed(), paddle.rand([3]).numpy()
    paddle.seed(5)
    pipelines("sdxl")("a cat", num_inference_steps=2, seed=3, output_type="latent", **SIZE)
    assert np.array_equal(paddle.rand([3]).numpy(), before[1])


def test_a_picture_is_not_kept(pipelines):
    from PIL import Image

    pipe = pipelines("sdxl")
    before = list(vars(pipe.image_pipe))
    pipe("a cat", image=Image.new("RGB", (32, 24)), strength=0.5, num_inference_steps=4, seed=1, **SIZE)
    added = set(vars(pipe.image_pipe)) - set(before)
    assert "prepare_latents" not in added
