"""The README beside a scorer's weights: what it is, how it was made, from whose pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.files import atomic_write
from fastdiffusers.weights.layout import read_json
from fastdiffusers.zoo.emoji import EmojiDataset

if TYPE_CHECKING:
    from fastdiffusers.scorer.network import ScorerConfig
    from fastdiffusers.zoo.pretrain.scorer import ScorerTaskConfig

_MEANINGS = {
    "retrieval": "own caption best among 100 of other concepts, pictures trained on",
    "held_back_retrieval": "the same, pictures never trained on (their concepts in other styles were)",
    "ground": "right background best of 9, all other words equal",
    "style": "right style best of those trained on, all other words equal",
    "features_variance": "share of the variance of the penultimate features on the axes kept",
}


def write_readme(
    folder: Path,
    recipe: ScorerTaskConfig,
    network: ScorerConfig,
    data: EmojiDataset,
    held_back: int,
    figures: Mapping[str, float],
) -> None:
    """Write ``README.md`` into a scorer's folder."""
    concepts = len({entry["hexcode"] for entry in data.entries})
    lines = [
        "# The scorer of flux-emoji",
        "",
        "A contrastive image-text network that judges pictures of the embedded model: CLIP score, retrieval, and "
        f"features for the Fréchet distance. It knows {concepts} concepts, {len(network.words)} words, plain coloured "
        "backgrounds and three drawing styles, and nothing else of the world.",
        "",
        "```python",
        "scorer = fastdiffusers.scorer.load()",
        'scorer.clip_score(pictures, ["a red apple on a blue background"])  # cosines',
        "scorer.features(pictures)  # [N, 64], for fastdiffusers.metrics.frechet_distance",
        "```",
        "",
        f"Residual convolutions over {network.image_size} px, gated convolutions over whole words; other architecture, "
        "split, captions and seed than the text encoder of flux-emoji. It has seen all concepts and backgrounds, also "
        "those held out from the generator; "
        f"{held_back} of the {len(data)} pictures (one style of a concept) it never saw.",
        "",
        f"The {network.features} features are the first principal axes of the penultimate image features of real "
        "renderings. They are not whitened; one number scales them, so that the variances of real renderings sum to 1.",
        "",
        f"Made by `fastdiff data emoji` and `fastdiff pretrain scorer`: {recipe.steps} steps of {recipe.batch} "
        f"pictures, seed {recipe.seed}. float16.",
        "",
        "| figure of the training's own check | value |",
        "|---|---|",
        *(f"| {_MEANINGS.get(name, name)} | {value:.3f} |" for name, value in figures.items()),
        "",
        "Trained on pictures and captions of:",
        "",
        *(
            f"- {source['package']} {source['version']} ({source['licence']}): {source['attribution']}"
            for source in _sources(data.folder)
        ),
        "",
    ]
    with atomic_write(folder / "README.md") as path:
        path.write_text("\n".join(lines), encoding="utf-8")


def _sources(folder: Path) -> list[dict[str, Any]]:
    """Where pictures and captions are from, by the data folder's card; none if it has none."""
    card = folder / "card.json"
    return list(read_json(card).get("sources", [])) if card.is_file() else []
