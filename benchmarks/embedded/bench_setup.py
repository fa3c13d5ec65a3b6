"""What both scripts here start from: their common options, the model, the data, the place for pictures."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastdiffusers.environment import prepare
from fastdiffusers.errors import UserError
from fastdiffusers.evaluation import Crew, Judgement, PictureSet, draw, judge, save_pictures
from fastdiffusers.files import atomic_write, cache_dir
from fastdiffusers.models.info import ModelInfo, describe

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
SUITES = HERE.parent / "suites"


def parser(description: str | None, result: str) -> argparse.ArgumentParser:
    """The options that both scripts have."""
    options = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    options.add_argument("--model", default="flux-emoji", help="embedded model or folder")
    options.add_argument("--data", type=Path, help="folder of `fastdiff data emoji` (its default place)")
    options.add_argument("--scorer", type=Path, help="folder of a scorer (the shipped one)")
    options.add_argument("--workers", type=int, default=3, help="processes of one thread each")
    options.add_argument("--guidance", type=float, default=3.5)
    options.add_argument("--coloured", type=float, help="share of pictures on a colour (that of the model's training)")
    options.add_argument("--work", type=Path, default=cache_dir() / "evaluation", help="pictures are kept here")
    options.add_argument("--out", type=Path, default=RESULTS / result, help="JSON; the Markdown is written beside it")
    return options


@dataclass(frozen=True)
class Setup:
    """A model to be judged, by whom, with what."""

    info: ModelInfo
    options: argparse.Namespace
    crew: Crew

    @property
    def root(self) -> Path:
        """The folder of this model's pictures."""
        return self.options.work / f"{self.info.name}-{self.info.sha256[:12]}"

    @cached_property
    def size(self) -> int:
        return int(self.info.vae["sample_size"])

    def world(self, split: str = "train") -> Any:
        """The core concepts of one split at the model's size, with the captions of its training."""
        from wishes import World

        from fastdiffusers.zoo.emoji import default_folder
        from fastdiffusers.zoo.pretrain.captions import CaptionSource
        from fastdiffusers.zoo.pretrain.dataset import open_pictures

        folder = self.options.data or default_folder()
        data = open_pictures(folder, self.size, split, core_only=True)
        return World(data, CaptionSource(data, self.coloured).sampler)

    @cached_property
    def coloured(self) -> float:
        """Share of pictures on a coloured ground, as the model was trained."""
        if self.options.coloured is not None:
            return float(self.options.coloured)
        made = self.info.card.get("made", {})
        return float(made.get("flux", {}).get("recipe", {}).get("coloured", 0.5))

    @cached_property
    def pipe(self) -> Any:
        """The model as a pipeline in this process, for what `Sampler` does not do."""
        import fastdiffusers

        return fastdiffusers.load(self.options.model)

    def set(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int, mu: float | None = None, **other: Any
    ) -> PictureSet:
        """A set of this model's pictures; ``guidance`` is the option's unless given."""
        guidance = other.pop("guidance", self.options.guidance)
        model = str(self.info.path.resolve())
        return PictureSet(model, self.info.sha256, tuple(prompts), tuple(map(int, seeds)), steps, guidance, mu)

    def draw(self, *sets: PictureSet) -> list[np.ndarray]:
        """The pictures of sets, drawn if they are not on disk yet."""
        draw(sets, self.root, self.crew)
        return [item.load(self.root) for item in sets]

    def judge(self, *sets: PictureSet) -> list[Judgement]:
        """What the scorer says of sets, drawn if need be."""
        draw(sets, self.root, self.crew)
        return judge(sets, self.root, self.crew, self.options.scorer)

    def judge_pictures(self, pictures: np.ndarray, prompts: Sequence[str]) -> Judgement:
        """What the scorer says of pictures that are not the model's. Kept by their content."""
        digest = hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()
        item = PictureSet("real renderings", digest, tuple(prompts), (0,) * len(prompts), 1)
        if item.missing(self.root):
            save_pictures(item, self.root, pictures)
        return judge([item], self.root, self.crew, self.options.scorer)[0]

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """The scorer's unit vectors of captions."""
        import fastdiffusers.scorer

        return fastdiffusers.scorer.load(self.options.scorer).embed_texts(list(texts))

    def about(self) -> dict[str, Any]:
        """What every report begins with."""
        import fastdiffusers.scorer

        scorer = fastdiffusers.scorer.load(self.options.scorer)
        return {
            "model": {"name": self.info.name, "sha256": self.info.sha256},
            "scorer": {"sha256": scorer.sha256},
            "guidance_scale": self.options.guidance,
            "coloured": self.coloured,
            "size": self.size,
        }


def write_report(path: Path, report: dict[str, Any], markdown: str) -> None:
    """JSON at ``path`` and Markdown beside it, each whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_write(path.with_suffix(".md")) as temporary:
        temporary.write_text(markdown.rstrip() + "\n", encoding="utf-8")


def write_picture(path: Path, pixels: np.ndarray, enlarge: int = 1) -> None:
    """uint8 ``[H, W, 3]`` as a PNG, enlarged by a whole number (Lanczos)."""
    image = Image.fromarray(pixels)
    if enlarge > 1:
        image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.LANCZOS)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def start(options: argparse.ArgumentParser, script: Callable[[Setup], None]) -> None:
    """Run a script; a `UserError` is one line and exit code 2."""
    arguments = options.parse_args()
    try:
        prepare()
        with Crew(arguments.workers) as crew:
            script(Setup(describe(arguments.model), arguments, crew))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what is drawn is kept, start again to go on", file=sys.stderr)
        sys.exit(130)
