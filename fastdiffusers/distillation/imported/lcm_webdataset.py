"""The LCM scripts that read WebDataset archives: ``train_lcm_distill_{,lora_}{sd,sdxl}_wds.py``."""

from __future__ import annotations

from fastdiffusers.distillation.imported.draft import Draft
from fastdiffusers.distillation.imported.flag import Flag, computed, dropped, mapped, refused
from fastdiffusers.distillation.imported.launcher import Launch
from fastdiffusers.distillation.imported.lcm import GUIDANCE, METHOD, WIDTH_OF_W, fill_guidance, fill_student
from fastdiffusers.distillation.imported.shared import (
    LEVEL,
    NEVER_USED,
    accelerate_flags,
    fill_accelerate,
    fill_schedule,
    refused_paths,
    same,
)

LORA = ("train_lcm_distill_lora_sd_wds.py", "train_lcm_distill_lora_sdxl_wds.py")
FULL = ("train_lcm_distill_sd_wds.py", "train_lcm_distill_sdxl_wds.py")
SCRIPTS = (*LORA, *FULL)
SMALLEST_SDXL = 700  # pixels; the SDXL scripts leave smaller pictures out
ARCHIVES = "WebDataset archives are not read; unpack them to a folder of pictures with .txt captions and set data="
REVISION = "a model is a folder here; name the folder that holds the files of that revision"


def flags_of(script: str) -> tuple[Flag, ...]:
    """The flags of one of the four scripts."""
    sdxl, lora = "sdxl" in script, script in LORA
    found = [
        mapped("pretrained_teacher_model", str, None, "model", always=False),
        *refused_paths("pretrained_vae_model_name_or_path"),
        *refused_paths("teacher_revision", "revision", reason=REVISION),
        dropped("cache_dir", str, None, "models are folders; nothing is downloaded"),
        refused("train_shards_path_or_url", str, None, ARCHIVES),
        mapped("resolution", int, 1024 if sdxl else 512, "resolution", "square, cut from the middle", minimum=16),
        dropped("center_crop", bool, False, "pictures are cut from the middle in any case"),
        refused("random_flip", bool, False, "pictures are encoded once, unmirrored", only=(False,)),
        mapped("max_train_samples", int, None, "examples", always=False, minimum=1),
        mapped("validation_steps", int, 200, "sample_every", always=False, minimum=1),
        *accelerate_flags(batch=16, epochs=100, weight_decay=1e-2),
        dropped("use_8bit_adam", bool, False, NEVER_USED),
        mapped("proportion_empty_prompts", float, 0.0, "caption_drop", minimum=0, maximum=1),
        *GUIDANCE,
        mapped("num_ddim_timesteps", int, 50, "solver_steps", minimum=1),
        dropped("cast_teacher_unet", bool, False, "the teacher computes in the precision of the training"),
    ]
    if sdxl:
        found.append(dropped("use_fix_crop_and_size", bool, False, "one fixed size and cut is what there is"))
    if lora:
        found += [computed("lora_rank", int, 64, "rank alpha", "", minimum=1), LEVEL]
    else:
        found += [
            same("unet_time_cond_proj_dim", int, 256, WIDTH_OF_W),
            computed("ema_decay", float, 0.95, "target_ema", "the target's average", minimum=0, maximum=1),
        ]
    return tuple(found)


def translate(draft: Draft, launch: Launch, compat: str) -> None:
    """The keys that are not one flag's value."""
    values = draft.arguments
    sdxl = "sdxl" in launch.script
    fill_accelerate(draft, launch)
    fill_schedule(draft, "lr_scheduler", values["lr_warmup_steps"], "lr_warmup_steps")
    fill_student(draft, launch.script in FULL, "")
    fill_guidance(draft, launch.script in FULL, 3.0 if sdxl else 5.0)
    if sdxl:
        draft.set("min_side", SMALLEST_SDXL, note="smaller pictures are left out, as there")
        if not values["use_fix_crop_and_size"]:
            draft.remarks.append(
                "Without --use_fix_crop_and_size the predecessor told SDXL each picture's own size and cut; "
                "here one fixed size and cut is told."
            )


__all__ = ["FULL", "LORA", "METHOD", "SCRIPTS", "flags_of", "translate"]
