"""Recipe keys of distillations: those of all methods, and those of each term."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from fastdiffusers.distillation.losses import LOSSES
from fastdiffusers.distillation.samplers import SAMPLERS, SHIFTS
from fastdiffusers.errors import InputError
from fastdiffusers.training.recipe import TrainerConfig, key

TRAIN = ("lora", "full")
COMPAT = ("none", "reference")
PRECISIONS = ("float32", "bf16-o1", "bf16-o2", "fp16-o1", "fp16-o2")
DATA_KINDS = ("auto", "teacher", "csv", "folder", "laion", "prompts")
TEACHER_DATA = "teacher"


@dataclass(frozen=True)
class DistillKeys(TrainerConfig):
    """Keys of every method."""

    muon: bool = key(False, "Muon on hidden matrices; AdamW everywhere suits adapters better")
    lr: float = key(1e-4, "learning rate of the student", min=0.0)
    schedule: str = key("constant", "form of the final decay", choices=("constant", "linear", "cosine"))

    method: str = key("", "name of the method, set by its recipe")
    model: str = key("flux-emoji", "teacher: an embedded model's name, or a folder")
    train: str = key("lora", "train an adapter, or a full copy", choices=TRAIN)
    rank: int = key(16, "rank r of the adapter", min=1)
    alpha: float | None = key(None, "α of the adapter, whose scale is α/r; null: r, a scale of 1")
    targets: tuple[str, ...] = key(
        ("all",), "layers with an adapter: all, attention, mlp, modulation, projection; of UNets also convolution"
    )
    start: str = key(
        "", "adapter of the same rank to start from: a folder, or a method whose adapter there is; empty: from nothing"
    )
    terms: tuple[str, ...] = key(("consistency",), "the losses that are summed")
    compat: str = key("none", "reference: the arithmetic of the first implementation, for comparison", choices=COMPAT)

    data: str = key(TEACHER_DATA, "teacher: pictures that the teacher draws; or a folder, a CSV file, a file list")
    data_kind: str = key("auto", "how to read the data", choices=DATA_KINDS)
    file_list: str = key("", "list of tab-separated shards, one path a line")
    prompts: str = key("", "file of prompts for data=teacher, one a line; empty: the embedded model's own captions")
    examples: int | None = key(4096, "examples prepared; null: all there are", min=1)
    seeds_per_prompt: int = key(
        1, "examples of each prompt, which stay together in a batch; for those that the teacher draws", min=1
    )
    resolution: int | None = key(
        None, "side of a picture in pixels, of equal area for others; null: the model's", min=16
    )
    buckets: bool = key(True, "keep aspect ratios, in buckets of equal area; false: square")
    min_side: int = key(0, "least side of a picture in pixels", min=0)
    min_aesthetic: float | None = key(None, "least aesthetic score of a picture, where the data has one")
    max_watermark: float | None = key(None, "greatest probability of a watermark, where the data has one")
    max_unreadable: float = key(0.05, "greatest share of unreadable examples", min=0.0, max=1.0)
    caption_drop: float = key(0.0, "share of empty captions", min=0.0, max=1.0)
    trajectories: bool = key(False, "draw the teacher's ways once, keep its states at all levels, and train on them")
    teacher_steps: int = key(28, "steps of the teacher where it draws", min=1)

    guidance_min: float = key(3.5, "least guidance, drawn uniformly for each example", min=0.0)
    guidance_max: float = key(3.5, "greatest guidance", min=0.0)
    true_guidance: bool = key(False, "guide the teacher by a second evaluation, in place of its guidance input")
    teacher_guidance: float = key(1.0, "what the guidance input is told then", min=0.0)
    student_guidance: bool = key(True, "tell the student the guidance too, so that it can be chosen when drawing")

    solver_steps: int = key(24, "levels N of the training grid, a multiple of phases", min=1)
    phases: int = key(4, "phases M, within which the student jumps", min=1)
    shift: float | None = key(
        None,
        "fixed shift s of the levels, σ → s·σ/(1 + (s − 1)·σ), in training and drawing; null: the model's own rule",
        min=SHIFTS[0],
        max=SHIFTS[1],
    )
    student_steps: int | None = key(None, "steps that the student draws in; null: one for each phase", min=1)
    sampler: str = key("euler", "how it goes on between them: euler, or lcm (to x̂₀ and back)", choices=SAMPLERS)
    loss: str = key("huber", "distance between prediction and target", choices=LOSSES)
    huber_c: float = key(1e-3, "c of the pseudo-Huber distance", min=0.0)
    edge_share: float = key(
        0.5, "share of examples moved to the levels that drawing visits, late in the training", min=0.0, max=1.0
    )
    edge_from: float = key(0.5, "share of the steps after which they are", min=0.0, max=1.0)

    opponent_turns: int = key(1, "turns of the opponents (discriminator, critic) before each of the student", min=1)
    opponent_warmup: int = key(0, "turns that only the opponents have at first", min=0)
    lazy: int = key(
        1, "turns of the student in a row; the terms after the first act in one of them, so many times as heavy", min=1
    )

    precision: str = key(
        "float32",
        "o1: products in 16 bits; o2: the frozen network too; adapters and losses stay 32",
        choices=PRECISIONS,
    )
    recompute: bool = key(False, "compute activations again in the backward pass, to save memory")
    compile: bool = key(True, "train on static graphs (about a third faster on a CPU)")
    validation_prompts: int = key(24, "pictures that validations compare with the teacher's of the same noise", min=2)
    validation_seed: int = key(1000, "their first seed", min=0)
    stop_after: int = key(
        0, "validations in a row with colours, contrast or diversity out of limits that end it; 0: no number", min=0
    )


@dataclass(frozen=True)
class ConsistencyKeys:
    """Keys of the term consistency."""

    consistency_weight: float = key(1.0, "weight of the consistency loss", min=0.0)
    skip: int = key(1, "levels of the grid that the teacher goes before the student jumps, within the phase", min=1)
    form: str = key("velocity", "compare predictions (velocity), or where they lead (x)", choices=("velocity", "x"))
    target_ema: float = key(
        0.0, "decay of the averaged student that targets come from; 0: the student itself", min=0.0, max=0.999999
    )


@dataclass(frozen=True)
class AdversarialKeys:
    """Keys of the term adversarial."""

    adversarial_weight: float = key(0.1, "weight of the generator's loss", min=0.0)
    adversarial_lr: float = key(1e-5, "learning rate of the heads", min=0.0)
    adversarial_beta1: float = key(0.0, "β1 of the heads' AdamW", min=0.0, max=0.999)
    adversarial_depths: tuple[float, ...] = key(
        (0.25, 0.5, 0.75, 0.99), "where in the teacher the heads look, as shares of its blocks", min=0.0, max=1.0
    )


@dataclass(frozen=True)
class DmdKeys:
    """Keys of the term dmd."""

    dmd_weight: float = key(0.01, "weight of distribution matching", min=0.0)
    dmd_on: str = key(
        "phase", "what is matched: landings within the phase, or x̂₀ at all levels", choices=("phase", "clean")
    )
    dmd_critic: bool = key(False, "a trained critic as the fake score; false: the student itself")
    dmd_critic_lr: float = key(2e-5, "learning rate of the critic", min=0.0)
    dmd_critic_full: bool = key(False, "the critic is a network of its own, not an adapter; for train=full")
    dmd_simulation: bool = key(
        False, "the student begins where its own drawing leads (backward simulation), not at noised data"
    )
    dmd_gan_weight: float = key(
        0.0, "weight of the student's loss before a discriminator on the critic's features; 0: none", min=0.0
    )
    dmd_gan_critic_weight: float = key(1e-2, "weight of the discriminator's own loss in the critic's", min=0.0)
    dmd_gan_depth: float = key(0.5, "where in the critic it looks, as a share of the blocks", min=0.0, max=1.0)


@dataclass(frozen=True)
class ReflowKeys:
    """Keys of the term reflow."""

    reflow_weight: float = key(0.01, "weight of the reflow loss", min=0.0)


@dataclass(frozen=True)
class KdKeys:
    """Keys of the term kd."""

    kd_weight: float = key(1.0, "weight of the regression to cached trajectories", min=0.0)


@dataclass(frozen=True)
class RelationalKeys:
    """Keys of the term relational."""

    relational_weight: float = key(1.0, "weight of the distances between pictures of a prompt", min=0.0)


@dataclass(frozen=True)
class DistillConfig(ConsistencyKeys, AdversarialKeys, DmdKeys, ReflowKeys, KdKeys, RelationalKeys, DistillKeys):
    """The configuration of a distillation: keys of the trainer, of all methods, of all terms."""

    @property
    def group(self) -> int:
        return self.seeds_per_prompt

    @property
    def drawn_steps(self) -> int:
        """Steps that the student draws in."""
        return self.student_steps or self.phases

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("recipe key 'terms' is empty; a student needs at least one loss")
        for name in ("examples", "batch"):
            self._check_whole(name, getattr(self, name))
        if self.guidance_min > self.guidance_max:
            raise InputError(
                f"guidance_min {self.guidance_min} is above guidance_max {self.guidance_max}; they are a range"
            )
        if self.solver_steps % self.phases:
            raise InputError(
                f"solver_steps {self.solver_steps} is no multiple of phases {self.phases}, so the phases' edges would "
                f"not lie on the grid; valid are {self.phases}, {2 * self.phases}, {3 * self.phases} …"
            )
        if self.compat == "reference" and (self.dmd_critic or self.dmd_on != "phase"):
            raise InputError("compat=reference has no critic and matches within phases: dmd_critic=false, dmd_on=phase")
        if "dmd" in self.terms:
            self._check_matching()
        if self.has_opponents:
            self._check_turns()
        if self.train == "full" and self.precision.endswith("o2"):
            raise InputError(
                f"precision={self.precision} keeps the network in 16 bits, which train=full would train there; valid: "
                f"float32, {self.precision[:-1]}1, or train=lora"
            )
        if self.start and self.train != "lora":
            raise InputError(f"start={self.start} names an adapter, but train={self.train} trains none")
        if self.trajectories and self.caption_drop:
            raise InputError(
                f"caption_drop={self.caption_drop:g} hides what the trajectories were drawn for; set it to 0"
            )
        if "kd" in self.terms and not self.trajectories:
            raise InputError("the term kd regresses to the teacher's trajectories; it needs trajectories=true")
        if "relational" in self.terms:
            self._check_relations()
        if self.target_ema and "consistency" not in self.terms:
            raise InputError(f"target_ema={self.target_ema:g} averages a student for the term consistency; set it to 0")
        if self.trajectories and self.data != TEACHER_DATA:
            raise InputError(
                f"trajectories=true needs data={TEACHER_DATA}, got data={self.data}; on pictures, set it to false"
            )

    @property
    def has_opponents(self) -> bool:
        """Whether a discriminator or a critic is trained beside the student."""
        return "adversarial" in self.terms or ("dmd" in self.terms and self.dmd_critic)

    def _check_matching(self) -> None:
        if self.dmd_simulation and self.dmd_on != "clean":
            raise InputError("dmd_simulation=true matches the estimates x̂₀ of a whole drawing; it needs dmd_on=clean")
        if self.dmd_gan_weight and not self.dmd_critic:
            raise InputError(
                f"dmd_gan_weight={self.dmd_gan_weight:g} looks at a critic's features; set dmd_critic=true"
            )
        if self.dmd_critic_full and not (self.dmd_critic and self.train == "full"):
            raise InputError(
                "dmd_critic_full=true is a critic for students trained in full: dmd_critic=true train=full"
            )

    def _check_whole(self, name: str, count: int | None) -> None:
        each = self.seeds_per_prompt
        if count and count % each:
            valid = ", ".join(str(n) for n in (count // each * each, (count // each + 1) * each) if n)
            raise InputError(f"{name}={count} is no multiple of seeds_per_prompt={each}; valid are {valid} …")

    def _check_relations(self) -> None:
        if "consistency" not in self.terms:
            raise InputError("the term relational compares distances alone; name consistency beside it, for the places")
        if self.seeds_per_prompt < 2:
            raise InputError(
                f"the term relational compares pictures of one prompt, and seeds_per_prompt={self.seeds_per_prompt}; "
                "valid is at least 2"
            )

    def _check_turns(self) -> None:
        if self.lr == 0:
            raise InputError("lr=0 trains no student, and its opponents' rates are relative to it; valid is above 0")
        least = self.opponent_warmup + self.opponent_turns + 1
        if self.steps < least:
            raise InputError(
                f"steps={self.steps} are all turns of the opponents; the student has its first after {least - 1}, so "
                f"valid is at least {least}"
            )


def check_given(names: Iterable[str], config: DistillConfig) -> None:
    """`InputError` for a key that was given but would do nothing: of a term that is not in the recipe, or ``lazy``
    with one term that has no opponent."""
    for name in names:
        if name == "lazy" and config.lazy > 1 and len(config.terms) == 1 and not config.has_opponents:
            raise InputError(
                f"lazy={config.lazy} is for terms beside the first, or with an opponent, and terms={config.terms[0]} "
                "has neither; valid: 1"
            )
        owner = next((term for term, keys in TERM_KEYS.items() if name in keys), None)
        if owner is not None and owner not in config.terms:
            raise InputError(
                f"recipe key {name!r} belongs to the term {owner}, which is not among terms={','.join(config.terms)}"
            )


TERM_KEYS = {
    name: frozenset(item.name for item in fields(keys))
    for name, keys in (
        ("consistency", ConsistencyKeys),
        ("adversarial", AdversarialKeys),
        ("dmd", DmdKeys),
        ("reflow", ReflowKeys),
        ("kd", KdKeys),
        ("relational", RelationalKeys),
    )
}
