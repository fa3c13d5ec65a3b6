"""Trains the transformer and, with it, the small T5 encoder: rectified flow on cached latents.

Source: Liu et al. 2023, "Flow Straight and Fast", eq. 1; Esser et al. 2024, "Scaling Rectified Flow Transformers",
section 3.1 (logit-normal times). x_σ = (1 - σ)·x₀ + σ·ε, the network learns ε - x₀.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.models.autoencoder_kl import AutoencoderKL
from fastdiffusers.models.clip_text import CLIPTextModel
from fastdiffusers.models.t5_encoder import T5EncoderModel
from fastdiffusers.models.tokenizers import CLIPTokenizer
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
from fastdiffusers.training.recipe import TrainerConfig, key
from fastdiffusers.training.task import ParameterGroup, Step, Task
from fastdiffusers.weights import load_layer, save_layer
from fastdiffusers.zoo.emoji import default_folder
from fastdiffusers.zoo.pretrain import drawing, latents
from fastdiffusers.zoo.pretrain.captions import GROUNDS, CaptionSource, build_tokenizers
from fastdiffusers.zoo.pretrain.dataset import open_pictures
from fastdiffusers.zoo.pretrain.pictures import grid, to_uint8
from fastdiffusers.zoo.pretrain.places import trained
from fastdiffusers.zoo.pretrain.select import muon_names

# Input, output and modulation; the final projections *inside* single blocks are hidden matrices.
OUTER = r"embed|\.linear\.|norm_out|^proj_out"

INPUTS = ("x", "sigma", "ids", "pooled", "guidance")


@dataclass(frozen=True)
class FluxConfig(TrainerConfig):
    """Recipe keys of ``fastdiff pretrain flux``."""

    data: str = key("", "folder of `fastdiff data emoji`; empty: its default place")
    vae: str = key("", "folder that `fastdiff pretrain vae` wrote; empty: its default place")
    text: str = key("", "folder that `fastdiff pretrain text` wrote; empty: its default place")
    core_only: bool = key(True, "only the concepts of the core list")
    coloured: float = key(0.5, "share of pictures on a coloured ground, half of them said", min=0.0, max=1.0)
    caption_drop: float = key(0.1, "share of empty captions", min=0.0, max=1.0)
    guidance: float = key(1.0, "the guidance that is fed in", min=0.0)
    num_layers: int = key(4, "double blocks", min=1)
    num_single_layers: int = key(8, "single blocks", min=1)
    heads: int = key(7, "attention heads", min=1)
    axes_dims_rope: tuple[int, ...] = key(
        (8, 12, 12), "rotary channels for (0, row, column); their sum is the head's", min=2
    )
    t5_width: int = key(128, "width of the T5 encoder, in heads of 32", min=32)
    t5_layers: int = key(2, "blocks of the T5 encoder", min=1)
    compile: bool = key(True, "train on a static graph (about a third faster on CPU)")
    sample_guidance: float = key(3.0, "classifier-free guidance of the picture grids", min=0.0)


class Velocity(nn.Layer):
    """The transformer with its T5 encoder, from token ids to a velocity; what is trained."""

    def __init__(self, transformer: FluxTransformer2DModel, text_encoder_2: T5EncoderModel) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoder_2 = text_encoder_2

    def forward(self, x, sigma, ids, pooled, guidance, cos, sin):
        return self.transformer(x, self.text_encoder_2(ids), pooled, sigma, (cos, sin), guidance)


class FluxTask(Task):
    """Loss: mean squared error of the velocity at σ = sigmoid(N(0, 1))."""

    Config = FluxConfig
    config: FluxConfig

    def build(self) -> list[ParameterGroup]:
        config = self.config
        self._prepare()
        self.tokenizer_2 = build_tokenizers(self.source)[1]
        transformer = FluxTransformer2DModel(
            FluxTransformer2DModel.Config(
                in_channels=self.latents.shape[-1],
                num_layers=config.num_layers,
                num_single_layers=config.num_single_layers,
                attention_head_dim=sum(config.axes_dims_rope),
                num_attention_heads=config.heads,
                joint_attention_dim=config.t5_width,
                pooled_projection_dim=self.text_encoder.config.hidden_size,
                guidance_embeds=True,
                axes_dims_rope=config.axes_dims_rope,
            )
        )
        start_quietly(transformer)
        self._finish(Velocity(transformer, T5EncoderModel(self._t5_config())))
        return self._groups()

    def _prepare(self) -> None:
        """Data, frozen parts, cached latents."""
        config = self.config
        folder = Path(config.data) if config.data else default_folder()
        vae_folder = trained(config.vae, "vae", "vae")
        self.vae = load_layer(AutoencoderKL, vae_folder)
        self.text_encoder = load_layer(CLIPTextModel, trained(config.text, "text", "text_encoder"))
        self.tokenizer = CLIPTokenizer.from_folder(trained(config.text, "text", "tokenizer"))
        self.size = int(self.vae.config.sample_size)
        self.data = open_pictures(folder, self.size, core_only=config.core_only)
        self.source = CaptionSource(self.data, config.coloured)
        self.latents = latents.encode_all(self.vae, self.data, vae_folder)
        self.prompts = drawing.example_prompts(self.data)
        self._hits = 0.0

    def _t5_config(self) -> Any:
        config = self.config
        return T5EncoderModel.Config(
            vocab_size=self.tokenizer_2.backend.get_vocab_size(),
            d_model=config.t5_width,
            d_kv=32,
            d_ff=2 * config.t5_width,
            num_layers=config.t5_layers,
            num_heads=config.t5_width // 32,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )

    def _finish(self, model: Velocity) -> None:
        self.model = model
        side = self.size // self.vae.vae_scale_factor
        text_ids = np.zeros((self.tokenizer_2.max_length, 3), dtype=np.float32)
        self.rope = model.transformer.rope(text_ids, latents.image_ids(side, side))
        self._wide_rope: tuple[paddle.Tensor, ...] | None = None
        # said by Paddle itself whenever a constant is made while a graph is recorded
        warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface", category=UserWarning)
        self.forward = paddle.jit.to_static(model.forward, full_graph=True) if self.config.compile else model.forward

    def _groups(self) -> list[ParameterGroup]:
        for layer in (self.vae, self.text_encoder):
            for parameter in layer.parameters():
                parameter.stop_gradient = True
        muon = muon_names(self.model.transformer, OUTER, "transformer.")
        muon |= muon_names(self.model.text_encoder_2, "shared|relative", "text_encoder_2.")
        return [ParameterGroup("model", dict(self.model.named_parameters()), muon)]

    @property
    def examples(self) -> int:
        return len(self.data)

    def describe(self) -> list[str]:
        concepts = len({entry["hexcode"] for entry in self.data.entries})
        counts = [sum(int(np.prod(p.shape)) for p in part.parameters()) / 1e6 for part in self.model.children()]
        return [
            f"FluxTransformer2DModel {counts[0]:.2f} M parameters, T5EncoderModel {counts[1]:.2f} M, "
            f"{self.latents.shape[3]} image and {self.tokenizer_2.max_length} text tokens",
            f"{len(self.data)} pictures of {concepts} concepts, {self.data.folder}",
        ]

    def encode(self, texts: list[str]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """T5 token ids and CLIP's pooled vector of ``texts``."""
        ids = self.tokenizer(texts).ids
        ends = (ids == self.text_encoder.config.eos_token_id).argmax(axis=1)
        with paddle.no_grad():
            pooled = self.text_encoder(paddle.to_tensor(ids[:, : int(ends.max()) + 1]))[1]
        return paddle.to_tensor(self.tokenizer_2(texts).ids), pooled

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, paddle.Tensor]:
        captions = self.source.draw(rows, rng)
        mirrored = self.data.draw_mirrored(rows, rng).astype(int)
        grounds = [GROUNDS.index(caption.background) for caption in captions]
        clean = self.latents[mirrored, rows, grounds].astype(np.float32)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        sigma = (1 / (1 + np.exp(-rng.standard_normal(len(rows))))).astype(np.float32)
        drop = rng.random(len(rows)) < self.config.caption_drop
        ids, pooled = self.encode(["" if gone else caption.text for gone, caption in zip(drop, captions, strict=True)])
        mix = sigma[:, None, None]
        return {
            "x": paddle.to_tensor((1 - mix) * clean + mix * noise),
            "velocity": paddle.to_tensor(noise - clean),
            "sigma": paddle.to_tensor(sigma),
            "ids": ids,
            "pooled": pooled,
            "guidance": paddle.full([len(rows)], self.config.guidance, dtype="float32"),
        }

    def predict(self, batch: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The velocity of a batch, through the static graph if there is one."""
        return self.forward(*(batch[name] for name in INPUTS), *self.wide_rope(int(batch["x"].shape[0])))

    def wide_rope(self, count: int) -> tuple[paddle.Tensor, ...]:
        """The rotary table for every head of ``count`` pictures.

        On CPU a product of equal shapes is many times faster than one that is broadcast along the heads.
        """
        if self._wide_rope is None or self._wide_rope[0].shape[0] != count:
            shape = [count, -1, self.config.heads, -1]
            self._wide_rope = tuple(part.expand(shape).contiguous() for part in self.rope)
        return self._wide_rope

    def step(self, batch: dict[str, paddle.Tensor], index: int) -> Step:
        error = self.predict(batch) - batch["velocity"]
        return Step(paddle.mean(error * error))

    def velocity(self, x: np.ndarray, sigma: float, texts: drawing.Encoded) -> np.ndarray:
        """The velocity at one level for the picture grids, by classifier-free guidance."""
        both = drawing.Encoded(*(paddle.concat([a, b]) for a, b in zip(texts, self._empty(len(x)), strict=True)))
        out = self._plain(np.concatenate([x, x]), sigma, both, self.config.guidance)
        told, untold = out[: len(x)], out[len(x) :]
        return untold + self.config.sample_guidance * (told - untold)

    def _empty(self, count: int) -> drawing.Encoded:
        return drawing.Encoded(*self.encode([""] * count))

    def _plain(self, x: np.ndarray, sigma: float, texts: drawing.Encoded, guidance: float) -> np.ndarray:
        count = len(x)
        with paddle.no_grad():
            return self.model(
                paddle.to_tensor(x.astype(np.float32)),
                paddle.full([count], sigma, dtype="float32"),
                texts.ids,
                texts.pooled,
                paddle.full([count], guidance, dtype="float32"),
                *self.rope,
            ).numpy()

    def draw(self, prompts: list[str], steps: int = 20, seed: int = 0) -> np.ndarray:
        """Packed latents drawn for ``prompts``, float32 ``[B, tokens, channels]``."""
        noise = np.random.default_rng(seed).standard_normal((len(prompts), *self.latents.shape[3:]), dtype=np.float32)
        texts = drawing.Encoded(*self.encode(prompts))
        return drawing.euler(lambda x, sigma: self.velocity(x, sigma, texts), noise, steps)

    def sample(self) -> np.ndarray:
        """The fixed prompts, four a row."""
        drawn = self.draw([prompt for prompt, _ in self.prompts])
        self._hits = drawing.recognised(drawn, [code for _, code in self.prompts], self.latents, self.data)
        return grid(to_uint8(latents.decode(self.vae, drawn, self.size)), 6)

    def validate(self) -> Mapping[str, float]:
        """Loss on one fixed batch, and how many of the last grid's pictures can be recognised."""
        rng = np.random.default_rng([self.config.seed, 3])
        batch = self.batch(rng.permutation(len(self.data))[:96], rng)
        with paddle.no_grad():
            error = self.model(*(batch[name] for name in INPUTS), *self.rope) - batch["velocity"]
        return {"fixed_loss": float(paddle.mean(error * error).item()), "grid_recognised": self._hits}

    def export(self, folder: Path) -> dict[str, Any]:
        """``transformer/``, ``text_encoder_2/`` and ``tokenizer_2/`` in the diffusers layout, float32."""
        save_layer(self.model.transformer, folder / "transformer")
        save_layer(self.model.text_encoder_2, folder / "text_encoder_2")
        self.tokenizer_2.save(folder / "tokenizer_2")
        prompts = drawing.bare_prompts(self.data, 48)
        drawn = self.draw([prompt for prompt, _ in prompts], seed=1)
        recognised = drawing.recognised(drawn, [code for _, code in prompts], self.latents, self.data)
        return {"fixed_loss": self.validate()["fixed_loss"], "recognised": recognised}


def start_quietly(transformer: FluxTransformer2DModel) -> None:
    """adaLN-Zero (Peebles & Xie 2022, section 3.2): every block begins as the identity, the output as zero."""
    with paddle.no_grad():
        for name, value in transformer.named_parameters():
            if ".linear." in name or name.startswith("proj_out."):
                value.set_value(paddle.zeros_like(value))
