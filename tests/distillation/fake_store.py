"""What tests of whole distillations share: examples of nothing, and recipes with opponents."""

import numpy as np

from fastdiffusers.distillation.data import Examples

TOKENS, CELLS = 16, 64  # of text; of a 32 × 32 picture


class FakeStore:
    """Random examples of one size."""

    def __init__(self, guidance: bool = False, states: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.latents = rng.standard_normal((6, CELLS, 16)).astype(np.float32)
        self.text = rng.standard_normal((6, TOKENS, 16)).astype(np.float32)
        self.pooled = rng.standard_normal((6, 16)).astype(np.float32)
        self.guidance = rng.uniform(1, 4, 6).astype(np.float32) if guidance else None
        self.states = rng.standard_normal((6, 7, CELLS, 16)).astype(np.float32) if states else None
        self.meta = {"source": "nothing"}

    def __len__(self) -> int:
        return 6

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Examples:
        told = None if self.guidance is None else self.guidance[rows]
        states = None if self.states is None else self.states[rows]
        captions = [f"picture {row}" for row in rows]
        return Examples(self.latents[rows], self.text[rows], self.pooled[rows], (32, 32), captions, told, states, None)

    def empty(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full((1, TOKENS, 16), -1, np.float32), np.full((1, 16), -2, np.float32)


ALL = {"terms": ("consistency", "adversarial", "dmd", "reflow"), "dmd_critic": True}

RELATIONAL = {
    "terms": (*ALL["terms"], "relational"),
    "seeds_per_prompt": 2,
    "examples": 6,
    "batch": 4,
    "relational_weight": 4.0,
}

DMD2 = {
    "terms": ("dmd",),
    "dmd_weight": 1.0,
    "dmd_on": "clean",
    "dmd_critic": True,
    "dmd_simulation": True,
    "dmd_gan_weight": 0.01,
    "sampler": "lcm",
    "opponent_turns": 2,
    "stop_after": 9,
}
