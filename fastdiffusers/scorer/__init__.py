"""The scorer: a contrastive image-text network that judges pictures of the embedded model. Imports no Paddle by itself.

``scorer = fastdiffusers.scorer.load()`` opens the shipped one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.errors import WeightsError

if TYPE_CHECKING:
    from fastdiffusers.scorer.scorer import Scorer

SHIPPED = Path(__file__).parents[1] / "zoo" / "emoji_scorer"
"""The scorer of `flux-emoji`'s concepts that comes with the package."""
SHA256 = "6d9cb87d47998df215166bd80bec9da51e53db770127763cc7139dc4b10b74c7"
"""Of the shipped weights: figures of different reports may be compared only if one network gave them."""

__all__ = ["SHA256", "SHIPPED", "load"]


def load(folder: Path | str | None = None) -> Scorer:
    """Open the shipped scorer, or one that `fastdiff pretrain scorer` wrote into ``folder``.

    Raises `WeightsError` for a folder without a scorer, and for shipped weights that are not those of this release.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.files import sha256_file
    from fastdiffusers.weights.layout import weight_files

    place = SHIPPED if folder is None else Path(folder)
    files = weight_files(place)
    if len(files) != 1:
        raise WeightsError(f"{str(place)!r} holds weights in {len(files)} files; a scorer has one")
    digest = sha256_file(files[0])
    if folder is None and digest != SHA256:
        raise WeightsError(f"{str(files[0])!r} has the SHA-256 {digest}, this release has {SHA256}; install it again")
    prepare()
    from fastdiffusers.scorer.network import ScorerNetwork
    from fastdiffusers.scorer.scorer import Scorer
    from fastdiffusers.weights.layers import load_layer

    return Scorer(load_layer(ScorerNetwork, place), digest)
