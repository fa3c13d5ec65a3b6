"""The table "teacher at 1, 2, 4, 8, 16, 28, 50 steps": how far few steps are from many, in distribution and by picture.

    python benchmarks/embedded/teacher.py --model flux-emoji --workers 3        # from the repository root

Writes benchmarks/results/teacher.json and .md after every row, and goes on where it was when started again. About
1 M evaluations of the transformer with the defaults; ``--count`` and ``--best-steps`` make it shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bench_setup import Setup, parser, start, write_report
from teacher_table import markdown

from fastdiffusers.evaluation import Judgement, PictureSet
from fastdiffusers.evaluation.against import spread
from fastdiffusers.metrics import frechet_distance, psnr, retrieval

STEPS = (1, 2, 4, 8, 16, 28, 50)
REFERENCE = 50
FEW, REST = (1, 2, 4, 8), (50, 16, 28)
"""In which order the rows are drawn: what decides first."""
SHIFTS = (-1.5, -1.0, -0.5, 0.0, 0.46, 1.0, 1.5)
FEW_SHIFTS = (-0.5, 0.0, 0.46)
"""Of many steps, where they matter little. 0.46 is FLUX.1-dev's rule at 36 tokens."""
MANY = 16
WIDEN, LIMIT = 0.5, 3.0
SEEDS = {"rows": 0, "reference": 10_000_000, "search": 20_000_000}
CAPTION_SEED, SEARCH_CAPTION_SEED, REAL_SEEDS = 1, 2, (3, 4)
PAIRED = 512


class Study:
    """The sets of one table, and its rows as they become known."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        options = setup.options
        world = setup.world()
        wishes = world.captions(options.count, np.random.default_rng(CAPTION_SEED))
        self.prompts = [wish.text for wish in wishes]
        sought = world.captions(options.search_count, np.random.default_rng(SEARCH_CAPTION_SEED))
        self.search_prompts = [wish.text for wish in sought]
        self.report: dict[str, Any] = {
            **setup.about(),
            "n": options.count,
            "concepts": len(world.concepts),
            "different_captions": len(set(self.prompts)),
            "reference_steps": REFERENCE,
            "paired": min(PAIRED, options.count),
            "complete": False,
            "floor": None,
            "rows": [],
            "search": {"n": options.search_count, "n_many": options.search_count // 2, "fd": {}},
        }
        self.real = [
            setup.judge_pictures(world.render(wishes, np.random.default_rng(s)), self.prompts) for s in REAL_SEEDS
        ]
        self.report["real"] = {
            "floor": frechet_distance(self.real[0].features, self.real[1].features),
            **self._quality(self.real[0]),
        }
        reference = self._set("reference", self.prompts, REFERENCE, 0.0)
        self.reference = setup.judge(reference)[0].features
        self.fifty: np.ndarray | None = None  # the first pictures of the 50-step row, once they are drawn
        self._judged: dict[str, Judgement] = {}

    def uniform(self, steps: int) -> None:
        """Add the row of unshifted levels."""
        item = self._set("rows", self.prompts, steps, 0.0)
        judgement = self.setup.judge(item)[0]
        if steps == REFERENCE:
            self.report["floor"] = frechet_distance(self.reference, judgement.features)
            self.fifty = item.load(self.setup.root)[:PAIRED]
        self._add("uniform", item, judgement)

    def best(self, steps: int) -> None:
        """Search the shift on pictures of its own, then add its row."""
        shifts, prompts = SHIFTS, self.search_prompts
        if steps >= MANY:
            shifts, prompts = FEW_SHIFTS, prompts[: len(prompts) // 2]

        def distances(some: Sequence[float]) -> list[float]:
            judged = self.setup.judge(*(self._set("search", prompts, steps, mu) for mu in some))
            return [frechet_distance(self.reference, one.features) for one in judged]

        found = searched(distances, shifts)
        self.report["search"]["fd"][str(steps)] = {f"{mu:g}": value for mu, value in found.items()}
        item = self._set("rows", self.prompts, steps, min(found, key=lambda mu: found[mu]))
        self._add("best shift", item, self.setup.judge(item)[0])

    def _add(self, schedule: str, item: PictureSet, judgement: Judgement) -> None:
        row = {
            "steps": item.steps,
            "schedule": schedule,
            "mu": item.mu,
            "fd": frechet_distance(self.reference, judgement.features),
            "fd_std": spread(self.reference, judgement.features),
            "fd_real": frechet_distance(self.real[0].features, judgement.features),
            **self._quality(judgement),
        }
        self._judged[item.name] = judgement
        self.report["rows"].append(row)
        row["set"] = item.name
        self.finish()

    def finish(self) -> None:
        """Fill in what depends on the 50-step row, and write."""
        floor = self.report["floor"]
        for row in self.report["rows"]:
            if floor is not None:
                row["fd_excess"] = row["fd"] - floor
                row["excess_over_floor"] = row["fd_excess"] / floor
            if self.fifty is not None and "psnr" not in row:
                row["psnr"] = self._same_noise(row)
        self.report["rows"].sort(key=lambda row: (row["schedule"] != "uniform", row["steps"]))
        write_report(self.setup.options.out, self.report, markdown(self.report))

    def latency(self) -> None:
        """Seconds a picture in a plain call of the pipeline, one at a time, for every step count."""
        from fastdiffusers.environment import current

        pipe, times = self.setup.pipe, {}
        pipe(self.prompts[0], seed=0, num_inference_steps=2)
        for steps in STEPS:
            runs = []
            for i in range(3 if steps > MANY else 5):
                began = time.perf_counter()
                pipe(self.prompts[i], seed=i, num_inference_steps=steps, guidance_scale=self.setup.options.guidance)
                runs.append(time.perf_counter() - began)
            times[steps] = float(np.median(runs))
        self.report["threads"] = current().threads
        for row in self.report["rows"]:
            row["latency"] = times[row["steps"]]

    def _set(self, role: str, prompts: list[str], steps: int, mu: float) -> PictureSet:
        # one step starts at 1 whatever the shift: the same pictures, not drawn twice
        return self.setup.set(prompts, range(SEEDS[role], SEEDS[role] + len(prompts)), steps, 0.0 if steps == 1 else mu)

    def _quality(self, judgement: Judgement) -> dict[str, float]:
        return {
            "retrieval": retrieval(judgement.images, judgement.texts, self.prompts),
            "clip": float(judgement.clip_scores.mean()),
        }

    def _same_noise(self, row: dict[str, Any]) -> float | None:
        """Mean PSNR of the first pictures against those of 50 steps; None for these themselves."""
        assert self.fifty is not None
        item = self._set("rows", self.prompts, row["steps"], row["mu"])
        pictures = item.load(self.setup.root)[: len(self.fifty)]
        if np.array_equal(pictures, self.fifty):
            return None
        return float(np.mean([min(psnr(a, b), 99.0) for a, b in zip(pictures, self.fifty, strict=True)]))


def searched(distances: Callable[[Sequence[float]], list[float]], shifts: Sequence[float]) -> dict[float, float]:
    """The distance of every shift, in order; while the best one is at an end, others beyond it are tried too."""
    found = dict(zip(shifts, distances(shifts), strict=True))
    while True:
        best = min(found, key=lambda mu: found[mu])
        beyond = [mu for mu in (min(found) - WIDEN, max(found) + WIDEN) if abs(mu - best) <= WIDEN and abs(mu) <= LIMIT]
        if best not in (min(found), max(found)) or not beyond:
            return dict(sorted(found.items()))
        found.update(zip(beyond, distances(beyond), strict=True))


def main(setup: Setup) -> None:
    study = Study(setup)
    sought = setup.options.best_steps
    for some in (FEW, REST):
        for steps in some:
            study.uniform(steps)
        for steps in sorted(set(some) & set(sought)):
            study.best(steps)
    study.latency()
    study.report["complete"] = True
    study.finish()


if __name__ == "__main__":
    options = parser(__doc__, "teacher.json")
    options.add_argument("--count", type=int, default=4000, help="pictures of a row")
    options.add_argument("--search-count", type=int, default=1000, help="pictures for each shift that is tried")
    options.add_argument(
        "--best-steps", type=int, nargs="*", default=[2, 4, 8, 16, 28], choices=STEPS[1:], help="step counts to search"
    )
    start(options, main)
