"""A cache keeps nothing of the weights: after a change of them the next picture is that of a fresh attach."""

import pytest
from preset_options import ENGAGED

from fastdiffusers.session import accelerate


def draw(pipe):
    return pipe("a red apple", seed=1, num_inference_steps=10, output_type="latent").images


@pytest.mark.parametrize("name", sorted(ENGAGED))
def test_weights_changed_between_two_pictures_take_effect_as_in_a_fresh_attach(name, pipe):
    words = f"{name}:{ENGAGED[name]}"
    layers = [pipe.transformer.transformer_blocks[0].ff.net[2], pipe.transformer.single_transformer_blocks[1].proj_out]
    saved = [layer.weight.numpy().copy() for layer in layers]
    try:
        with accelerate(pipe, words, steps=10):
            before = draw(pipe)
            for layer, weight in zip(layers, saved, strict=True):
                layer.weight.set_value(weight + 0.2)
            changed = draw(pipe)
        with accelerate(pipe, words, steps=10):
            fresh = draw(pipe)
    finally:
        for layer, weight in zip(layers, saved, strict=True):
            layer.weight.set_value(weight)
    assert changed.tobytes() == fresh.tobytes() != before.tobytes()
