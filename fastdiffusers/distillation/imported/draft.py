"""A recipe in the making: values of keys, each with where it comes from and what to know about it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

import yaml

from fastdiffusers.distillation.imported.arguments import Arguments

WIDTH = 112
SECTIONS: dict[str, tuple[str, ...]] = {
    "teacher and student": ("model", "train", "rank", "alpha", "targets"),
    "data": (
        *("data", "data_kind", "file_list", "prompts", "examples", "resolution", "buckets", "min_side"),
        *("min_aesthetic", "max_watermark", "max_unreadable", "caption_drop", "trajectories", "teacher_steps"),
    ),
    "guidance": ("guidance_min", "guidance_max", "true_guidance", "teacher_guidance", "student_guidance"),
    "terms": (
        *("terms", "compat", "solver_steps", "phases", "student_steps", "sampler", "form", "loss", "huber_c"),
        *("target_ema", "edge_share"),
        *("edge_from", "consistency_weight", "adversarial_weight", "adversarial_lr", "adversarial_beta1"),
        *("adversarial_depths", "opponent_turns", "opponent_warmup", "dmd_weight", "dmd_on", "dmd_critic"),
        *("dmd_critic_lr", "reflow_weight", "kd_weight"),
    ),
    "training": (
        *("steps", "batch", "accumulation", "workers", "seed", "lr", "schedule", "warmup_steps", "decay_fraction"),
        *("muon", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "clip", "ema", "max_bad_steps"),
        *("precision", "recompute", "compile"),
    ),
    "output": (
        *("checkpoint_every", "keep_checkpoints", "best_by", "sample_every", "validation_prompts"),
        *("validation_seed", "log_every", "tracker"),
    ),
}
KEYS = tuple(key for keys in SECTIONS.values() for key in keys)


@dataclass
class Entry:
    """One line of the recipe."""

    value: Any
    source: str
    note: str = ""


@dataclass
class Draft:
    """What a script's translation fills."""

    arguments: Arguments
    entries: dict[str, Entry] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)  # flag: reason, for what depends on values
    dropped: dict[str, str] = field(default_factory=dict)  # likewise

    def set(self, key: str, value: Any, flags: str = "", note: str = "", source: str = "fixed in the script") -> None:
        """Give ``key`` a value that comes from ``flags`` (names with a space between), or from ``source``."""
        names = flags.split()
        given = [f"--{name}" for name in names if name in self.arguments.given]
        assumed = [f"--{name}" for name in names if name not in self.arguments.given]
        if given:
            source = " ".join(given)
        elif assumed:
            source = f"default of {' '.join(assumed)}"
        self.entries[key] = Entry(value, source, note)

    def recipe(self) -> dict[str, Any]:
        """The keys in the order of the sections."""
        order = {key: place for place, key in enumerate(KEYS)}
        return {key: self.entries[key].value for key in sorted(self.entries, key=lambda key: order[key])}

    def lines(self) -> list[str]:
        """The recipe as YAML with comments."""
        found: list[str] = []
        for section, keys in SECTIONS.items():
            present = [key for key in keys if key in self.entries]
            if present:
                found += ["", f"# {section}"]
            for key in present:
                entry = self.entries[key]
                if entry.note:
                    found += comment(entry.note)
                found.append(f"{key}: {_scalar(entry.value)}  # {entry.source}")
        return found


def _scalar(value: Any) -> str:
    """``value`` as YAML on one line."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=float("inf"))
    return str(text).removesuffix("...\n").rstrip("\n")


def comment(text: str, first: str = "# ", other: str = "# ") -> list[str]:
    """``text`` as lines of comment, broken between words."""
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )


def one_line(text: str) -> str:
    """``text`` without line breaks and other control characters, so that it stays a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
