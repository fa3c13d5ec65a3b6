"""Golden runs of whole pipelines, computed by diffusers on a tiny checkpoint that diffusers itself saves.

Run where torch, diffusers and transformers are installed, after make_text.py (its tokenizers are used):
``python tests/golden/make_flux_pipeline.py``. Writes ``flux_pipeline/{dev,schnell}/`` (the whole directory layout) and
``flux_pipeline/{dev,schnell}.npz`` (final packed latents and pictures of every case).
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula  # noqa: E402

LENGTH = 24


def fill(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(formula(name, tuple(parameter.shape))))
    return module.eval()


def build(guidance):
    clip = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built")
    t5 = T5TokenizerFast.from_pretrained(HERE / "tokenizers" / "t5_built")
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            eos_token_id=clip.eos_token_id,
            bos_token_id=clip.bos_token_id,
            pad_token_id=clip.pad_token_id,
            projection_dim=16,
        )
    )
    text_encoder_2 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5),
            d_model=24,
            d_kv=12,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=8,
            relative_attention_max_distance=16,
        )
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=guidance, shift=3.0 if guidance else 1.0, base_shift=0.5, max_shift=1.15
    )
    return FluxPipeline(scheduler, fill(vae), fill(text_encoder), clip, fill(text_encoder_2), t5, fill(transformer))


def run(pipe, name, cases, **arguments):
    pipe.set_progress_bar_config(disable=True)
    seeds = arguments.pop("seeds")
    for output in ("latent", "np"):
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        generator = generators if len(seeds) > 1 else generators[0]
        with torch.no_grad():
            images = pipe(**arguments, generator=generator, max_sequence_length=LENGTH, output_type=output).images
        cases[f"{name}.{output}"] = np.asarray(images, np.float32)


def cases(name, guidance):
    folder = HERE / "flux_pipeline" / name
    shutil.rmtree(folder, ignore_errors=True)
    pipe = build(guidance)
    pipe.save_pretrained(folder)
    result = {}
    common = {"height": 24, "width": 32, "num_inference_steps": 28, "guidance_scale": 3.5}
    run(pipe, "two", result, prompt=["a red apple", "grinning face"], seeds=[5, 6], **common)
    run(pipe, "cfg", result, prompt="a red apple", negative_prompt="", true_cfg_scale=2.5, seeds=[7], **common)
    image = Image.fromarray((formula("picture", (24, 32, 3), 40.0) + 128).clip(0, 255).astype(np.uint8))
    result["picture"] = np.asarray(image)
    img2img = FluxImg2ImgPipeline(**pipe.components)
    run(img2img, "img2img", result, prompt="a cat", image=image, strength=0.6, seeds=[9], **common)
    run(
        img2img,
        "img2img2",
        result,
        prompt=["a cat", "dog"],
        image=[image, image],
        strength=0.35,
        seeds=[2**31, 3],
        **common,
    )
    np.savez_compressed(HERE / "flux_pipeline" / f"{name}.npz", **result)


if __name__ == "__main__":
    cases("dev", True)
    cases("schnell", False)
