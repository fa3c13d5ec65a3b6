"""Runs of the test pipeline: the same prompt and seed, with and without the accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdiffusers.accelerator import one_line
from fastdiffusers.errors import UserError
from fastdiffusers.plan import Plan
from fastdiffusers.session import Session, accelerate
from fastdiffusers.testing.contract import ContractViolation
from fastdiffusers.testing.snapshot import Snapshot

PROMPT, OTHER_PROMPT = "a red apple", "two blue houses by the sea"


class Runner:
    """Draws with one pipeline under one plan and remembers what fresh sessions give."""

    def __init__(self, pipe: Any, plan: Plan, steps: int) -> None:
        self.pipe = pipe
        self.plan = plan
        self.name = ",".join(item.spec.name for item in plan.items)
        self.steps = steps
        info = pipe.info if plan.info is None else plan.info
        self.features = info.features
        size = info.default_setting
        self.base: dict[str, Any] = {
            "prompt": PROMPT,
            "seed": 1,
            "num_inference_steps": steps,
            "height": size.height,
            "width": size.width,
            "output_type": "latent",
        }
        self._fresh: dict[str, np.ndarray] = {}

    def variants(self) -> dict[str, dict[str, Any]]:
        """What may change from one generation to the next, in words and as arguments."""
        found: dict[str, dict[str, Any]] = {
            "prompt": {"prompt": OTHER_PROMPT},
            "steps": {"num_inference_steps": self.steps + 3},
            "size": {"height": 2 * self.base["height"]},
            "batch": {"num_images_per_prompt": 2},
        }
        if "img2img" in self.features:
            picture = _picture(self.base["height"], self.base["width"])
            found["strength"] = {"image": picture, "strength": 0.5}
        return found

    def draw(self, what: str, **changes: Any) -> np.ndarray:
        """Latents of one generation; an error in it breaks the contract, ``what`` says when it happened."""
        try:
            return self.latents({**self.base, **changes})
        except Exception as error:
            raise ContractViolation(f"{self.name}: {what} raised {one_line(error)}") from error

    def latents(self, arguments: dict[str, Any]) -> np.ndarray:
        """What the pipeline gives for ``arguments``."""
        return np.asarray(self.pipe(**arguments).latents)

    def settle(self) -> int:
        """Let happen what happens once only; returns the number of callbacks that the pipeline has by itself."""
        _ = self.pipe.info.sha256  # computed once and kept
        return int(self.pipe.context.listeners)

    def open(self, plan: Plan) -> Session:
        """A session under ``plan``."""
        return Session(self.pipe, plan)

    def attach(self) -> Session:
        """A session; an attach that raises breaks the contract."""
        try:
            return self.open(self.plan)
        except UserError as error:
            raise ContractViolation(f"{self.name}: attach raised: {error}") from error

    def detach(self, session: Session) -> None:
        """Detach; an error in it breaks the contract."""
        try:
            session.detach()
        except UserError as error:
            raise ContractViolation(f"{self.name}: detach raised: {error}") from error

    def fresh(self, **changes: Any) -> np.ndarray:
        """Latents of the first generation of a session."""
        key = json.dumps(changes, default=lambda item: f"<{type(item).__name__}>", sort_keys=True)
        if key not in self._fresh:
            session = self.attach()
            try:
                self._fresh[key] = self.draw(f"the first generation with {_words(changes)}", **changes)
            finally:
                session.detach()
        return self._fresh[key]

    def snapshot(self, like: Snapshot | None = None) -> Snapshot:
        """The pipeline as it is now."""
        return Snapshot(self.pipe, like)


class HeldRunner(Runner):
    """The same with a pipeline of another library, which ``draw(**arguments)`` runs for its latents."""

    def __init__(self, pipe: Any, plan: Plan, steps: int, draw: Callable[..., Any]) -> None:
        super().__init__(pipe, plan, steps)
        self._draw = draw

    def latents(self, arguments: dict[str, Any]) -> np.ndarray:
        """What ``draw`` gives."""
        return np.array(self._draw(**{name: value for name, value in arguments.items() if name != "output_type"}))

    def settle(self) -> int:
        """Nothing is kept between sessions."""
        return 0

    def open(self, plan: Plan) -> Session:
        """A session by the front door, which adopts the pipeline."""
        return accelerate(self.pipe, plan)


def _words(changes: dict[str, Any]) -> str:
    return ", ".join(changes) or "the usual arguments"


def _picture(height: int, width: int) -> Any:
    from PIL import Image

    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
