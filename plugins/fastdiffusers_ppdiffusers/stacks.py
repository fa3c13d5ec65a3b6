"""The blocks of ppdiffusers' transformers as data. No Paddle yet.

A block is called with names, as the transformers call it, and gives (text, image). Conditions are the time embedding
and whatever else the transformer passes: a rotary table, arguments for the attention.
"""

from __future__ import annotations

from typing import Any

from fastdiffusers.caching.stack import BlockGroup, BlockStack, Conditions, Form, ModuleSet, Streams

LOOP = "fastdiffusers_ppdiffusers.blocks:PlainLoop"


def _run_joint(block: Any, streams: Streams, conditions: Conditions) -> Streams:
    temb, rest = conditions
    text, image = block(hidden_states=streams[0], encoder_hidden_states=streams[1], temb=temb, **rest)
    return image, text


def _probe_joint(block: Any, streams: Streams, conditions: Conditions) -> Any:
    return block.norm1(streams[0], emb=conditions[0])[0]


def _run_single(block: Any, streams: Streams, conditions: Conditions) -> Streams:
    temb, rest = conditions
    return (block(hidden_states=streams[0], temb=temb, **rest),)


def _probe_single(block: Any, streams: Streams, conditions: Conditions) -> Any:
    return block.norm(streams[0], emb=conditions[0])[0]


def _merge(image: Any, text: Any) -> Any:
    import paddle

    return paddle.concat([text, image], axis=1)


def _image_of(joint: Any, text_tokens: int) -> Any:
    return joint[:, text_tokens:]


# image and text have weights of their own and attend jointly; SD3's last block has no text output and no text MLP
_JOINT = BlockGroup(
    layers="transformer_blocks",
    count="num_layers",
    form=Form.APART,
    run=_run_joint,
    probe=_probe_joint,
    modules={
        "all": ModuleSet((("attn", "forward"), ("ff", "forward"), ("ff_context", "forward")), 1.0),
        "attention": ModuleSet((("attn", "forward"),), 1 / 3),
        "mlp": ModuleSet((("ff", "forward"), ("ff_context", "forward")), 2 / 3),
    },
)

# attention and MLP share the output projection, which lies in the block's own forward: none can be left out whole
_SINGLE = BlockGroup(
    layers="single_transformer_blocks",
    count="num_single_layers",
    form=Form.JOINT,
    run=_run_single,
    probe=_probe_single,
    modules={
        "all": ModuleSet((("attn", "forward"), ("proj_mlp", "forward")), 7 / 12),
        "attention": ModuleSet((("attn", "forward"),), 1 / 4),
        "mlp": ModuleSet((("proj_mlp", "forward"),), 1 / 3),
    },
)

SD3_STACK = BlockStack(groups=(_JOINT,), loop=LOOP)
FLUX_STACK = BlockStack(groups=(_JOINT, _SINGLE), loop=LOOP, merge=_merge, image_of=_image_of)
