"""FLUX's blocks: double (image and text have weights of their own and attend jointly) and single (one sequence)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.embeddings import Rope, apply_rope
from fastdiffusers.models.normalization import AdaLayerNormZero, RMSNorm, gated, modulate
from fastdiffusers.models.place import Linear, for_paddle_on_cpu, gelu_tanh


def attend(q: paddle.Tensor, k: paddle.Tensor, v: paddle.Tensor) -> paddle.Tensor:
    """softmax(q kᵀ / √D) v for [B, S, heads, D]; the heads come back joined as [B, S, heads·D]."""
    if for_paddle_on_cpu() and paddle.in_dynamic_mode():
        return _attend_eagerly(q, k, v)
    out = F.scaled_dot_product_attention(q, k, v)
    return out.reshape([*out.shape[:2], -1])


def _attend_eagerly(q: paddle.Tensor, k: paddle.Tensor, v: paddle.Tensor) -> paddle.Tensor:
    """`attend` on a CPU, the same bits.

    Heads come before the batch: to swap two axes behind a batch takes Paddle's copy of strided memory ten times longer.
    """
    batch, length, heads, dim = q.shape
    q, k, v = (
        x.reshape([-1, heads, dim]).transpose([1, 0, 2]).reshape([heads, batch, length, dim])
        for x in (q * dim**-0.5, k, v)
    )
    out = paddle.matmul(F.softmax(paddle.matmul(q, k, transpose_y=True)), v)
    return out.reshape([heads, -1, dim]).transpose([1, 0, 2]).reshape([batch, length, heads * dim])


class Attention(nn.Layer):
    """Projections and query/key norms of one attention; ``text`` adds those of the text stream (double blocks)."""

    def __init__(self, dim: int, heads: int, head_dim: int, text: bool) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        inner = heads * head_dim
        self.norm_q, self.norm_k = RMSNorm(head_dim), RMSNorm(head_dim)
        self.to_q, self.to_k, self.to_v = (Linear(dim, inner) for _ in range(3))
        if text:
            # a list of one: diffusers' to_out is (linear, dropout), its weight is called to_out.0.weight
            self.to_out = nn.LayerList([Linear(inner, dim)])
            self.norm_added_q, self.norm_added_k = RMSNorm(head_dim), RMSNorm(head_dim)
            self.add_q_proj, self.add_k_proj, self.add_v_proj = (Linear(dim, inner) for _ in range(3))
            self.to_add_out = Linear(inner, dim)

    def _split(self, x: paddle.Tensor) -> paddle.Tensor:
        return x.reshape([*x.shape[:2], self.heads, self.head_dim])

    def single(self, x: paddle.Tensor, rope: Rope) -> paddle.Tensor:
        """Self-attention over the joint sequence [B, S, C] without an output projection."""
        q = apply_rope(self.norm_q(self._split(self.to_q(x))), rope)
        k = apply_rope(self.norm_k(self._split(self.to_k(x))), rope)
        return attend(q, k, self._split(self.to_v(x)))

    def double(self, image: paddle.Tensor, text: paddle.Tensor, rope: Rope) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Joint attention of [text, image]; returns both streams after their output projections, image first."""
        q = paddle.concat(
            [
                self.norm_added_q(self._split(self.add_q_proj(text))),
                self.norm_q(self._split(self.to_q(image))),
            ],
            axis=1,
        )
        k = paddle.concat(
            [
                self.norm_added_k(self._split(self.add_k_proj(text))),
                self.norm_k(self._split(self.to_k(image))),
            ],
            axis=1,
        )
        v = paddle.concat([self._split(self.add_v_proj(text)), self._split(self.to_v(image))], axis=1)
        out = attend(apply_rope(q, rope), apply_rope(k, rope), v)
        length = text.shape[1]
        return self.to_out[0](out[:, length:]), self.to_add_out(out[:, :length])


class GeluProjection(nn.Layer):
    """Linear, then GELU in its tanh form."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = Linear(dim, hidden)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return gelu_tanh(self.proj(x))


class FeedForward(nn.Layer):
    """dim → 4·dim → dim. The middle entry keeps diffusers' numbering (net.0.proj, net.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.LayerList([GeluProjection(dim, 4 * dim), nn.Identity(), Linear(4 * dim, dim)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.net[2](self.net[0](x))


class FluxTransformerBlock(nn.Layer):
    """Double block: image [B, S, C] and text [B, T, C] in, both out."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm1_context = AdaLayerNormZero(dim, 6), AdaLayerNormZero(dim, 6)
        self.attn = Attention(dim, heads, head_dim, text=True)
        self.ff, self.ff_context = FeedForward(dim), FeedForward(dim)

    def forward(
        self, image: paddle.Tensor, text: paddle.Tensor, temb: paddle.Tensor, rope: Rope
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        image_in, *image_rest = self.norm1(image, temb)
        text_in, *text_rest = self.norm1_context(text, temb)
        image_out, text_out = self.attn.double(image_in, text_in, rope)
        image = self._rest(image, image_out, self.ff, *image_rest)
        text = self._rest(text, text_out, self.ff_context, *text_rest)
        if text.dtype == paddle.float16:
            # T5's outliers overflow half precision here; diffusers clips at the same place
            text = text.clip(-65504, 65504)
        return image, text

    @staticmethod
    def _rest(x, attended, ff, gate_msa, shift_mlp, scale_mlp, gate_mlp):
        x = gated(x, gate_msa, attended)
        return gated(x, gate_mlp, ff(modulate(x, shift_mlp, scale_mlp)))


class FluxSingleTransformerBlock(nn.Layer):
    """Single block over the joint sequence [B, T + S, C], text first: attention and MLP side by side, one output."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm = AdaLayerNormZero(dim, 3)
        self.proj_mlp = Linear(dim, 4 * dim)
        self.proj_out = Linear(heads * head_dim + 4 * dim, dim)
        self.attn = Attention(dim, heads, head_dim, text=False)

    def forward(self, joint: paddle.Tensor, temb: paddle.Tensor, rope: Rope) -> paddle.Tensor:
        normed, gate = self.norm(joint, temb)
        joint = gated(joint, gate, self.mixed(normed, rope))
        return joint.clip(-65504, 65504) if joint.dtype == paddle.float16 else joint

    def mixed(self, normed: paddle.Tensor, rope: Rope) -> paddle.Tensor:
        """Attention and MLP of the modulated input through the output projection they share, before the gate."""
        mlp = gelu_tanh(self.proj_mlp(normed))
        return self.proj_out(paddle.concat([self.attn.single(normed, rope), mlp], axis=-1))
