"""A FLUX pipeline in Paddle with the parts, names and calls of a newer ppdiffusers than the published one.

Only the interface is theirs: blocks are called by name and give (text, picture), the network takes position ids and
σ, the pipeline runs the network twice a step for a negative prompt, within a progress bar.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import paddle
from paddle import nn

DIM, HEADS, TEXT, POOLED, CHANNELS = 16, 2, 12, 8, 8


class AdaNorm(nn.Layer):
    def __init__(self, chunks):
        super().__init__()
        self.chunks = chunks
        self.linear = nn.Linear(DIM, chunks * DIM)
        self.norm = nn.LayerNorm(DIM, weight_attr=False, bias_attr=False)

    def forward(self, x, emb=None):
        shift, scale, *gates = self.linear(nn.functional.silu(emb)).chunk(self.chunks, axis=1)
        return self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1), *gates


class Attention(nn.Layer):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, hidden_states, encoder_hidden_states=None, image_rotary_emb=None, **kwargs):
        text = 0 if encoder_hidden_states is None else encoder_hidden_states.shape[1]
        x = hidden_states if not text else paddle.concat([encoder_hidden_states, hidden_states], axis=1)
        q, k, v = (part.reshape([*x.shape[:2], HEADS, -1]) for part in self.qkv(x + image_rotary_emb).chunk(3, axis=-1))
        out = self.out(nn.functional.scaled_dot_product_attention(q, k, v).reshape(x.shape))
        return (out[:, text:], out[:, :text]) if text else out


class DoubleBlock(nn.Layer):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm1_context = AdaNorm(6), AdaNorm(6)
        self.attn = Attention()
        self.ff, self.ff_context = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, hidden_states, encoder_hidden_states, temb, image_rotary_emb=None, joint_attention_kwargs=None):
        image, gate, shift, scale, gate_mlp = self.norm1(hidden_states, emb=temb)
        text, text_gate, *_, text_gate_mlp = self.norm1_context(encoder_hidden_states, emb=temb)
        attended, text_attended = self.attn(
            hidden_states=image, encoder_hidden_states=text, image_rotary_emb=image_rotary_emb
        )
        hidden_states = hidden_states + gate.unsqueeze(1) * attended
        modulated = hidden_states * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
        hidden_states = hidden_states + gate_mlp.unsqueeze(1) * self.ff(modulated)
        encoder_hidden_states = encoder_hidden_states + text_gate.unsqueeze(1) * text_attended
        encoder_hidden_states = encoder_hidden_states + text_gate_mlp.unsqueeze(1) * self.ff_context(text)
        return encoder_hidden_states, hidden_states


class SingleBlock(nn.Layer):
    def __init__(self):
        super().__init__()
        self.norm = AdaNorm(3)
        self.proj_mlp = nn.Linear(DIM, 2 * DIM)
        self.proj_out = nn.Linear(3 * DIM, DIM)
        self.attn = Attention()

    def forward(self, hidden_states, temb, image_rotary_emb=None, joint_attention_kwargs=None):
        normed, gate = self.norm(hidden_states, emb=temb)
        attended = self.attn(hidden_states=normed, image_rotary_emb=image_rotary_emb)
        mixed = paddle.concat([attended, nn.functional.gelu(self.proj_mlp(normed))], axis=2)
        return hidden_states + gate.unsqueeze(1) * self.proj_out(mixed)


class Transformer(nn.Layer):
    def __init__(self, doubles=2, singles=3):
        super().__init__()
        self.config = {
            "num_layers": doubles,
            "num_single_layers": singles,
            "guidance_embeds": True,
            "patch_size": 1,
            "in_channels": CHANNELS,
        }
        self.x_embedder = nn.Linear(CHANNELS, DIM)
        self.context_embedder = nn.Linear(TEXT, DIM)
        self.time_embed, self.pooled_embed = nn.Linear(2, DIM), nn.Linear(POOLED, DIM)
        self.pos_embed = nn.Linear(3, DIM)
        self.transformer_blocks = nn.LayerList([DoubleBlock() for _ in range(doubles)])
        self.single_transformer_blocks = nn.LayerList([SingleBlock() for _ in range(singles)])
        self.proj_out = nn.Linear(DIM, CHANNELS)

    def forward(
        self,
        hidden_states,
        encoder_hidden_states=None,
        pooled_projections=None,
        timestep=None,
        img_ids=None,
        txt_ids=None,
        guidance=None,
        joint_attention_kwargs=None,
        controlnet_block_samples=None,
        controlnet_single_block_samples=None,
        return_dict=True,
    ):
        hidden_states = self.x_embedder(hidden_states)
        encoder_hidden_states = self.context_embedder(encoder_hidden_states)
        temb = self.time_embed(paddle.stack([timestep, guidance], axis=1)) + self.pooled_embed(pooled_projections)
        rotary = self.pos_embed(paddle.concat((txt_ids, img_ids), axis=0) / 10)
        for block in self.transformer_blocks:
            encoder_hidden_states, hidden_states = block(
                hidden_states=hidden_states,
                encoder_hidden_states=encoder_hidden_states,
                temb=temb,
                image_rotary_emb=rotary,
                joint_attention_kwargs=joint_attention_kwargs,
            )
        hidden_states = paddle.concat([encoder_hidden_states, hidden_states], axis=1)
        for block in self.single_transformer_blocks:
            hidden_states = block(
                hidden_states=hidden_states,
                temb=temb,
                image_rotary_emb=rotary,
                joint_attention_kwargs=joint_attention_kwargs,
            )
        output = self.proj_out(hidden_states[:, encoder_hidden_states.shape[1] :, ...])
        return (output,) if not return_dict else SimpleNamespace(sample=output)


class Scheduler:
    order = 1

    def __init__(self):
        self.config = SimpleNamespace(num_train_timesteps=1000, shift=1.0)
        self.timesteps = self.sigmas = None
        self._index = 0

    def set_timesteps(self, num_inference_steps=None, sigmas=None, mu=None):
        levels = np.asarray(sigmas, np.float32)
        self.timesteps = paddle.to_tensor(levels * 1000)
        self.sigmas = paddle.to_tensor(np.append(levels, np.float32(0)))
        self._index = 0

    def step(self, model_output, timestep, sample, return_dict=True):
        change = self.sigmas[self._index + 1] - self.sigmas[self._index]
        self._index += 1
        return (sample + change * model_output,)


class FluxPipeline:
    def __init__(self, seed=0, doubles=2, singles=3):
        state = paddle.get_rng_state()
        paddle.seed(seed)
        self.transformer = Transformer(doubles, singles)
        paddle.set_rng_state(state)
        self.transformer.eval()
        self.scheduler = Scheduler()
        self.vae = nn.Linear(2, 2)
        self.vae.config = {"sample_size": 64, "block_out_channels": [8, 8, 8, 8]}

    @contextlib.contextmanager
    def progress_bar(self, iterable=None, total=None):
        yield SimpleNamespace(update=lambda: None)

    @paddle.no_grad()
    def __call__(
        self,
        prompt=None,
        negative_prompt=None,
        true_cfg_scale=1.0,
        height=None,
        width=None,
        num_inference_steps=28,
        guidance_scale=3.5,
        num_images_per_prompt=1,
        latents=None,
    ):
        rows, columns = height // 16, width // 16
        told = _encode(prompt, num_images_per_prompt)
        away = _encode(negative_prompt, num_images_per_prompt) if negative_prompt is not None else None
        ids = np.zeros((rows, columns, 3), np.float32)
        ids[..., 1], ids[..., 2] = np.arange(rows)[:, None], np.arange(columns)
        fixed = {
            "img_ids": paddle.to_tensor(ids.reshape(-1, 3)),
            "txt_ids": paddle.zeros([4, 3]),
            "guidance": paddle.full([latents.shape[0]], guidance_scale, dtype="float32"),
            "joint_attention_kwargs": {},
            "return_dict": False,
        }
        n = num_inference_steps
        self.scheduler.set_timesteps(n, sigmas=np.linspace(1.0, 1 / n, n), mu=0.5)
        with (self.progress_bar or _no_bar)(total=n) as bar:
            for t in self.scheduler.timesteps:
                timestep = t.expand([latents.shape[0]]) / 1000
                v = self.transformer(hidden_states=latents, timestep=timestep, **told, **fixed)[0]
                if away is not None and true_cfg_scale > 1:
                    other = self.transformer(hidden_states=latents, timestep=timestep, **away, **fixed)[0]
                    v = other + true_cfg_scale * (v - other)
                latents = self.scheduler.step(v, t, latents, return_dict=False)[0]
                bar.update()
        return SimpleNamespace(images=latents)


def _no_bar(total):
    return contextlib.nullcontext(SimpleNamespace(update=lambda: None))


def _encode(prompt, copies):
    rng = np.random.default_rng(list(prompt.encode()) or [0])
    hidden = rng.standard_normal((1, 4, TEXT)).astype(np.float32).repeat(copies, 0)
    pooled = rng.standard_normal((1, POOLED)).astype(np.float32).repeat(copies, 0)
    return {"encoder_hidden_states": paddle.to_tensor(hidden), "pooled_projections": paddle.to_tensor(pooled)}


def draw_with(pipe):
    """``draw(**arguments)`` as the contract kit wants it."""

    def draw(prompt, seed, num_inference_steps, height, width, num_images_per_prompt=1, **more):
        shape = (num_images_per_prompt, (height // 16) * (width // 16), CHANNELS)
        noise = paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        return pipe(
            prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            num_images_per_prompt=num_images_per_prompt,
            latents=noise,
            **more,
        ).images.numpy()

    return draw
