"""Which scale a LoRA file means where it has no alpha tensors: its header, or what is known of who wrote it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.layout import read_json

ADAPTER = "lora_adapter_metadata"
"""The header's key under which diffusers keeps peft's configuration."""
OWN = "fastdiffusers_lora"
"""The header's key of this package: ``{"alpha": A, "ranks": [...]}``."""

LIGHTNING_ALPHA = 8.0
LIGHTNING_RANK = 32
_BLOCK = re.compile(r"(single_)?transformer_blocks\.\d+\.")
_LIGHTNING_LAYERS = {
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
}


class HeaderAlphas:
    """Alphas from the header of one file, for layers that have no alpha tensor.

    peft alone (keys that begin with ``base_model.``) has them in adapter_config.json beside the file.
    """

    def __init__(self, metadata: Mapping[str, str], path: Path, keys: Sequence[str]) -> None:
        self._path = path
        adapter = self._object(metadata, ADAPTER)
        beside = path.with_name("adapter_config.json")
        if any(key.startswith("base_model.") for key in keys) and beside.is_file():
            adapter = read_json(beside)
        # a pipeline writes the transformer's settings under this prefix, a single network writes them bare
        bare = {key.removeprefix("transformer."): value for key, value in adapter.items()}
        if bare.get("use_dora"):
            raise WeightsError(f"{str(path)!r} is a DoRA (use_dora in the header); valid: plain LoRA files")
        self._square_root = bool(bare.get("use_rslora"))
        own = self._object(metadata, OWN).get("alpha")
        default = bare.get("lora_alpha", own)
        self.default = None if default is None else self._number(default, "lora_alpha")
        self._pattern = {}
        for name, value in (bare.get("alpha_pattern") or {}).items():
            if re.search(r"[*+?()\[\]|\\$]", name):
                raise WeightsError(
                    f"{str(path)!r}: alpha_pattern {name!r} is a regular expression; valid: names of layers"
                )
            self._pattern[name.removeprefix("^")] = self._number(value, f"alpha_pattern {name!r}")

    def of(self, layer: str, rank: int) -> float | None:
        """The alpha (over r) of ``layer``, None if the header is silent."""
        fits = (value for name, value in self._pattern.items() if layer == name or layer.endswith(f".{name}"))
        alpha = next(fits, self.default)
        # rank-stabilised LoRA (Kalajdzievski 2023) divides by √r
        return alpha if alpha is None or not self._square_root else alpha * math.sqrt(rank)

    def _object(self, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
        try:
            found = json.loads(metadata.get(key) or "{}")
        except json.JSONDecodeError as error:
            raise WeightsError(f"{str(self._path)!r}: {key} in the header is not readable JSON: {error}") from None
        if not isinstance(found, dict):
            raise WeightsError(f"{str(self._path)!r}: {key} in the header is no JSON object")
        return found

    def _number(self, value: object, what: str) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        raise WeightsError(f"{str(self._path)!r}: {what} in the header is {value!r}; a number is needed")


def from_lightning(ranks: Mapping[str, int]) -> bool:
    """Whether layers and ranks are those of PaddleMIX's FLUX-Lightning (a file in Paddle's form without any alpha).

    Its trainer gave r = 32 and these targets, and no alpha, which was 8 by default; the published inference script
    multiplies by 0.25 to match.
    """
    kinds = {_BLOCK.sub("", path, count=1) for path in ranks}
    return set(ranks.values()) == {LIGHTNING_RANK} and kinds <= _LIGHTNING_LAYERS
