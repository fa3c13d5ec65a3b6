"""The tasks that train `flux-emoji` from nothing: vae, text, flux, guidance, in this order; and its judge, scorer."""

from __future__ import annotations

TASKS = {
    "vae": "fastdiffusers.zoo.pretrain.vae:VaeTask",
    "text": "fastdiffusers.zoo.pretrain.text:TextTask",
    "flux": "fastdiffusers.zoo.pretrain.flux:FluxTask",
    "guidance": "fastdiffusers.zoo.pretrain.guidance:GuidanceTask",
    "scorer": "fastdiffusers.zoo.pretrain.scorer:ScorerTask",
}
"""Lazy targets by the word that `fastdiff pretrain` takes."""
