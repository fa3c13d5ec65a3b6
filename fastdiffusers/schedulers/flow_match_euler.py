"""Euler steps for flow matching: the sampler of FLUX.1 and Stable Diffusion 3.

A latent at noise level σ is x_σ = (1 − σ)·x₀ + σ·ε, the network predicts the velocity v = ε − x₀, and one Euler step is
x_{σ'} = x_σ + (σ' − σ)·v (Lipman et al. 2023, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206, section 5.3.2 for
the shift). Noise levels are equal, bit for bit, to those of diffusers' scheduler of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError, one_of
from fastdiffusers.models.config import ModelConfig

Array = TypeVar("Array")  # a numpy array or a Paddle tensor: both have astype, ndim, reshape and arithmetic

_TIME_SHIFTS = ("exponential", "linear")
_NOT_HERE = (
    "invert_sigmas",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "stochastic_sampling",
)


@dataclass(frozen=True)
class FlowMatchEulerDiscreteSchedulerConfig(ModelConfig):
    """diffusers' keys and defaults; what no FLUX.1 or SD3 checkpoint uses is refused, not ignored."""

    CLASS_NAME: ClassVar[str | None] = "FlowMatchEulerDiscreteScheduler"

    num_train_timesteps: int = 1000
    shift: float = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float | None = 0.5
    max_shift: float | None = 1.15
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    invert_sigmas: bool = False
    shift_terminal: float | None = None
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    time_shift_type: str = "exponential"
    stochastic_sampling: bool = False

    def __post_init__(self) -> None:
        for key in _NOT_HERE:
            if getattr(self, key):
                raise InputError(f"scheduler option {key}={getattr(self, key)!r} is not supported; it must be false")
        if self.time_shift_type not in _TIME_SHIFTS:
            raise InputError(one_of("time_shift_type", self.time_shift_type, _TIME_SHIFTS))
        _check_count("num_train_timesteps", self.num_train_timesteps)
        if not _is_finite(self.shift) or self.shift <= 0:
            raise InputError(f"scheduler option shift is {self.shift!r}; it must be a number above 0")
        if self.shift_terminal is not None and not (_is_finite(self.shift_terminal) and 0 <= self.shift_terminal < 1):
            raise InputError(
                f"scheduler option shift_terminal is {self.shift_terminal!r}; it must be null or in [0, 1)"
            )

    def shifted(self, shift: float | None) -> FlowMatchEulerDiscreteSchedulerConfig:
        """The same with ``shift`` at every size, in place of all its rules; None changes nothing."""
        if shift is None:
            return self
        return replace(self, shift=shift, use_dynamic_shifting=False, shift_terminal=None)


def uniform_sigmas(num_inference_steps: int) -> NDArray[np.float64]:
    """The levels FLUX starts from before any shift: n numbers from 1 down to 1/n in equal steps."""
    n = _check_count("num_inference_steps", num_inference_steps)
    return np.linspace(1.0, 1.0 / n, n)


def flow_sigmas(
    sigmas: Sequence[float] | NDArray[Any],
    *,
    mu: float | None = None,
    shift: float = 1.0,
    shift_terminal: float | None = None,
    time_shift_type: str = "exponential",
) -> NDArray[np.float32]:
    """Noise levels of a run, [n + 1] float32 with 0 at the end, from n unshifted ones.

    With ``mu`` (resolution-dependent shift) σ becomes s / (s + 1/σ − 1), where s is exp(mu), or mu itself for "linear";
    without, ``shift``·σ / (1 + (``shift`` − 1)·σ), which is the same map for s = ``shift`` (arXiv:2403.03206, eq. 23).
    ``shift_terminal`` then stretches 1 − σ so that the last level before 0 is that value. The arithmetic is in the
    precision of ``sigmas``.
    Raises `InputError` unless ``sigmas`` fall strictly and lie in (0, 1].
    """
    t = _check_sigmas(sigmas)
    if mu is not None:
        if not _is_finite(mu):
            raise InputError(f"mu is {mu!r}; it must be a finite number")
        mu = float(mu)
        if time_shift_type == "linear" and mu <= 0:
            raise InputError(f"mu is {mu!r}; it must be above 0 with time_shift_type 'linear'")
        if time_shift_type == "exponential" and abs(mu) > 80:
            raise InputError(f"mu is {mu!r}; exp(mu) must fit float32, so mu must be from -80 to 80")
        s = math.exp(mu) if time_shift_type == "exponential" else mu
        t = s / (s + (1 / t - 1))
    else:
        t = shift * t / (1 + (shift - 1) * t)
    if shift_terminal:
        distance = 1 - t
        if distance[-1] <= 0:
            raise InputError(
                f"shift_terminal {shift_terminal} needs a last sigma below 1, but it is {t[-1]:g}; use more steps"
            )
        t = 1 - distance / (distance[-1:] / (1 - shift_terminal))
    result = np.append(t.astype(np.float32), np.float32(0))
    if not np.all(np.diff(result) < 0):
        raise InputError(
            f"{len(t)} sigmas shifted by {f'shift {shift}' if mu is None else f'mu {mu}'} do not fall any more"
        )
    return result


class FlowMatchEulerDiscreteScheduler:
    """Noise levels and Euler steps of a flow-matching model.

    Call `set_timesteps` (or `set_image_timesteps`, which knows FLUX's rules) and, for image-to-image, `truncate`; then
    ``sigmas`` [n + 1] and ``timesteps`` [n] (σ times ``num_train_timesteps``), float32 numpy arrays, hold the levels of
    the run, and `step` goes from level i to level i + 1.
    """

    Config = FlowMatchEulerDiscreteSchedulerConfig

    def __init__(self, config: FlowMatchEulerDiscreteSchedulerConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()
        self.sigmas: NDArray[np.float32] = np.zeros(0, np.float32)
        self.timesteps: NDArray[np.float32] = np.zeros(0, np.float32)
        self.begin_index = 0  # how many levels `truncate` took away
        self._full = self.sigmas

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> FlowMatchEulerDiscreteScheduler:
        """Build from a parsed ``scheduler_config.json``. One written for another scheduler is an `InputError`."""
        name = values.get("_class_name", cls.Config.CLASS_NAME)
        if name != cls.Config.CLASS_NAME:
            raise InputError(one_of("scheduler", name, [cls.Config.CLASS_NAME]))
        return cls(cls.Config.from_dict(dict(values)))

    def calculate_shift(self, image_seq_len: int) -> float:
        """mu for a picture of ``image_seq_len`` tokens: on the line through (base_image_seq_len, base_shift) and
        (max_image_seq_len, max_shift)."""
        c = self.config
        _check_count("image_seq_len", image_seq_len)
        if c.base_shift is None or c.max_shift is None or c.base_image_seq_len == c.max_image_seq_len:
            raise InputError(
                f"no shift for {image_seq_len} tokens from base_shift {c.base_shift}, max_shift {c.max_shift}, "
                f"sequence lengths {c.base_image_seq_len} and {c.max_image_seq_len}; two different points are needed"
            )
        slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
        return image_seq_len * slope + (c.base_shift - slope * c.base_image_seq_len)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | NDArray[Any] | None = None,
        mu: float | None = None,
    ) -> None:
        """Choose the levels: ``sigmas`` before shifting or, without them, diffusers' default for this scheduler.

        That default is equal steps from the largest to the smallest level of training (SD3's rule). FLUX starts from
        `uniform_sigmas` instead. ``mu`` is needed with, and used only with, ``use_dynamic_shifting``.
        """
        c = self.config
        if num_inference_steps is not None:
            _check_count("num_inference_steps", num_inference_steps)
        if c.use_dynamic_shifting and mu is None:
            raise InputError("mu is needed because the scheduler has use_dynamic_shifting; see calculate_shift")
        if sigmas is not None:
            base: NDArray[Any] = _check_sigmas(sigmas).astype(np.float32)
            if num_inference_steps not in (None, len(base)):
                raise InputError(f"{len(base)} sigmas do not fit num_inference_steps={num_inference_steps}; give one")
        elif num_inference_steps is not None:
            base = self._training_levels(num_inference_steps)
        else:
            raise InputError("neither num_inference_steps nor sigmas was given; one is needed")
        self._full = flow_sigmas(
            base,
            mu=mu if c.use_dynamic_shifting else None,
            shift=c.shift,
            shift_terminal=c.shift_terminal,
            time_shift_type=c.time_shift_type,
        )
        self._begin(0)

    def set_image_timesteps(
        self,
        image_seq_len: int,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | NDArray[Any] | None = None,
    ) -> None:
        """`set_timesteps` as FLUX does it: `uniform_sigmas` unless ``sigmas`` are given, mu from the token count."""
        if sigmas is None and num_inference_steps is not None:
            sigmas = uniform_sigmas(num_inference_steps)
        mu = self.calculate_shift(image_seq_len) if self.config.use_dynamic_shifting else None
        self.set_timesteps(num_inference_steps, sigmas, mu)

    def truncate(self, strength: float) -> int:
        """Image-to-image: keep the last ⌈strength · n⌉ steps and return how many were dropped.

        ``strength`` is in (0, 1]; 1 keeps all. The starting latent is ``scale_noise(latent, sigmas[0], noise)``.
        """
        n = len(self._full) - 1
        if n < 1:
            raise InputError("truncate was called before set_timesteps; there are no steps to drop")
        if not _is_finite(strength) or not 0 < strength <= 1:
            raise InputError(f"strength is {strength!r}; it must be above 0 and at most 1")
        dropped = int(max(n - min(n * float(strength), n), 0))
        if dropped >= n:
            raise InputError(f"strength {strength!r} leaves none of {n} steps; it must be at least {1 / n:g}")
        self._begin(dropped)
        return dropped

    def step(self, model_output: Array, i: int, sample: Array) -> Array:
        """sample + (σᵢ₊₁ − σᵢ) · model_output, computed in float32, returned in the dtype of ``sample``."""
        if not 0 <= i < len(self.timesteps):
            raise InputError(f"step {i} does not exist; set_timesteps gave {len(self.timesteps)} steps, counted from 0")
        dt = float(self.sigmas[i + 1] - self.sigmas[i])
        x: Any = sample
        v: Any = model_output
        return (x.astype("float32") + v.astype("float32") * dt).astype(x.dtype)

    @staticmethod
    def scale_noise(sample: Array, sigma: Any, noise: Array) -> Array:
        """σ·noise + (1 − σ)·sample in float32: a clean latent taken to level σ.

        ``sigma`` is a number in [0, 1] or an array or tensor [batch], one level per picture.
        """
        x: Any = sample
        e: Any = noise
        if getattr(sigma, "ndim", 0):
            level = sigma.astype("float32").reshape([-1] + [1] * (x.ndim - 1))
            keep = 1.0 - level
        else:
            number = sigma.item() if hasattr(sigma, "item") else sigma
            if not _is_finite(number) or not 0 <= number <= 1:
                raise InputError(f"sigma is {number!r}; it must be in [0, 1]")
            single = np.float32(number)
            level, keep = float(single), float(np.float32(1) - single)
        return (e.astype("float32") * level + x.astype("float32") * keep).astype(x.dtype)

    def _begin(self, index: int) -> None:
        self.begin_index = index
        self.sigmas = self._full[index:]
        self.timesteps = self.sigmas[:-1] * np.float32(self.config.num_train_timesteps)

    def _training_levels(self, n: int) -> NDArray[np.float64]:
        # The ends are those of training, already shifted once when the shift is fixed; diffusers shifts them again.
        c = self.config
        ends = np.array([c.num_train_timesteps, 1], np.float32) / np.float32(c.num_train_timesteps)
        if not c.use_dynamic_shifting:
            ends = c.shift * ends / (1 + (c.shift - 1) * ends)
        high, low = (end * c.num_train_timesteps for end in ends.tolist())  # float64 from here on
        return np.linspace(high, low, n) / c.num_train_timesteps


def _is_finite(value: object) -> bool:
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(float(value))
    )


def _check_count(what: str, value: object) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise InputError(f"{what} is {value!r}; it must be an integer of at least 1")
    return int(value)


def _check_sigmas(sigmas: Sequence[float] | NDArray[Any]) -> NDArray[Any]:
    try:
        values = np.asarray(sigmas)
        values = values if values.dtype == np.float32 else values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"sigmas {str(sigmas)[:80]!r} are not a list of numbers") from None
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"sigmas have shape {list(values.shape)}; a list of at least one number is needed")
    wrong = values[~((values > 0) & (values <= 1))]
    if wrong.size:
        raise InputError(f"sigma {wrong[0]:g} is not valid; every sigma must be above 0 and at most 1")
    rises = np.flatnonzero(np.diff(values.astype(np.float32)) >= 0)
    if rises.size:
        i = int(rises[0])
        raise InputError(f"sigmas must fall: {values[i]:g} is followed by {values[i + 1]:g}")
    return values
