"""The sampler draws the pipeline's pictures, and a drawing that was cut off goes on."""

from pathlib import Path

import numpy as np
import pytest

from fastdiffusers.evaluation import Crew, PictureSet, WorkFailed, draw
from fastdiffusers.evaluation.drawing import accelerated
from fastdiffusers.evaluation.picture_set import chunk_file
from fastdiffusers.evaluation.sampler import Sampler, noise_levels
from fastdiffusers.models.info import describe
from fastdiffusers.pipelines.flux import FluxPipeline
from fastdiffusers.session import accelerate

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_pipeline"
PROMPTS = ["a red apple", "grinning face", "a red apple"]


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_pictures_equal_those_of_the_pipeline(name):
    pipe = FluxPipeline.from_pretrained(describe(GOLDEN / name))
    drawn = Sampler(pipe, batch=2)(PROMPTS, [5, 2**31, 7], 4, guidance=2.5)
    for prompt, seed, picture in zip(PROMPTS, [5, 2**31, 7], drawn, strict=True):
        own = np.asarray(pipe(prompt, seed=seed, num_inference_steps=4, guidance_scale=2.5).images[0])
        assert own.shape == picture.shape and np.abs(own.astype(int) - picture).max() <= 1


def test_with_an_accelerator_the_pipeline_itself_draws():
    pipe = FluxPipeline.from_pretrained(describe(GOLDEN / "dev"))
    prompts, seeds, spec = PROMPTS * 4, [5, 2**31, 7, *range(9)], "taylorseer:interval=4"
    drawn = accelerated(pipe, spec, prompts, seeds, 8, 2.5)
    assert pipe.context.session is None
    plain = Sampler(pipe, batch=2)(prompts[:1], seeds[:1], 8, guidance=2.5)[0]
    assert len(drawn) == 12 and np.abs(plain.astype(int) - drawn[0]).max() > 1
    with accelerate(pipe, spec, steps=8):
        for i in (0, 1, 10):  # the last one is of the second batch
            own = pipe(prompts[i], seed=seeds[i], num_inference_steps=8, guidance_scale=2.5).images[0]
            assert np.abs(np.asarray(own).astype(int) - drawn[i]).max() <= 1


def test_levels_without_a_shift_are_equal_steps_and_the_rule_is_the_schedulers():
    scheduler = FluxPipeline.from_pretrained(describe(GOLDEN / "dev")).scheduler
    np.testing.assert_allclose(noise_levels(scheduler, 36, 4, 0.0), [1, 0.75, 0.5, 0.25, 0], atol=1e-7)
    mu = scheduler.calculate_shift(36)
    np.testing.assert_array_equal(noise_levels(scheduler, 36, 4, mu), noise_levels(scheduler, 36, 4, None))
    # the map of the shift, by hand: s·σ / (1 + (s − 1)·σ) with s = exp(1)
    np.testing.assert_allclose(noise_levels(scheduler, 36, 2, 1.0)[1], np.e * 0.5 / (1 + (np.e - 1) * 0.5), rtol=1e-6)


@pytest.mark.slow
def test_what_is_on_disk_is_not_drawn_again(tmp_path):
    info = describe(GOLDEN / "dev")
    item = PictureSet(str(info.path), info.sha256, ("a cat",) * 70, tuple(range(70)), 1)
    with Crew(1) as crew:
        assert draw([item, item], tmp_path, crew, show=False) > 0
        whole = item.load(tmp_path)
        first, second = (chunk_file(item.folder(tmp_path), "pictures", i) for i in item.chunks)
        before = first.stat().st_mtime_ns
        second.unlink()
        draw([item], tmp_path, crew, show=False)
        assert first.stat().st_mtime_ns == before
        np.testing.assert_array_equal(item.load(tmp_path), whole)
        assert draw([item], tmp_path, crew, show=False) == 0


@pytest.mark.slow
def test_another_model_than_the_sets_is_refused(tmp_path):
    item = PictureSet(str(GOLDEN / "dev"), "0" * 64, ("a cat",), (0,), 1)
    with Crew(1) as crew, pytest.raises(WorkFailed, match="it changed meanwhile"):
        draw([item], tmp_path, crew, show=False)
