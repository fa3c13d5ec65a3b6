"""What all scripts of the predecessor have in common: optimiser, batch, schedule, precision, tracker."""

from __future__ import annotations

from typing import Any

from fastdiffusers.distillation.imported.draft import Draft
from fastdiffusers.distillation.imported.flag import Flag, computed, dropped, mapped, refused, word
from fastdiffusers.distillation.imported.launcher import Launch

LORA_ALPHA = 8  # the predecessor's LoRA library uses this where a script names none, and no script does
NEVER_USED = "the script reads it and never uses it"
NO_LOADER = "pictures and captions are encoded once to disk and read from there; no processes load them"
ONE_FOLDER = "a model is one folder here; put the part into a copy of it and name that as the model"
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
RESTARTS = "schedules with restarts and polynomial ones are not offered; constant, linear and cosine are"

ADAM: tuple[Flag, ...] = (
    mapped("adam_beta1", float, 0.9, "adam_beta1", minimum=0, maximum=1),
    mapped("adam_beta2", float, 0.999, "adam_beta2", minimum=0, maximum=1),
    mapped("adam_epsilon", float, 1e-8, "adam_epsilon", minimum=0),
    computed("max_grad_norm", float, 1.0, "clip", "0 and below switch clipping off, as there"),
)
LOSS: tuple[Flag, ...] = (
    mapped("loss_type", str, "l2", "loss", choices=("l2", "huber")),
    mapped("huber_c", float, 0.001, "huber_c", minimum=0),
)


def accelerate_flags(batch: int, epochs: int, weight_decay: float) -> tuple[Flag, ...]:
    """Flags of the scripts that are built on an accelerator object, with the defaults that differ among them."""
    return (
        word("output_dir", str, None, "--out", "the folder that is written"),
        computed(
            "seed", int, None, "seed", "there each process adds its rank to it; here one seed rules all", minimum=0
        ),
        dropped("logging_dir", str, "logs", "log.jsonl and the tracker's files lie in the output folder"),
        computed("report_to", str, "tensorboard", "tracker", "VisualDL is the tracker here"),
        dropped("tracker_project_name", str, "text2image-fine-tune", "the output folder names the run"),
        mapped("checkpointing_steps", int, 500, "checkpoint_every", always=False, minimum=1),
        mapped("checkpoints_total_limit", int, None, "keep_checkpoints", always=False, minimum=1),
        word("resume_from_checkpoint", str, None, "--resume", "latest: auto; without the flag: never"),
        dropped("dataloader_num_workers", int, 0, NO_LOADER),
        computed("train_batch_size", int, batch, "batch", "examples of a batch over all devices", minimum=1),
        computed("gradient_accumulation_steps", int, 1, "accumulation", "batches of a step", minimum=1),
        refused(
            "num_train_epochs", int, epochs, "steps are counted here; not needed beside --max_train_steps", minimum=1
        ),
        computed("max_train_steps", int, None, "steps", "optimiser steps", minimum=1),
        computed("learning_rate", float, 1e-4, "lr", "multiplied out where --scale_lr is given", minimum=0),
        computed("scale_lr", bool, False, "lr", "times devices, accumulation and batch"),
        computed("lr_scheduler", str, "constant", "schedule", "constant, linear, cosine", choices=SCHEDULES),
        computed("lr_warmup_steps", int, 500, "warmup_steps", "unused by schedule constant, as there", minimum=0),
        *ADAM,
        mapped("adam_weight_decay", float, weight_decay, "weight_decay", minimum=0),
        *LOSS,
        computed("mixed_precision", str, None, "precision", "with --fp16_opt_level", choices=("no", "fp16", "bf16")),
        mapped("gradient_checkpointing", bool, False, "recompute"),
        dropped("enable_xformers_memory_efficient_attention", bool, False, "the fastest attention is taken by itself"),
        dropped("local_rank", int, -1, "the launcher tells each process its rank"),
    )


LEVEL = computed("fp16_opt_level", str, "O1", "precision", "O0 is float32, as there", choices=("O0", "O1", "O2"))


def fill_accelerate(draft: Draft, launch: Launch) -> None:
    """The keys that `accelerate_flags` computes."""
    values = draft.arguments
    fill_batch(draft, launch, "train_batch_size", "gradient_accumulation_steps")
    fill_steps(draft, "max_train_steps")
    lr, note = values["learning_rate"], ""
    if values["scale_lr"]:
        factor = values["train_batch_size"] * values["gradient_accumulation_steps"] * (launch.devices or 1)
        lr, note = lr * factor, f"--scale_lr: {values['learning_rate']:g} times {factor}, the examples of a step"
    draft.set("lr", lr, "learning_rate scale_lr" if values["scale_lr"] else "learning_rate", note)
    level = values.get("fp16_opt_level", "O1")
    fill_precision(draft, values["mixed_precision"] or "no", level, "mixed_precision fp16_opt_level")
    fill_optimiser(draft)
    if values["output_dir"]:
        draft.words += ["--out", values["output_dir"]]
    fill_resume(draft, "never")
    fill_tracker(draft)
    if "seed" in values.given:
        draft.set("seed", values["seed"], "seed")


def fill_optimiser(draft: Draft) -> None:
    """AdamW everywhere, the last weights, and clipping."""
    draft.set("muon", False, note="the predecessor trains everything with AdamW")
    draft.set("ema", 0.0, note="the last weights are kept, no average of them")
    draft.set("clip", max(0.0, draft.arguments["max_grad_norm"]), "max_grad_norm")


def fill_batch(draft: Draft, launch: Launch, batch: str, accumulation: str) -> None:
    """``batch`` counts the examples of all devices; ``accumulation``, the batches of an optimiser step."""
    values = draft.arguments
    each, devices = values[batch], launch.devices
    note = f"{each} on each of {devices} devices" if devices and devices > 1 else ""
    if devices is None:
        note = "the command does not say how many devices there are: one is counted, multiply by their number"
    draft.set("batch", each * (devices or 1), batch, note)
    draft.set("accumulation", values[accumulation], accumulation)


def fill_steps(draft: Draft, flag: str, epochs: str = "num_train_epochs") -> None:
    """``steps``; epochs alone cannot be counted, since the command does not tell the length of the data."""
    values = draft.arguments
    steps = values[flag]
    if steps is not None and steps > 0:
        draft.set("steps", steps, flag)
        draft.dropped[epochs] = f"--{flag} overrides it, as there"
    elif epochs in values.given:
        draft.refusals[epochs] = f"steps are counted here, not passes over the data; give --{flag} instead"
    else:
        draft.remarks.append(f"The command gives no --{flag}: the recipe's own number of steps stands.")


def fill_schedule(draft: Draft, flag: str, warmup: int, warmup_flag: str) -> None:
    """``schedule``, ``warmup_steps`` and ``decay_fraction``: there a decay runs from the warm-up to the end."""
    name = draft.arguments[flag]
    if name in ("linear", "cosine"):
        steps = draft.entries["steps"].value if "steps" in draft.entries else 0
        draft.set("schedule", name, flag)
        draft.set("warmup_steps", warmup, warmup_flag)
        share = max(0.0, 1 - warmup / steps) if steps else 1.0
        draft.set("decay_fraction", round(share, 6), flag, "the decay begins where the warm-up ends")
    elif name in ("constant", "constant_with_warmup"):
        draft.set("schedule", "constant", flag)
        warm = name == "constant_with_warmup"
        note = "" if warm or not warmup else "schedule constant knows no warm-up there"
        draft.set("warmup_steps", warmup if warm else 0, warmup_flag if warm else flag, note)
    else:
        draft.refusals[flag] = RESTARTS


def fill_precision(draft: Draft, kind: str, level: str, flags: str) -> None:
    """``precision`` from the number format and the level of automatic mixed precision."""
    mixed = kind != "no" and level != "O0"
    draft.set("precision", f"{kind}-{level.lower()}" if mixed else "float32", flags)


def fill_resume(draft: Draft, otherwise: str) -> None:
    """``--resume``: the newest checkpoint of the output folder, or none; the predecessor's own cannot be read."""
    value = draft.arguments["resume_from_checkpoint"]
    if value is None:
        draft.words += ["--resume", otherwise]
    elif value == "latest":
        draft.words += ["--resume", "auto"]
    else:
        draft.refusals["resume_from_checkpoint"] = (
            "the predecessor's checkpoints are not read; valid is latest, the newest one of the output folder"
        )


def fill_tracker(draft: Draft) -> None:
    """``tracker``, where one was asked for."""
    if "report_to" in draft.arguments.given:
        asked = draft.arguments["report_to"].split()
        none = asked == ["none"]
        own = any(name in ("visualdl", "custom_visualdl", "all") for name in asked)
        note = "" if none or own else f"{', '.join(asked)} is not offered"
        draft.set("tracker", "none" if none else "visualdl", "report_to", note)


def refused_paths(*names: str, reason: str = ONE_FOLDER) -> tuple[Flag, ...]:
    """Flags that name a part of a model."""
    return tuple(refused(name, str, None, reason) for name in names)


def same(name: str, kind: type, value: Any, reason: str, **more: Any) -> Flag:
    """A flag that only its default fits."""
    return refused(name, kind, value, reason, only=(value,), **more)
