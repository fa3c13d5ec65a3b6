"""FLUX-Lightning's training script, ``train_flux_lightning_lora.py``."""

from __future__ import annotations

from fastdiffusers.distillation.imported.draft import Draft
from fastdiffusers.distillation.imported.flag import Flag, computed, dropped, mapped, refused
from fastdiffusers.distillation.imported.launcher import Launch
from fastdiffusers.distillation.imported.shared import (
    LEVEL,
    LORA_ALPHA,
    NEVER_USED,
    accelerate_flags,
    fill_accelerate,
    fill_schedule,
    same,
)

SCRIPTS = ("train_flux_lightning_lora.py",)
METHOD = "flux-lightning"
TARGETS = (
    "there attention of all blocks and feed-forward of the double ones; the word mlp means the single blocks' part too"
)
REVISION = "a model is a folder here; name the folder that holds the files of that revision or variant"

FLAGS: tuple[Flag, ...] = (
    mapped("data_path", str, None, "data", "the folder of shards", always=False),
    mapped("file_list_path", str, None, "file_list", always=False),
    mapped("pretrained_teacher_model", str, None, "model", always=False),
    refused("revision", str, None, REVISION),
    refused("variant", str, None, REVISION),
    same("max_sequence_length", int, 512, "the length of T5's sequences is the model's own, 512 for FLUX.1-dev"),
    computed(
        "num_validation_images", int, 4, "validation_prompts", "pictures that are compared, at least 2", minimum=1
    ),
    dropped("validation_prompt", str, None, "grids draw captions of the data, the same ones each time"),
    mapped("validation_steps", int, 50, "sample_every", "there never called, here done", always=False, minimum=0),
    mapped("lora_rank", int, 4, "rank", minimum=1),
    mapped("resolution", int, 1024, "resolution", "square, cut from the middle", minimum=16),
    dropped("center_crop", bool, False, "pictures are cut from the middle in any case, there and here"),
    dropped("random_flip", bool, False, NEVER_USED),
    dropped("sample_batch_size", int, 4, NEVER_USED),
    *accelerate_flags(batch=4, epochs=1, weight_decay=1e-4),
    LEVEL,
    computed(
        "guidance_scale", float, 3.5, "guidance_min guidance_max", "embedded, fed to teacher and student", minimum=0
    ),
    dropped("text_encoder_lr", float, 5e-6, NEVER_USED),
    dropped("adam_weight_decay_text_encoder", float, 1e-3, NEVER_USED),
    dropped("lr_num_cycles", int, 1, "belongs to schedules that the script never attaches"),
    dropped("lr_power", float, 1.0, "belongs to schedules that the script never attaches"),
    dropped("weighting_scheme", str, "sigma_sqrt", NEVER_USED, choices=("sigma_sqrt", "logit_normal", "mode")),
    dropped("logit_mean", float, 0.0, NEVER_USED),
    dropped("logit_std", float, 1.0, NEVER_USED),
    dropped("mode_scale", float, 1.29, NEVER_USED),
    dropped("w_min", float, 5.0, f"{NEVER_USED}: guidance is --guidance_scale alone"),
    dropped("w_max", float, 15.0, f"{NEVER_USED}: guidance is --guidance_scale alone"),
    dropped("not_apply_cfg_solver", bool, False, f"{NEVER_USED}: its solver never adds true guidance"),
    dropped("prodigy_beta3", float, None, NEVER_USED),
    dropped("prodigy_decouple", bool, True, NEVER_USED),
    dropped("prodigy_use_bias_correction", bool, True, NEVER_USED),
    dropped("prodigy_safeguard_warmup", bool, True, NEVER_USED),
    dropped("push_to_hub", bool, False, "nothing is published by a training"),
    dropped("hub_token", str, None, "nothing is published by a training", secret=True),
    dropped("hub_model_id", str, None, "nothing is published by a training"),
    dropped("prior_generation_precision", str, None, NEVER_USED, choices=("no", "fp32", "fp16", "bf16")),
    mapped("num_euler_timesteps", int, 50, "solver_steps", "a multiple of --multiphase", minimum=1),
    mapped("multiphase", int, 8, "phases", minimum=1),
    computed("adv_weight", float, 0.1, "adversarial_weight terms", "0 leaves the term out", minimum=0),
    mapped("adv_lr", float, 1e-5, "adversarial_lr", minimum=0),
    same("adv_loss_type", str, "pcm", "the hinge loss, pcm there, is the one that is offered"),
    dropped("pre_alloc_memory", int, 0, "no effect on the result: Paddle's pool of GPU memory grows as it is needed"),
    computed("use_dmd_loss", bool, False, "terms", "adds dmd"),
    computed("dmd_weight", float, 0.1, "dmd_weight", "unused without --use_dmd_loss, as there", minimum=0),
    computed("apply_reflow_loss", bool, False, "terms", "adds reflow"),
    computed("reflow_loss_weight", float, 1.0, "reflow_weight", "unused without --apply_reflow_loss", minimum=0),
    refused(
        "use_distill_loss",
        bool,
        False,
        "regression onto a roll-out of the teacher from noised data is no term here; "
        "kd regresses onto the teacher's own trajectories",
        only=(False,),
    ),
)


def translate(draft: Draft, launch: Launch, compat: str) -> None:
    """The keys that are not one flag's value."""
    values = draft.arguments
    reference = compat == "reference"
    fill_accelerate(draft, launch)
    _schedule(draft, reference)
    _terms(draft)
    if "data" in draft.entries:
        draft.set("data_kind", "laion", "data_path")
    draft.set("examples", None, note="all there are")
    draft.set("buckets", False, note="square pictures only, as there")
    if "num_validation_images" in values.given:
        draft.set("validation_prompts", max(2, values["num_validation_images"]), "num_validation_images")
    draft.set("train", "lora")
    rank = values["lora_rank"]
    scale = f"{LORA_ALPHA}/{rank} = {LORA_ALPHA / rank:g}"
    if reference:
        draft.set("alpha", LORA_ALPHA, note=f"never set there, so it trained at scale {scale}; here it is saved too")
    else:
        text = f"alpha is the rank, scale 1. The predecessor never set it and trained at {scale}, at the same lr: "
        text += f"alpha: {LORA_ALPHA} does likewise (compat=reference writes it)"
        draft.set("alpha", rank, note=text, source="not the script's")
    draft.set("targets", ["attention", "mlp"], note=TARGETS)
    for key in ("guidance_min", "guidance_max"):
        draft.set(key, values["guidance_scale"], "guidance_scale")
    draft.set("true_guidance", False, note="the solver's guidance is FLUX's embedded one")
    draft.set("student_guidance", True)
    if values["num_euler_timesteps"] % values["multiphase"]:
        draft.refusals["multiphase"] = (
            f"the {values['num_euler_timesteps']} solver steps must be a multiple of the phases, "
            f"{values['multiphase']}: edges of phases lie on the solver's grid here"
        )
    draft.set("compat", compat, note=_compat_note(reference), source="compat=none or reference, after the command")


def _terms(draft: Draft) -> None:
    values = draft.arguments
    terms = ["consistency"]
    draft.set("form", "x", note="the distance is taken between the ends of the jumps")
    draft.set("target_ema", 0.0, note="the target is the student itself, without gradient")
    draft.set("edge_share", 0.0, note="levels are drawn uniformly from the solver's grid")
    if values["adv_weight"] > 0:
        terms.append("adversarial")
        note = "there a head on each of the 57 blocks, here on those of adversarial_depths"
        draft.set("adversarial_weight", values["adv_weight"], "adv_weight", note)
        draft.set("adversarial_beta1", 0.0)
        draft.set("opponent_turns", 1, note="discriminator on even steps, student on odd ones")
        if "steps" in draft.entries:
            entry = draft.entries["steps"]
            entry.note = f"turns of both kinds: {entry.value // 2} of them update the student"
    else:
        draft.entries.pop("adversarial_lr", None)
        draft.dropped["adv_lr"] = "there is no discriminator with --adv_weight 0"
        if "steps" in draft.entries and (steps := draft.entries["steps"].value) > 1:
            note = f"updates of the student: of the predecessor's {steps} steps every second one, the odd ones"
            draft.set("steps", steps // 2, "max_train_steps", f"{note}; the others trained an unused discriminator")
    for switch, weight, term in (
        ("use_dmd_loss", "dmd_weight", "dmd"),
        ("apply_reflow_loss", "reflow_loss_weight", "reflow"),
    ):
        if values[switch]:
            terms.append(term)
            draft.set(f"{term}_weight", values[weight], weight)
        elif weight in values.given:
            draft.dropped[weight] = f"unused without --{switch}, as there"
    draft.set("terms", terms, "adv_weight use_dmd_loss apply_reflow_loss")


def _schedule(draft: Draft, reference: bool) -> None:
    """There a schedule is built and never attached: every run had a constant learning rate."""
    values = draft.arguments
    asked = "lr_scheduler" in values.given and values["lr_scheduler"] != "constant"
    if asked and not reference:
        fill_schedule(draft, "lr_scheduler", values["lr_warmup_steps"], "lr_warmup_steps")
        if "schedule" in draft.entries:
            draft.entries[
                "schedule"
            ].note = (
                "as the command asks; the script never attached it and trained at a constant rate (compat=reference)"
            )
        return
    note = "the script never attached its schedule: the rate was constant, without warm-up"
    draft.set("schedule", "constant", "lr_scheduler", note)
    draft.set("warmup_steps", 0, "lr_warmup_steps")
    if asked:
        draft.dropped["lr_scheduler"] = note
    if values["lr_warmup_steps"]:
        draft.dropped["lr_warmup_steps"] = note


def _compat_note(reference: bool) -> str:
    if reference:
        return "the predecessor's arithmetic, its known defects included, for comparison"
    return (
        "corrected arithmetic: exact re-noising, DMD normalised by the prediction of the picture, reflow from where "
        "the noise was added; compat=reference imports the predecessor's"
    )
