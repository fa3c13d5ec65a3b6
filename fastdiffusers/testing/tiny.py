"""A FLUX pipeline small enough for tests: every part is there, the weights are random."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from fastdiffusers.environment import prepare

TEXTS = ("a red apple", "two blue houses by the sea", "a cat on a mat", "the sun over a green field")


def tiny_flux(
    folder: str | Path | None = None, *, seed: int = 0, layers: int = 2, single_layers: int = 4, guidance: bool = True
) -> Any:
    """A `FluxPipeline` with random weights: 32 wide, 2 heads, 32×32 pixels by default; the same for the same ``seed``.

    It is saved to ``folder`` (a temporary one that goes when the pipeline does, if None) and loaded from there, so that
    ``pipe.info`` describes real files. ``guidance``: with a guidance embedding, as FLUX.1-dev.
    """
    prepare()
    import paddle

    from fastdiffusers.models.info import describe
    from fastdiffusers.pipelines.flux import FluxPipeline

    place = Path(tempfile.mkdtemp(prefix="fastdiff-tiny-")) / "tiny-flux" if folder is None else Path(folder)
    state = paddle.get_rng_state()
    try:
        paddle.seed(seed)
        _build(layers, single_layers, guidance).save_pretrained(place)
        pipe = FluxPipeline.from_pretrained(describe(place))
    finally:
        paddle.set_rng_state(state)
        if folder is None and not (place / "model_index.json").is_file():
            shutil.rmtree(place.parent, ignore_errors=True)
    if folder is None:
        weakref.finalize(pipe, shutil.rmtree, place.parent, ignore_errors=True)
    return pipe


def _build(layers: int, single_layers: int, guidance: bool) -> Any:
    from fastdiffusers.models.autoencoder_kl import AutoencoderKL
    from fastdiffusers.models.clip_text import CLIPTextModel
    from fastdiffusers.models.t5_encoder import T5EncoderModel
    from fastdiffusers.models.tokenizer_training import build_clip_tokenizer, build_t5_tokenizer
    from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
    from fastdiffusers.pipelines.flux import FluxPipeline
    from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

    clip = build_clip_tokenizer(TEXTS, 540)
    t5 = build_t5_tokenizer(TEXTS, 160, max_length=16)
    levels = 2
    vae = AutoencoderKL.Config(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=32,
        scaling_factor=0.36,
        shift_factor=0.11,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    text = CLIPTextModel.Config(
        vocab_size=540,
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=2,
    )
    text_2 = T5EncoderModel.Config(vocab_size=160, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformer = FluxTransformer2DModel.Config(
        in_channels=4 * vae.latent_channels,
        num_layers=layers,
        num_single_layers=single_layers,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_2.d_model,
        pooled_projection_dim=text.hidden_size,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        transformer=FluxTransformer2DModel(transformer),
        vae=AutoencoderKL(vae),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=T5EncoderModel(text_2),
        tokenizer=clip,
        tokenizer_2=t5,
        scheduler=FlowMatchEulerDiscreteScheduler(
            FlowMatchEulerDiscreteScheduler.Config(use_dynamic_shifting=True, shift=3.0)
        ),
    )
