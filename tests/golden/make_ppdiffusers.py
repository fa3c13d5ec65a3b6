"""Golden runs of Stable Diffusion 1.5, XL and 3, computed by diffusers on tiny models whose weights are formulas.

Run where torch, diffusers and transformers are installed, after make_text.py (its tokenizers are used):
``python tests/golden/make_ppdiffusers.py``. Writes ``ppdiffusers/{sd15,sdxl,sd3}.json`` (every file of the checkpoint's
layout as text, and the shape of every weight) and ``ppdiffusers/{sd15,sdxl,sd3}.npz`` (final latents and pictures).
`ppdiffusers_checkpoint.write` makes a folder of them again, without torch.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula  # noqa: E402

LENGTH = 24
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SIZE = {"height": 24, "width": 32}


def fill(module, part):
    """Give every weight, and every buffer that is saved, the numbers of its name; returns the names with shapes."""
    shapes = {}
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            # the hub's files have this prefix, which transformers has dropped since
            wanted = name
            if part.startswith("text_encoder") and "encoder.block" not in name and name[:4] != "text":
                wanted = (
                    f"text_model.{name}" if name not in ("shared.weight", "encoder.final_layer_norm.weight") else name
                )
            if name == "encoder.embed_tokens.weight":
                continue
            shapes[wanted] = list(tensor.shape)
            tensor.copy_(torch.from_numpy(formula(f"{part}.{wanted}", tuple(tensor.shape))))
    module.eval()
    return shapes


def autoencoder(shift=None):
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.18215 if shift is None else 1.5305,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


def clip(tokenizer, projected=False, layers=2, act="quick_gelu"):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=16,
        hidden_act=act,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def unet(**more):
    return UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        **more,
    )


def sd15():
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built")
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=unet(cross_attention_dim=16, attention_head_dim=2),
        scheduler=PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl():
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built")
    second = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built", pad_token="!")
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip(tokenizer, layers=3),
        tokenizer=tokenizer,
        text_encoder_2=clip(second, projected=True, layers=3, act="gelu"),
        tokenizer_2=second,
        unet=unet(
            cross_attention_dim=32,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def sd3():
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built")
    second = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip_built", pad_token="!")
    t5 = T5TokenizerFast.from_pretrained(HERE / "tokenizers" / "t5_built")
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=4,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=40,
            caption_projection_dim=32,
            pooled_projection_dim=32,
            out_channels=4,
            pos_embed_max_size=24,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(shift=0.0609),
        text_encoder=clip(tokenizer, projected=True, layers=3),
        tokenizer=tokenizer,
        text_encoder_2=clip(second, projected=True, layers=3, act="gelu"),
        tokenizer_2=second,
        text_encoder_3=T5EncoderModel(
            T5Config(
                vocab_size=len(t5),
                d_model=40,
                d_kv=12,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
                relative_attention_num_buckets=8,
                relative_attention_max_distance=16,
            )
        ),
        tokenizer_3=t5,
    )


def run(pipe, name, cases, seeds, **arguments):
    pipe.set_progress_bar_config(disable=True)
    for output in ("latent", "np"):
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        generator = generators if len(seeds) > 1 else generators[0]
        with torch.no_grad():
            images = pipe(**arguments, generator=generator, output_type=output).images
        cases[f"{name}.{output}"] = np.asarray(images, np.float32)


def files_of(folder):
    """Every JSON file of a checkpoint; of tokenizers, which transformers saves otherwise now, those of the hub."""
    found = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.json"))
        if not path.parent.name.startswith("tokenizer")
    }
    for place in sorted(folder.glob("tokenizer*")):
        source = HERE / "tokenizers" / ("t5_built" if place.name == "tokenizer_3" else "clip_built")
        for path in sorted(source.iterdir()):
            text = path.read_text(encoding="utf-8")
            if place.name == "tokenizer_2" and "pad_token" in text:
                text = json.dumps({**json.loads(text), "pad_token": "!"})
            found[f"{place.name}/{path.name}"] = text
    return found


def make(name, pipe, img2img, length=None):
    parts = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    modules = {part: getattr(pipe, part) for part in parts if getattr(pipe, part, None) is not None}
    shapes = {part: fill(module, part) for part, module in modules.items()}
    with tempfile.TemporaryDirectory() as place:
        pipe.save_pretrained(place)
        content = {"files": files_of(Path(place)), "weights": shapes}
    (HERE / "ppdiffusers" / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    more = {} if length is None else {"max_sequence_length": length}
    cases = {}
    run(pipe, "plain", cases, [5], prompt="a red apple", num_inference_steps=6, **SIZE, **more)
    run(pipe, "free", cases, [8], prompt="a cat", guidance_scale=1.0, num_inference_steps=5, **SIZE, **more)
    run(
        pipe,
        "two",
        cases,
        [6, 7],
        prompt=["a red apple", "grinning face"],
        negative_prompt=["dog", ""],
        guidance_scale=3.0,
        num_inference_steps=10,
        **SIZE,
        **more,
    )
    image = Image.fromarray((formula("picture", (24, 32, 3), 40.0) + 128).clip(0, 255).astype(np.uint8))
    cases["picture"] = np.asarray(image)
    changed = img2img(**pipe.components, **({"requires_safety_checker": False} if name == "sd15" else {}))
    run(
        changed,
        "img2img",
        cases,
        [9],
        prompt="a cat",
        image=image,
        strength=0.6,
        guidance_scale=4.0,
        num_inference_steps=10,
        **more,
    )
    np.savez_compressed(HERE / "ppdiffusers" / f"{name}.npz", **cases)


if __name__ == "__main__":
    shutil.rmtree(HERE / "ppdiffusers", ignore_errors=True)
    (HERE / "ppdiffusers").mkdir()
    make("sd15", sd15(), StableDiffusionImg2ImgPipeline)
    make("sdxl", sdxl(), StableDiffusionXLImg2ImgPipeline)
    make("sd3", sd3(), StableDiffusion3Img2ImgPipeline, LENGTH)
