"""FLUX's blocks as data: double blocks (image and text apart), then single ones over [text, image]. No Paddle yet."""

from __future__ import annotations

from typing import Any

from fastdiffusers.caching.stack import BlockGroup, BlockStack, Conditions, Form, ModuleSet, Streams


def _run_double(block: Any, streams: Streams, conditions: Conditions) -> Streams:
    return tuple(block(*streams, *conditions))


def _probe_double(block: Any, streams: Streams, conditions: Conditions) -> Any:
    return block.norm1(streams[0], conditions[0])[0]


def _run_single(block: Any, streams: Streams, conditions: Conditions) -> Streams:
    return (block(streams[0], *conditions),)


def _probe_single(block: Any, streams: Streams, conditions: Conditions) -> Any:
    return block.norm(streams[0], conditions[0])[0]


def _merge(image: Any, text: Any) -> Any:
    import paddle

    return paddle.concat([text, image], axis=1)


def _image_of(joint: Any, text_tokens: int) -> Any:
    return joint[:, text_tokens:]


FLUX_STACK = BlockStack(
    groups=(
        BlockGroup(
            layers="transformer_blocks",
            count="num_layers",
            form=Form.APART,
            run=_run_double,
            probe=_probe_double,
            modules={
                "all": ModuleSet((("attn", "double"), ("ff", "forward"), ("ff_context", "forward")), 1.0),
                "attention": ModuleSet((("attn", "double"),), 1 / 3),
                "mlp": ModuleSet((("ff", "forward"), ("ff_context", "forward")), 2 / 3),
            },
        ),
        BlockGroup(
            layers="single_transformer_blocks",
            count="num_single_layers",
            form=Form.JOINT,
            run=_run_single,
            probe=_probe_single,
            # attention and MLP share the output projection, so only both together can be left out whole
            modules={
                "all": ModuleSet((("", "mixed"),), 1.0),
                "attention": ModuleSet((("attn", "single"),), 1 / 4),
                "mlp": ModuleSet((("proj_mlp", "forward"),), 1 / 3),
            },
        ),
    ),
    merge=_merge,
    image_of=_image_of,
    loop="fastdiffusers.models.transformer_flux:BlockLoop",
)
