"""The accelerator that draws with a distilled adapter: its weights merged, its steps, its levels, its guidance.

No Paddle until it is attached.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from fastdiffusers.accelerator import (
    Accelerator,
    AcceleratorSpec,
    Effect,
    Fidelity,
    Kind,
    Prediction,
    Reference,
    Setting,
)
from fastdiffusers.counting import counted
from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, choose_adapter, read_card
from fastdiffusers.distillation.samplers import EULER, LCM, SAMPLERS, SHIFTS
from fastdiffusers.errors import PlanError, WeightsError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

DEFAULT_STEPS = 4
LORA_FILES = {"lcm": 50, "dmd2": 4}
"""Levels of the training of published LoRA files for UNets, which do not say it; they draw with the LCM sampler."""


@dataclass(frozen=True)
class DistilledConfig:
    """Options of a distilled adapter."""

    adapter: str | None = field(
        default=None, metadata={"help": "folder or .safetensors file; by default the one of this method and model"}
    )
    steps: int | None = field(
        default=None, metadata={"help": "steps of a picture: picks the adapter made for them", "min": 1}
    )
    scale: float = field(default=1.0, metadata={"help": "factor on the adapter; 1 as it was trained", "min": 0.0})
    sampler: str | None = field(
        default=None, metadata={"help": "of a LoRA file, which does not say it; euler by default", "choices": SAMPLERS}
    )
    shift: float | None = field(
        default=None,
        metadata={
            "help": "of a LoRA file: fixed shift of the levels; by default the model's rule",
            "min": SHIFTS[0],
            "max": SHIFTS[1],
        },
    )


@dataclass(frozen=True)
class Choice:
    """An adapter that was found: its weights, what is known of it, and what should be said of it."""

    weights: Path
    card: AdapterCard
    notes: tuple[str, ...] = ()
    has_card: bool = True


def choose(method: str, config: DistilledConfig, info: ModelInfo) -> Choice:
    """The adapter that the options mean on a model."""
    if config.adapter is None:
        return _described(choose_adapter(info, method, config.steps, DEFAULT_STEPS), config, info)
    path = Path(config.adapter)
    if path.name == WEIGHTS and (path.parent / CARD).is_file():
        path = path.parent  # the card beside the weights knows how they are to be used
    if path.is_dir():
        return _described(path, config, info)
    if not path.is_file():
        raise WeightsError(f"no adapter {str(path)!r}; valid: a folder that `fastdiff distill` wrote, or a LoRA file")
    guidance = info.default_setting.guidance
    card = AdapterCard(
        method=path.name,
        base=info.name,
        base_sha256="",
        steps=config.steps or DEFAULT_STEPS,
        sampler=config.sampler or (LCM if is_unet(info) and method in LORA_FILES else EULER),
        guidance_min=0.0,
        guidance_max=float("inf"),
        shift=config.shift,
        training={"solver_steps": LORA_FILES[method]} if method in LORA_FILES else {},
    )
    note = f"a LoRA file says nothing of steps: {card.steps}" + ("" if config.steps else ", set steps=N for others")
    return Choice(path, card, (note, f"guidance {guidance:g} unless given"), has_card=False)


def _described(folder: Path, config: DistilledConfig, info: ModelInfo) -> Choice:
    """The adapter of a folder that describes itself; options that say otherwise are refused."""
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{str(folder)!r} holds no {WEIGHTS}; `fastdiff distill` writes it, and {CARD} beside it")
    card = read_card(folder)
    for name in ("steps", "sampler", "shift"):
        asked, made = getattr(config, name), getattr(card, name)
        if asked is not None and asked != made:
            made = "the model's own" if made is None else made
            raise PlanError(f"{name}={asked}, but the adapter {str(folder)!r} was made for {made}; leave {name} out")
    return Choice(folder / WEIGHTS, card, _other_base(card, info))


def _other_base(card: AdapterCard, info: ModelInfo) -> tuple[str, ...]:
    if card.base_sha256 == info.sha256:
        return ()
    return (f"WARNING: made for {card.base} ({card.base_sha256[:12]}…), this is {info.name} ({info.sha256[:12]}…)",)


def levels_of(card: AdapterCard) -> int:
    """Levels of a student's training."""
    return int(card.training.get("solver_steps", LORA_FILES["lcm"]))


def is_unet(info: ModelInfo) -> bool:
    """Whether the model is one of Stable Diffusion's with a UNet, on which latent consistency adapters draw."""
    return info.parts.denoiser == "unet"


def _predict_unet(method: str, choice: Choice, info: ModelInfo, setting: Setting) -> Prediction:
    """The same on a UNet, where the guidance is in the weights: one branch, unless up to 2 is asked for."""
    card = choice.card
    if not choice.has_card and method in LORA_FILES and card.sampler != LCM:
        raise PlanError(f"on {info.name} {method} draws with a LoRA file and sampler=lcm; give adapter=FILE")
    if card.shift is not None:
        raise PlanError(f"shift={card.shift:g} is of a flow's levels, and {info.name} has timesteps: leave it out")
    if setting.steps not in (info.default_setting.steps, card.steps):
        other = "leave the number out" if choice.has_card else f"set {method}:steps={setting.steps}"
        raise PlanError(f"{method} draws in {card.steps} steps, not {setting.steps}; {other}")
    guidance = 1.0 if setting.guidance == info.default_setting.guidance else setting.guidance
    if guidance > 2:
        raise PlanError(f"{method} has its guidance in its weights; valid is --guidance 0 to 2, not {guidance:g}")
    name = choice.weights.parent.name if choice.has_card else choice.weights.name
    notes = choice.notes if choice.has_card else choice.notes[:1]
    reason = "; ".join((f"adapter {name}", *notes, f"guidance {guidance:g}"))
    inner = dataclasses.replace(setting, steps=card.steps, guidance=guidance)
    return Prediction(True, reason, f"draws in {counted(card.steps, 'step')}", inner)


def predict_distilled(method: str, config: DistilledConfig, info: ModelInfo, setting: Setting) -> Prediction:
    """What a plan says of an adapter; refuses steps and guidance that it was not made for."""
    choice = choose(method, config, info)
    card = choice.card
    if is_unet(info):
        return _predict_unet(method, choice, info, setting)
    if setting.steps not in (info.default_setting.steps, card.steps):
        raise PlanError(
            f"{method} draws in {card.steps} steps, not {setting.steps}; leave the number out, or set "
            f"{method}:steps=N for another adapter"
        )
    if "guidance" in info.features and not card.guidance_min <= setting.guidance <= card.guidance_max:
        raise PlanError(f"{method} was trained for guidance {card.span}, not {setting.guidance:g}")
    reason = "; ".join((f"adapter {choice.weights.parent.name or choice.weights.name}", *choice.notes))
    inner = dataclasses.replace(setting, steps=card.steps, shift=card.shift)
    return Prediction(True, reason, f"draws in {card.drawing}", inner)


def distilled(
    name: str, method: str, summary: str, references: tuple[Reference, ...], unets: bool = False
) -> AcceleratorSpec:
    """The specification of the accelerator that uses adapters of ``method``; ``unets``: also on UNets."""
    config = dataclasses.make_dataclass(
        f"{method.replace('-', ' ').title().replace(' ', '')}Config",
        [("method", ClassVar[str])],
        bases=(DistilledConfig,),
        namespace={"method": method, "__doc__": DistilledConfig.__doc__},
        frozen=True,
    )
    config.__module__ = DistilledConfig.__module__
    return AcceleratorSpec(
        name=name,
        kind=Kind.DISTILL,
        summary=summary,
        target=f"{__name__}:Distilled",
        config=config,
        claims=frozenset({"weights", "steps", "scheduler"}),
        requires=frozenset() if unets else frozenset({"blocks", "flow"}),
        tags=frozenset({"few-step", "lora"}),
        fidelity=Fidelity.LOSSY,
        references=references,
        predict=partial(predict_distilled, method),
    )


class Distilled(Accelerator):
    """Merges an adapter into the transformer and gives the pipeline its steps; the weights come back as they were."""

    def attach(self, pipe: Any, recorder: Any) -> None:
        from fastdiffusers.distillation.merging import merge
        from fastdiffusers.distillation.samplers import FewSteps

        self._steps = 0
        self._context = recorder.context
        recorder.on_reset(self._forget)
        if callable(getattr(pipe, "draw_in_few_steps", None)):
            self._choice = choose(self.config.method, self.config, pipe.info)
            card = self._choice.card
            factor = card.scale * self.config.scale
            self._merged = pipe.draw_in_few_steps(
                self._choice.weights, factor, card.steps, recorder, card.sampler, levels_of(card)
            )
            return
        scheduler = getattr(pipe, "scheduler", None)
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            name = "scheduler" if scheduler is None else type(scheduler).__name__
            raise PlanError(
                f"{pipe.info.name} draws with a {name} of another package, whose steps an adapter cannot replace; "
                "valid: a FLUX folder that fastdiffusers loads itself"
            )
        self._choice = choose(self.config.method, self.config, pipe.info)
        card = self._choice.card
        self._merged = merge(pipe.transformer, self._choice.weights, card.scale * self.config.scale, recorder)
        recorder.patch(pipe, "scheduler", FewSteps(scheduler, card.steps, card.sampler, card.shift))

    def _forget(self) -> None:
        self._steps = self._context.steps

    def effect(self) -> Effect:
        card = self._choice.card
        stats = {
            "steps": self._steps,
            "layers": self._merged.layers,
            "rank": self._merged.rank,
            "scale": self._merged.scale,
            "sampler": card.sampler,
            "shift": card.shift,
            "fingerprint": self._merged.fingerprint + ("" if card.shift is None else f"-shift-{card.shift:g}"),
            "adapter": str(self._choice.weights),
        }
        merged = self._merged
        parts = [counted(self._steps, "step")]
        parts += [] if card.shift is None else [f"levels shifted by {card.shift:g}"]
        parts += [merged.note or f"{merged.layers} layers merged at scale {merged.scale:g}", *self._choice.notes]
        done = self._merged.layers > 0 and self._merged.scale > 0 and 0 < self._steps <= card.steps
        return Effect(done, "; ".join(parts), stats)
