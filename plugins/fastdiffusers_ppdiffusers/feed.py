"""Where a pipeline of ppdiffusers stands, told to the step context: what it calls anyway is listened to.

`set_timesteps` announces a generation, the first evaluation of the network begins it, `scheduler.step` ends a step, the
last one (or leaving the progress bar, Ctrl-C included) ends the generation. All of these are attributes set on the
pipeline's own objects through a recorder. No class is changed.

Classifier-free guidance of Stable Diffusion runs both of its branches as one doubled batch in one evaluation: that is
the branch ``cond``. FLUX with a negative prompt evaluates twice a step: ``cond``, then ``uncond``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdiffusers.context import BRANCHES
from fastdiffusers.errors import PluginError
from fastdiffusers.recorder import Recorder

GridOf = Callable[[dict[str, Any]], "tuple[int, int] | None"]


class StepFeed:
    """Feeds ``recorder.context`` from ``pipe``, whose network is ``denoiser``.

    ``grid(arguments)`` gives rows and columns of the image tokens from the network's arguments by name; ``scale`` is
    what the network's timestep has to be multiplied with to be one of the scheduler's.
    """

    def __init__(self, pipe: Any, denoiser: Any, recorder: Recorder, grid: GridOf, scale: float = 1.0) -> None:
        self.context = recorder.context
        self.scheduler = pipe.scheduler
        self.grid = grid
        self.scale = scale
        self._announced = False
        self._step = self._calls = 0
        self._names = list(inspect.signature(denoiser.forward).parameters)
        recorder.patch(self.scheduler, "set_timesteps", self._around_set_timesteps(self.scheduler.set_timesteps))
        recorder.patch(self.scheduler, "step", self._around_step(self.scheduler.step))
        recorder.patch(denoiser, "forward", self._around_forward(denoiser.forward))
        self.watch(pipe, recorder)

    def follow(self, scheduler: Any, recorder: Recorder) -> None:
        """Listen to ``scheduler`` in place of the pipeline's own, until the recorder's detach."""
        recorder.patch(self, "scheduler", scheduler)
        recorder.patch(scheduler, "set_timesteps", self._around_set_timesteps(scheduler.set_timesteps))
        recorder.patch(scheduler, "step", self._around_step(scheduler.step))

    def watch(self, pipe: Any, recorder: Recorder) -> None:
        """End the generation when ``pipe``, which may be another one with the same network, leaves its progress bar."""
        if callable(getattr(pipe, "progress_bar", None)):
            recorder.patch(pipe, "progress_bar", self._around_progress_bar(pipe.progress_bar))

    def _around_set_timesteps(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)  # pipelines look at its signature
        def set_timesteps(*args: Any, **kwargs: Any) -> Any:
            self._announced = True
            return inner(*args, **kwargs)

        return set_timesteps

    def _around_step(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def step(*args: Any, **kwargs: Any) -> Any:
            out = inner(*args, **kwargs)
            if self.context.active:
                self._step, self._calls = self._step + 1, 0
                if self._step == self.context.steps:
                    self.context.end()
            return out

        return step

    def _around_forward(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._announced or self.context.active:
                self._evaluation({**dict(zip(self._names, args, strict=False)), **kwargs})
            return inner(*args, **kwargs)

        return forward

    def _around_progress_bar(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def span(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                with inner(*args, **kwargs) as bar:
                    yield bar
            finally:
                self._announced = False
                self.context.end()

        @functools.wraps(inner)
        def progress_bar(iterable: Any = None, *args: Any, **kwargs: Any) -> Any:
            return span(*args, **kwargs) if iterable is None else inner(iterable, *args, **kwargs)

        return progress_bar

    def _evaluation(self, arguments: dict[str, Any]) -> None:
        """The network is about to be run."""
        shape = tuple(arguments[self._names[0]].shape)
        if self._announced:
            sigmas = self._levels(arguments["timestep"])
            self.context.begin(sigmas, shape, self.grid(arguments))
            self._announced = False
            self._step = self._calls = 0
        if self._calls == len(BRANCHES):
            raise PluginError(
                "this pipeline evaluates its network more than twice a step, which accelerators do not know; detach"
            )
        self.context.at(self._step, BRANCHES[self._calls], shape)
        self._calls += 1

    def _levels(self, timestep: Any) -> list[float]:
        """Noise levels of the steps from ``timestep`` on (image-to-image leaves the first ones out)."""
        timesteps = np.asarray(self.scheduler.timesteps.numpy(), np.float64).reshape(-1)
        now = timestep if isinstance(timestep, int | float) else timestep.astype("float32").reshape([-1])[0].item()
        left = timesteps[int(np.abs(timesteps - now * self.scale).argmin()) :]
        return [max(level, 1e-6) for level in noise_levels(self.scheduler, left)]


def noise_levels(scheduler: Any, timesteps: Any) -> list[float]:
    """The share of noise b in a·x + b·ε at each of ``timesteps``: t / T for flow matching, else √(1 − ᾱ_t)."""
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return [float(t) / scheduler.config.num_train_timesteps for t in timesteps]
    alphas = np.asarray(kept.numpy(), np.float64)
    return [float(np.sqrt(1 - alphas[min(max(round(t), 0), len(alphas) - 1)])) for t in timesteps]
