"""Counting what is run of a diffusers transformer, on a stand-in with the same attributes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "peers"))
from counting import Work


class Module:
    """Calls its hooks, as torch's modules do, until they are removed."""

    def __init__(self):
        self.hooks = []

    def register_forward_hook(self, hook):
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def __call__(self):
        for hook in list(self.hooks):
            hook(self, (), None)


def pipeline():
    def block(norm):
        return SimpleNamespace(**{norm: Module()}, attn=SimpleNamespace(to_q=Module()))

    transformer = SimpleNamespace(
        transformer_blocks=[block("norm1")],
        single_transformer_blocks=[block("norm"), block("norm")],
        x_embedder=Module(),
    )
    return SimpleNamespace(transformer=transformer)


def test_it_counts_blocks_and_attentions_of_every_step_and_leaves_no_hook():
    pipe = pipeline()
    transformer, work = pipe.transformer, Work(pipe)
    double, singles = transformer.transformer_blocks[0], transformer.single_transformer_blocks
    with work.watched():
        transformer.x_embedder()  # all of it
        for norm, block in ((double.norm1, double), *((single.norm, single) for single in singles)):
            norm()
            block.attn.to_q()
        transformer.x_embedder()  # the double block without its attention
        double.norm1()
        transformer.x_embedder()  # nothing
    assert work.blocks == [3, 1, 0] and work.attentions == [3, 0, 0]
    share = (1 / 3 + 2 / 4) / 3
    assert work.computed() == pytest.approx((4 - share * (4 - 3)) / 9)
    transformer.x_embedder()
    assert len(work.blocks) == 3
    work.clear()
    assert work.blocks == work.attentions == []
