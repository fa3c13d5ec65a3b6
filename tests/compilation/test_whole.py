"""Whole networks as programs: the VAE's decoder and the text encoders, beside the transformer's blocks or alone."""

import numpy as np
import paddle
import pytest

from fastdiffusers.compilation import weights
from fastdiffusers.compilation.store import Store
from fastdiffusers.compilation.whole import WholeCall, WholeNetwork
from fastdiffusers.errors import CompileError, InputError
from fastdiffusers.session import accelerate
from fastdiffusers.testing import check_accelerator
from fastdiffusers_compile import choice

DECODER, CLIP, T5 = "the VAE's decoder", "the CLIP text encoder", "the T5 encoder"


@pytest.fixture
def picture(pipe):
    def drawn(**changes):
        given = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 4, "output_type": "np", **changes}
        return pipe(**given).images

    return drawn


needs_onnx = pytest.mark.skipif(choice.missing_for_onnx() != "", reason="the extra onnx is not installed")
ONNX = pytest.param("onnxruntime", marks=needs_onnx)


@pytest.mark.parametrize("words", ["inference", "inference:onednn=off", "to-static", ONNX])
def test_pictures_are_those_of_the_eager_networks(words, pipe, picture):
    plain = [picture(), picture(height=64, num_images_per_prompt=2)]
    with accelerate(pipe, f"{words}:parts=transformer/vae/text", steps=4) as session:
        found = [picture(), picture(height=64, num_images_per_prompt=2)]
        (record,) = session.report()
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(found, plain, strict=True))
    assert record.engaged and record.stats["calls"] == 4 and record.stats["greatest_error"] < 1e-4
    assert record.stats["whole_calls"] == {DECODER: 1, CLIP: 1, T5: 1}
    assert np.array_equal(picture(), plain[0])


def test_auto_takes_the_decoder_along_and_latents_do_not_need_it(pipe, picture):
    with accelerate(pipe, "cinn", steps=4) as session:
        picture()
        (record,) = session.report()
        assert record.engaged and record.stats["whole_calls"] == {DECODER: 1}
        assert "with oneDNN in float32 ran the VAE's decoder, 1 call" in record.effect
        picture(output_type="latent")
        (record,) = session.report()
    assert record.engaged and record.stats["whole_calls"] == {DECODER: 0} and "decoder" not in record.effect


def test_parts_may_leave_the_blocks_alone(pipe, picture):
    loop = pipe.transformer.block_loop
    with accelerate(pipe, "inference:parts=text", steps=4) as session:
        assert pipe.transformer.block_loop is loop
        for _ in range(2):  # of the latest generation, not of all
            picture()
        (record,) = session.report()
    assert record.engaged and record.stats["calls"] == 0 and record.stats["whole_calls"] == {CLIP: 1, T5: 1}


@pytest.mark.parametrize("words", ["inference", ONNX])
def test_one_dynamic_program_decodes_two_sizes_and_two_batches(words, pipe, picture):
    Store().clear()
    calls = [{}, {"height": 64}, {"num_images_per_prompt": 2}]
    plain = [picture(**changes) for changes in calls]
    with accelerate(pipe, f"{words}:parts=vae/text:dynamic=true", steps=4) as session:
        found = [picture(**changes) for changes in calls]
        (record,) = session.report()
    assert record.stats["compiled"] == 3 and record.stats["loaded"] == 0
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(found, plain, strict=True))


@pytest.mark.parametrize("name", ["vae.decoder.conv_in", "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"])
def test_changed_weights_are_seen(name, pipe, picture):
    layer = pipe
    for part in name.split("."):
        layer = layer[int(part)] if part.isdigit() else getattr(layer, part)
    saved = layer.weight.numpy().copy()
    try:
        with accelerate(pipe, "inference:parts=vae/text", steps=4) as session:
            picture()
            layer.weight.set_value(saved + 0.3)
            found = picture()
            (record,) = session.report()
        wanted = picture()
    finally:
        layer.weight.set_value(saved)
    assert "weights were changed" in record.effect
    assert np.abs(found - wanted).max() < 1e-4 < np.abs(picture() - wanted).max()


@pytest.mark.parametrize("words", ["inference", "inference:dynamic=true", "to-static", ONNX])
def test_an_answer_outlives_the_next_one(words, pipe, picture):
    """The prompt's embeddings are kept while those of the negative prompt are made by the same program."""
    guided = {"negative_prompt": "a house", "true_cfg_scale": 3.0}
    plain = picture(**guided)
    with accelerate(pipe, f"{words}:parts=text", steps=4) as session:
        found = picture(**guided)
        assert session.report()[0].stats["whole_calls"] == {CLIP: 2, T5: 2}
    assert np.abs(found - plain).max() < 1e-4 < np.abs(picture() - plain).max()


@pytest.mark.parametrize("words", ["inference", "to-static"])
def test_a_length_of_text_has_a_program_of_its_own_dynamic_or_not(words, pipe, picture):
    Store().clear()
    plain = [picture(max_sequence_length=length) for length in (8, 16)]
    for lengths in ((8, 16), (16,)):
        with accelerate(pipe, f"{words}:parts=text:dynamic=true", steps=4):
            found = [picture(max_sequence_length=length) for length in lengths]
        for length, one in zip(lengths, found, strict=True):
            assert np.abs(one - plain[(8, 16).index(length)]).max() < 1e-4


def test_a_call_that_fails_after_encoding_leaves_no_old_weights(pipe, picture):
    layer = pipe.text_encoder_2.encoder.block[0].layer[0].SelfAttention.q
    saved = layer.weight.numpy().copy()
    try:
        with accelerate(pipe, "inference:parts=text", steps=4):
            picture()
            with pytest.raises(InputError, match="latents"):
                picture(latents=np.zeros((1, 1, 1), np.float32))
            layer.weight.set_value(saved + 0.3)
            found = picture()
        assert np.abs(found - picture()).max() < 1e-4
    finally:
        layer.weight.set_value(saved)


def test_arguments_by_name_and_gradients(pipe):
    ids = paddle.to_tensor([[3, 4, 5]])
    with paddle.no_grad():
        plain = pipe.text_encoder_2(ids)
    with accelerate(pipe, "to-static:parts=text", steps=4):
        with paddle.no_grad():
            assert np.abs((pipe.text_encoder_2(input_ids=ids) - plain).numpy()).max() < 1e-5
        with pytest.raises(CompileError, match=r"what is compiled has no gradient; call it under paddle\.no_grad"):
            pipe.text_encoder_2(ids)
    assert not pipe.text_encoder_2(ids).stop_gradient


def test_arguments_that_only_a_name_can_give_are_refused():
    class Layer:
        def forward(self, ids, *, mask=None):
            return ids

    call = WholeCall(WholeNetwork("an encoder", "encoder"), Layer(), None)
    with pytest.raises(CompileError, match="an encoder is compiled and takes no mask"):
        call._in_order((1,), {"mask": 2})
    assert call._in_order((), {"ids": 1}) == (1,)


def test_weights_that_numpy_has_no_type_for_are_looked_at_too():
    layer = paddle.nn.Linear(3, 4).astype("bfloat16")
    before, kept = weights.glance(layer, True), weights.digest(layer)
    assert weights.glance(layer, True) == before and weights.digest(layer) == kept
    layer.weight.set_value(layer.weight + 1)
    assert weights.glance(layer, True) != before and weights.digest(layer) != kept


def test_a_pipeline_without_a_decoder_keeps_its_blocks_compiled(pipe, picture, monkeypatch):
    class Decodes:
        def __init__(self, vae):
            self.config, self.decode, self.unscale_latents = vae.config, vae.decode, vae.unscale_latents
            self.vae_scale_factor = vae.vae_scale_factor

    monkeypatch.setattr(pipe, "vae", Decodes(pipe.vae))
    with accelerate(pipe, "inference", steps=4) as session:
        picture()
        (record,) = session.report()
    assert record.engaged and record.effect.endswith("no vae.decoder to compile")
    with pytest.raises(CompileError, match=r"no vae.decoder to compile; leave vae out of parts"):
        accelerate(pipe, "inference:parts=vae", steps=4)


def test_a_kept_program_that_fails_its_check_is_made_anew_once(pipe, picture, monkeypatch):
    """As when something that is not in its key has changed: here the decoder's last activation."""
    Store().clear()
    with accelerate(pipe, "inference:parts=vae", steps=4):
        picture()
    monkeypatch.setattr(pipe.vae.decoder.conv_norm_out, "_epsilon", 0.5)
    plain = picture()
    with accelerate(pipe, "inference:parts=vae", steps=4) as session:
        found = picture()
        (record,) = session.report()
    assert record.engaged and "made anew (the VAE's decoder: the result is" in record.effect
    assert record.stats["loaded"] == record.stats["compiled"] == 1
    assert np.abs(found - plain).max() < 1e-4


@pytest.mark.slow
def test_the_contract_is_kept_with_all_parts():
    assert check_accelerator("inference", options={"parts": "transformer/vae/text"}).record.engaged


def test_a_decoder_that_fails_is_named(pipe, picture, monkeypatch):
    from fastdiffusers_compile.inference import InferenceEngine

    def fail(self, segment, files):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(InferenceEngine, "build", fail)
    with (
        accelerate(pipe, "inference:parts=vae", steps=4),
        pytest.raises(CompileError, match="failed: the VAE's decoder: RuntimeError: no such kernel"),
    ):
        picture()
    plain = picture()
    with accelerate(pipe, "inference:parts=vae:fallback=eager", steps=4) as session:
        found = picture()
        (record,) = session.report()
    assert np.array_equal(found, plain) and not record.engaged
    assert "FELL BACK to eager: the VAE's decoder" in record.effect
    assert "the VAE's decoder ran 1 time EAGER" in record.effect
