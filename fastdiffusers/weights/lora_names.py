"""How the layers of FLUX's transformer are called in LoRA files.

Two vocabularies: diffusers' (the one of this package) and that of the original release, which kohya's scripts and
ComfyUI use and in which query, key and value, and in single blocks also the MLP's first layer, are one layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, int]]
"""(in, out) of the base's linear layers, by path."""

_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.proj": ("attn.to_out.0",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_TOP = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
    "final_layer.linear": "proj_out",
}
SWAPPED = "norm_out.linear"
"""The layer whose output is [scale, shift] in diffusers and [shift, scale] in the original release."""

KOHYA = "lora_unet_"
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_TEXT = re.compile(r"(text_encoders?(_\d+)?[._]|lora_te\d*_|conditioner\.)")
_BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.")
_FACTOR = re.compile(
    r"(?P<stem>.+?)\.(?P<word>lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up"
    r"|lora_linear_layer\.down|lora_linear_layer\.up)(\.[\w-]+)?\.weight"
)
_DOWN = ("lora_A", "lora_down", "lora.down", "lora_linear_layer.down")


@dataclass(frozen=True)
class Part:
    """A key taken apart: the layer as the file calls it, what of it the tensor is, and in which words it was said."""

    stem: str
    role: str  # "down", "up" or "alpha"
    word: str


def part_of(key: str) -> Part | None:
    """What ``key`` names, None if it is nothing that a LoRA consists of."""
    if key.endswith(".alpha"):
        return Part(key.removesuffix(".alpha"), "alpha", "alpha")
    match = _FACTOR.fullmatch(key)
    if match is None:
        return None
    return Part(match["stem"], "down" if match["word"] in _DOWN else "up", match["word"])


def of_text_encoder(stem: str) -> bool:
    """Whether the layer belongs to a text encoder."""
    return _TEXT.match(stem) is not None


def original_names(shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """The original release's layer names of this base, each with the layer or layers it is here, in its order."""
    names: dict[str, tuple[str, ...]] = {}
    for kind, word, table in (("", "double", _DOUBLE), ("single_", "single", _SINGLE)):
        for index in block_indices(shapes, kind):
            for original, parts in table.items():
                full = tuple(f"{kind}transformer_blocks.{index}.{part}" for part in parts)
                if all(part in shapes for part in full):
                    names[f"{word}_blocks.{index}.{original}"] = full
    names |= {original: (path,) for original, path in _TOP.items() if path in shapes}
    return names


def block_indices(paths: Iterable[str], kind: str) -> list[int]:
    """The numbers of the blocks among ``paths``, of the ``kind`` "" (double) or "single_"."""
    found = (_BLOCK.match(path) for path in paths)
    return sorted({int(match[2]) for match in found if match and (match[1] or "") == kind})


class Names:
    """Finds the layers of one base under all the names that files give them."""

    def __init__(self, shapes: Shapes) -> None:
        self._own = {path: (path,) for path in shapes}
        self._original = original_names(shapes)
        self._joined = {KOHYA + name.replace(".", "_"): paths for name, paths in self._original.items()}
        self._joined |= {"lora_transformer_" + path.replace(".", "_"): (path,) for path in shapes}

    def find(self, stem: str) -> tuple[tuple[str, ...], bool] | None:
        """The layers that ``stem`` means and whether it is an original (kohya) name; None if the base has none such."""
        while prefix := next((prefix for prefix in _PREFIXES if stem.startswith(prefix)), None):
            stem = stem.removeprefix(prefix)
        if stem in self._own:
            return self._own[stem], False
        found = self._original.get(stem) or self._joined.get(stem)
        return (found, not stem.startswith("lora_transformer_")) if found else None
