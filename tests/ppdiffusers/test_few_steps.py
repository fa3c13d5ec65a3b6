"""LCM-LoRA on a UNet: what is merged, how it draws, and that nothing stays behind."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastdiffusers
from fastdiffusers.errors import PlanError
from fastdiffusers_ppdiffusers.few_steps import merge_unet

LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (8, 8),
    "down_blocks.0.attentions.0.proj_in": (8, 8, 1, 1),
    "down_blocks.0.resnets.0.conv1": (8, 8, 3, 3),
}
PROMPT = "a red apple"


@pytest.fixture
def adapter(tmp_path):
    """A LoRA of three layers in the published keys, and what it adds to their weights in torch's orientation."""
    rng = np.random.default_rng(4)
    tensors, deltas = {}, {}
    for path, shape in LAYERS.items():
        one = (1,) * (len(shape) - 2)
        down = rng.standard_normal((2, *shape[1:])).astype(np.float32)
        up = rng.standard_normal((shape[0], 2, *one)).astype(np.float32)
        name = f"lora_unet_{path.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": np.float32(1.0)}
        deltas[path] = 0.5 * np.einsum("or,ri...->oi...", up.reshape(shape[0], 2), down)
    tensors = {name: np.asarray(value) for name, value in tensors.items()}
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors")
    return tmp_path / "pytorch_lora_weights.safetensors", deltas


def weights_of(unet) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in unet.named_parameters()}


def test_merged_once_at_its_scale_and_taken_out_bit_for_bit(pipelines, adapter):
    pipe = pipelines("sd15")
    file, deltas = adapter
    before = weights_of(pipe.pipe.unet)
    plain = pipe(PROMPT, seed=3, num_inference_steps=2, output_type="latent").latents
    with fastdiffusers.accelerate(pipe, f"lcm:adapter={file}:steps=3:scale=0.5") as session:
        during = weights_of(pipe.pipe.unet)
        for path, delta in deltas.items():
            delta = delta.T if delta.ndim == 2 else delta
            found = during[f"{path}.weight"] - before[f"{path}.weight"]
            assert np.abs(found - 0.5 * delta).max() < 1e-5, path
        changed = {name for name, value in during.items() if (value != before[name]).any()}
        assert changed == {f"{path}.weight" for path in LAYERS}
        first = pipe(PROMPT, seed=3, output_type="latent").latents
        again = pipe(PROMPT, seed=3, output_type="latent").latents
        other = pipe(PROMPT, seed=4, output_type="latent").latents
        (record,) = session.report()
        assert type(pipe.scheduler).__name__ == "LCMScheduler"
        # the same by hand: the stock scheduler, three steps, one branch
        session_pipe = pipe.pipe
        assert session_pipe.scheduler.timesteps.numpy().tolist() == [999, 679, 339]
    assert (first == again).all() and (first != other).any()
    assert record.engaged and record.effect.startswith("3 steps; 3 layers, rank 2, scale 0.5")
    assert record.stats["steps"] == 3 and record.stats["scale"] == pytest.approx(0.25)
    assert type(pipe.scheduler).__name__ == "PNDMScheduler" and pipe.info.default_setting.guidance == 7.5
    after = weights_of(pipe.pipe.unet)
    assert all((after[name] == value).all() for name, value in before.items())
    assert (pipe(PROMPT, seed=3, num_inference_steps=2, output_type="latent").latents == plain).all()


def test_a_published_dmd2_file_is_drawn_at_its_own_timesteps(pipelines, adapter):
    pipe = pipelines("sd15")
    with fastdiffusers.accelerate(pipe, f"dmd2:adapter={adapter[0]}") as session:
        pipe(PROMPT, seed=3, output_type="latent")
        (record,) = session.report()
        assert type(pipe.scheduler).__name__ == "LCMScheduler"
        assert pipe.pipe.scheduler.timesteps.numpy().tolist() == [999, 749, 499, 249]
    assert record.engaged and record.stats["steps"] == 4


def test_guidance_and_steps_that_it_was_not_made_for_are_refused(pipelines, adapter):
    pipe = pipelines("sd15")
    for words, said in (
        ({"guidance": 6.0}, "has its guidance in its weights; valid is --guidance 0 to 2, not 6"),
        ({"steps": 9}, "lcm draws in 4 steps, not 9; set lcm:steps=9"),
    ):
        with pytest.raises(PlanError, match=said):
            fastdiffusers.accelerate(pipe, f"lcm:adapter={adapter[0]}", **words)
    with pytest.raises(PlanError, match="draws with a LoRA file and sampler=lcm"):
        fastdiffusers.accelerate(pipe, f"lcm:adapter={adapter[0]}:sampler=euler")


def test_all_kinds_of_layers_are_found(pipelines, adapter):
    """Names and shapes of the tiny network are in torch's orientation."""
    found = {}

    class Kept:
        def patch(self, owner, name, value):
            found[id(owner)] = tuple(value.shape)

    merged = merge_unet(pipelines("sd15").pipe.unet, adapter[0], 1.0, Kept())
    assert merged.layers == 3 and merged.rank == 2 and merged.scale == 0.5
    assert sorted(found.values()) == [(8, 8), (8, 8, 1, 1), (8, 8, 3, 3)]
