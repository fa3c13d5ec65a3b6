"""TeaCache (Liu et al. 2025, arXiv 2411.19108), for FLUX.

Probe m_t: the first double block's modulated image input. Per step acc += P(δ(m_t, m_{t−1})), whether the step before
was computed or not, with δ(a, b) = mean|a − b| / mean|b|. A step is computed if acc ≥ threshold (then acc = 0), else
the image tokens get the residual r of the last computed step: h = x + r. The first and the last step are always
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paddle

from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.errors import PluginError
from fastdiffusers.recorder import Recorder
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.polynomial import Polynomial, choose, fit

Loop = Callable[..., paddle.Tensor]


def relative_change(a: paddle.Tensor, b: paddle.Tensor) -> float:
    """δ(a, b) = mean|a − b| / mean|b|; one transfer to the host."""
    return float(((a - b).abs().mean() / b.abs().mean()).astype("float32").item())


def probe(model: Any, image: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
    """m_t [B, S, C]: embedded image tokens after the first double block's modulated norm."""
    return model.transformer_blocks[0].norm1(image, temb)[0]


@dataclass
class State:
    """What one guidance branch remembers within one generation."""

    probe: paddle.Tensor | None = None
    residual: paddle.Tensor | None = None
    accumulated: float = 0.0


class TeaCacheLoop:
    """A block loop that skips the inner one while the accumulated change stays below the threshold."""

    def __init__(
        self, inner: Loop, recorder: Recorder, threshold: float, polynomial: Polynomial, log: list[tuple[str, bool]]
    ) -> None:
        self.inner = inner
        self.context = recorder.context
        self.state = recorder.state(State)
        self.threshold = threshold
        self.polynomial = polynomial
        self.log = log

    def __call__(
        self, model: Any, image: paddle.Tensor, text: paddle.Tensor, temb: paddle.Tensor, rope: Any
    ) -> paddle.Tensor:
        if not self.context.active:
            return self.inner(model, image, text, temb, rope)
        state = self.state()
        modulated = probe(model, image, temb)
        compute = self.due(state, modulated)
        state.probe = modulated
        self.log.append((self.context.branch, compute))
        if not compute:
            return image + state.residual
        out = self.inner(model, image, text, temb, rope)
        state.residual = out - image
        return out

    def due(self, state: State, modulated: paddle.Tensor) -> bool:
        """Whether this step must be computed; moves the accumulator on."""
        if state.probe is None or state.residual is None or state.probe.shape != modulated.shape:
            return True
        state.accumulated += self.polynomial(relative_change(modulated, state.probe))
        # "not below" instead of "at or above": a change that is no number computes the step
        if not state.accumulated < self.threshold or self.context.step == self.context.steps - 1:
            state.accumulated = 0.0
            return True
        return False


class TeaCache(Accelerator):
    """Skips whole evaluations of the block stack."""

    config: TeaCacheConfig

    def __init__(self, config: TeaCacheConfig) -> None:
        super().__init__(config)
        self._log: list[tuple[str, bool]] = []
        self._fingerprint = ""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Put the cache around the block loop that is there (perhaps a compiled one)."""
        polynomial = choose(self.config.coefficients, pipe.info)
        self._fingerprint = polynomial.fingerprint
        inner = pipe.transformer.block_loop
        loop = TeaCacheLoop(inner, recorder, self.config.threshold, polynomial, self._log)
        recorder.patch(pipe.transformer, "block_loop", loop)
        recorder.on_reset(self._log.clear)

    def effect(self) -> Effect:
        """Steps skipped in the latest generation, per guidance branch where there are two."""
        counts = {}
        for branch in dict.fromkeys(branch for branch, _ in self._log):
            computed = [compute for own, compute in self._log if own == branch]
            counts[branch] = {
                "steps": len(computed),
                "skipped": computed.count(False),
                "computed": computed.count(True),
            }
        skipped = sum(count["skipped"] for count in counts.values())
        parts = [
            f"skipped {count['skipped']} of {count['steps']} steps" + (f" ({branch})" if len(counts) > 1 else "")
            for branch, count in counts.items()
        ]
        pattern = "".join("x" if compute else "." for own, compute in self._log if own == "cond")
        stats = {**counts, "pattern": pattern, "fingerprint": self._fingerprint}
        return Effect(skipped > 0, ", ".join(parts) or "no step was run", stats)

    def calibrate(self, pipe: Any, prompts: list[str], progress: Callable[[int, int], None]) -> dict[str, Any]:
        """Fit P on uncached generations of ``prompts``: probe change against change of the block stack's output.

        Returns ``{"polynomial": Polynomial, "pairs": n}``; nothing is left attached.
        """
        if pipe.context.session is not None:
            raise PluginError("calibrate on a pipeline without attached accelerators; detach the session first")
        pairs: list[tuple[float, float, float]] = []
        recorder = Recorder(pipe, pipe.context)
        try:
            recorder.patch(pipe.transformer, "block_loop", MeasuringLoop(pipe.transformer.block_loop, recorder, pairs))
            for i, prompt in enumerate(prompts):
                pipe(prompt, seed=i, output_type="latent")
                progress(i + 1, len(prompts))
        finally:
            recorder.undo()
        by_sigma: dict[float, list[float]] = {}
        for sigma, change, _ in pairs:
            by_sigma.setdefault(sigma, []).append(change)
        sigmas = sorted(by_sigma, reverse=True)
        polynomial = fit(
            [change for _, change, _ in pairs],
            [output for _, _, output in pairs],
            [1.0, *sigmas],
            [0.0, *(sum(by_sigma[sigma]) / len(by_sigma[sigma]) for sigma in sigmas)],
            f"fitted on {len(prompts)} prompts of {len(sigmas) + 1} steps",
        )
        return {"polynomial": polynomial, "pairs": len(pairs)}


@dataclass
class Seen:
    """Probe and output of the step before."""

    probe: paddle.Tensor | None = None
    output: paddle.Tensor | None = None


class MeasuringLoop:
    """Runs the inner loop unchanged and notes (σ, probe change, output change) of every step but the first."""

    def __init__(self, inner: Loop, recorder: Recorder, pairs: list[tuple[float, float, float]]) -> None:
        self.inner = inner
        self.context = recorder.context
        self.state = recorder.state(Seen)
        self.pairs = pairs

    def __call__(
        self, model: Any, image: paddle.Tensor, text: paddle.Tensor, temb: paddle.Tensor, rope: Any
    ) -> paddle.Tensor:
        seen = self.state()
        modulated = probe(model, image, temb)
        out = self.inner(model, image, text, temb, rope)
        if seen.probe is not None and seen.output is not None:
            change = (relative_change(modulated, seen.probe), relative_change(out, seen.output))
            self.pairs.append((self.context.sigma, *change))
        seen.probe, seen.output = modulated, out
        return out
