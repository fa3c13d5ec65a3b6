"""Everything that the embedded model was to fulfil, except the teacher's table: grids, blind test sheet, figures.

    python benchmarks/embedded/accept.py --model flux-emoji --workers 3              # from the repository root
    python benchmarks/embedded/accept.py --only blind --answers answers.txt          # marks a blind test

Writes benchmarks/results/embedded.{json,md}, flux-emoji-grid.png and the other grids beside them; the blind test goes
to ``--sheet``. What is drawn is kept and not drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blind
import measures
import pictures
from accept_table import markdown
from bench_setup import Setup, parser, start, write_picture, write_report

from fastdiffusers.errors import InputError
from fastdiffusers.files import cache_dir


class Acceptance:
    """The parts, each a method that returns its figures; they share the data."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.world = setup.world()
        self.held_out = setup.world("held-out")
        self.place = setup.options.out.parent

    def picture(self, name: str) -> Path:
        return self.place / f"flux-emoji-{name}.png"

    def blind(self) -> dict[str, Any]:
        """The fixed grid, and the blind test made of it; with ``--answers`` how many are right."""
        prompts, drawn = pictures.fixed_grid(self.setup, self.picture("grid"))
        wishes = [self.world.read(prompt) for prompt in prompts]
        labels = [self.world.entry(wish.hexcode)["label"] for wish in wishes]
        asked = blind.questions(labels, self.world.labels())
        sheet = self.setup.options.sheet
        blind.write_sheet(sheet, sheet.with_name(f"{sheet.name}-key.json"), drawn, asked)
        result: dict[str, Any] = {"prompts": len(prompts), "candidates": blind.CANDIDATES}
        coloured = [i for i, wish in enumerate(wishes) if wish.ground is not None]
        result["grounds"] = measures.obeyed([wishes[i] for i in coloured], drawn[coloured])
        if self.setup.options.answers:
            try:
                text = self.setup.options.answers.read_text(encoding="utf-8")
            except OSError as error:
                raise InputError(f"cannot read {str(self.setup.options.answers)!r}: {error.strerror}") from None
            result.update(blind.marked(text, asked))
        return result

    def retrieval(self) -> dict[str, Any]:
        return measures.told_from_data(self.setup, self.world)

    def grounds(self) -> dict[str, Any]:
        return measures.grounds_obeyed(self.setup, self.world)

    def diversity(self) -> dict[str, Any]:
        return measures.diversity(self.setup, self.world)

    def guidance(self) -> list[dict[str, Any]]:
        pictures.guidance_grid(self.setup, self.world, self.picture("guidance"))
        return measures.guidance_acts(self.setup, self.world)

    def image_to_image(self) -> list[dict[str, Any]]:
        return pictures.image_to_image(self.setup, self.world, self.picture("image-to-image"))

    def true_guidance(self) -> list[dict[str, Any]]:
        return pictures.true_guidance(self.setup, self.world, self.picture("true-guidance"))

    def held_out_concepts(self) -> dict[str, Any]:
        result, drawn = measures.held_out_concepts(self.setup, self.world, self.held_out)
        write_picture(self.picture("held-out"), pictures.grid(drawn, min(8, len(drawn))))
        return result

    def vae(self) -> dict[str, Any]:
        pipe = self.setup.pipe
        from vae_quality import vae_psnr

        from fastdiffusers.zoo.emoji import default_folder
        from fastdiffusers.zoo.pretrain.dataset import open_pictures

        folder = self.setup.options.data or default_folder()
        return vae_psnr(pipe.vae, open_pictures(folder, self.setup.size, "held-out"))


PARTS: dict[str, Callable[[Acceptance], Any]] = {
    "blind": Acceptance.blind,
    "vae": Acceptance.vae,
    "retrieval": Acceptance.retrieval,
    "grounds": Acceptance.grounds,
    "diversity": Acceptance.diversity,
    "guidance": Acceptance.guidance,
    "image_to_image": Acceptance.image_to_image,
    "true_guidance": Acceptance.true_guidance,
    "held_out_concepts": Acceptance.held_out_concepts,
}


def former(path: Path, model: str, scorer: str) -> dict[str, Any]:
    """The parts of an earlier report of the same model and scorer, to be completed; none of another's."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        same = (report["model"]["sha256"], report["scorer"]["sha256"]) == (model, scorer)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: report[name] for name in PARTS if same and name in report}


def main(setup: Setup) -> None:
    acceptance = Acceptance(setup)
    about = setup.about()
    report = {**about, **former(setup.options.out, about["model"]["sha256"], about["scorer"]["sha256"])}
    for name in setup.options.only or PARTS:
        print(f"{name} …", flush=True)
        result = PARTS[name](acceptance)
        if name == "blind" and "right" not in result and "right" in report.get(name, {}):
            result = report[name]  # drawn again, but answered already
        report[name] = result
        write_report(setup.options.out, report, markdown(report))


if __name__ == "__main__":
    options = parser(__doc__, "embedded.json")
    options.add_argument("--only", nargs="*", choices=PARTS, help="some of the parts (all)")
    options.add_argument(
        "--sheet", type=Path, default=cache_dir() / "evaluation" / "blind", help="folder of the blind test"
    )
    options.add_argument("--answers", type=Path, help="answers to the blind test: a number and a name a line")
    start(options, main)
