"""The LCM document's training script, ``train_lcm.py``: LoRA and full, SD1.5 and SDXL."""

from __future__ import annotations

import math

from fastdiffusers.distillation.imported.draft import Draft
from fastdiffusers.distillation.imported.flag import Flag, computed, dropped, mapped, refused, word
from fastdiffusers.distillation.imported.launcher import Launch
from fastdiffusers.distillation.imported.paddlenlp import TRAINER_FLAGS
from fastdiffusers.distillation.imported.shared import (
    LORA_ALPHA,
    LOSS,
    NO_LOADER,
    fill_batch,
    fill_optimiser,
    fill_precision,
    fill_resume,
    fill_schedule,
    fill_steps,
    fill_tracker,
    refused_paths,
    same,
)

SCRIPTS = ("train_lcm.py",)
METHOD = "lcm"
# The predecessor adds w·(v(c) − v(∅)) to v(c); the key counts the common scale of v(∅) + g·(v(c) − v(∅)), one more.
SCALE_OFFSET = 1.0
LCM_STEPS = 4

GUIDANCE: tuple[Flag, ...] = (
    computed("w_min", float, None, "guidance_min", "plus 1: see the key's comment"),
    computed("w_max", float, 15.0, "guidance_max", "plus 1: see the key's comment"),
)
WIDTH_OF_W = "the guidance embedding of a fully trained student has 256 channels"
SIZES = "the original size and cut of each picture are not stored; valid is true, one fixed size and cut"

FLAGS: tuple[Flag, ...] = (
    mapped("pretrained_model_name_or_path", str, "runwayml/stable-diffusion-v1-5", "model"),
    *refused_paths("vae_name_or_path", "text_encoder_name_or_path", "text_encoder_2_name_or_path"),
    *refused_paths("teacher_unet_name_or_path", "tokenizer_name", "tokenizer_2_name"),
    same("model_max_length", int, 77, "the length of captions is the text encoder's own, 77"),
    mapped("num_inference_steps", int, 4, "student_steps", "steps of the pictures that are drawn", minimum=1),
    dropped("vae_encode_batch_size", int, None, "pictures are encoded once, in batches that fit"),
    *GUIDANCE,
    mapped("num_ddim_timesteps", int, 50, "solver_steps", minimum=1),
    *LOSS,
    same("timestep_scaling_factor", float, 10.0, "the boundary's time scale is fixed at 10, LCMScheduler's default"),
    same("unet_time_cond_proj_dim", int, 256, WIDTH_OF_W),
    computed("ema_decay", float, 0.95, "target_ema", "the target's average; full training only", minimum=0, maximum=1),
    computed("is_lora", bool, True, "train", "true: lora, false: full"),
    computed("lora_rank", int, 64, "rank alpha", "with --is_lora only", minimum=1),
    computed("is_sdxl", bool, False, "guidance_min", "decides defaults only; the model's folder says what it is"),
    same("use_fix_crop_and_size", bool, True, SIZES),
    dropped("center_crop", bool, False, "pictures are cut from the middle in any case"),
    refused("random_flip", bool, False, "pictures are encoded once, unmirrored", only=(False,)),
    computed(
        "file_list", str, "./data/filelist/train.filelist.list", "data file_list data_kind", "a list of lists of shards"
    ),
    dropped("num_records", int, 10_000_000, "only the length of an epoch"),
    dropped("buffer_size", int, 100, "every pass over the data is a full shuffle"),
    dropped("shuffle_every_n_samples", int, 5, "every pass over the data is a full shuffle"),
    same("interpolation", str, "lanczos", "pictures are resized with Lanczos' filter"),
    mapped("proportion_empty_prompts", float, 0.0, "caption_drop", minimum=0, maximum=1),
    computed("resolution", int, 512, "resolution min_side", "smaller pictures are left out, as there", minimum=16),
    mapped("image_logging_steps", int, 1000, "sample_every", "0 and below: only at the end", always=False),
    dropped("benchmark", bool, False, "only prints figures; fastdiff bench measures"),
    dropped("profiler_options", str, None, "only prints figures"),
    computed("report_to", str, "custom_visualdl", "tracker", "VisualDL is the tracker here", many=True),
    dropped("enable_xformers_memory_efficient_attention", bool, True, "the fastest attention is taken by itself"),
    dropped("only_save_updated_model", bool, True, "what was not trained is never saved"),
    word("output_dir", str, None, "--out", "the folder that is written"),
    word("overwrite_output_dir", bool, False, "--resume", "true: never; otherwise auto"),
    word("resume_from_checkpoint", str, None, "--resume", "latest: auto"),
    dropped("dataloader_num_workers", int, 0, NO_LOADER),
    *TRAINER_FLAGS,
)


def translate(draft: Draft, launch: Launch, compat: str) -> None:
    """The keys that are not one flag's value."""
    values = draft.arguments
    fill_steps(draft, "max_steps")
    fill_batch(draft, launch, "per_device_train_batch_size", "gradient_accumulation_steps")
    warmup = values["warmup_steps"]
    steps = draft.entries["steps"].value if "steps" in draft.entries else 0
    ratio = warmup == 0 and values["warmup_ratio"] > 0
    if ratio:
        warmup = math.ceil(values["warmup_ratio"] * steps)
    fill_schedule(draft, "lr_scheduler_type", warmup, "warmup_ratio" if ratio else "warmup_steps")
    if values["bf16"] and values["fp16"]:
        draft.refusals["fp16"] = "at most one of --bf16 and --fp16 can be true"
    kind = "bf16" if values["bf16"] else "fp16" if values["fp16"] else "no"
    fill_precision(draft, kind, values["fp16_opt_level"], "bf16 fp16 fp16_opt_level")
    fill_optimiser(draft)
    fill_tracker(draft)
    if values["output_dir"]:
        draft.words += ["--out", values["output_dir"]]
    fill_resume(draft, "never" if values["overwrite_output_dir"] else "auto")
    draft.set("data", ".", "file_list", "the names in the lists are relative to the working folder, as there")
    draft.set("file_list", values["file_list"], "file_list", "a list of lists of shards")
    draft.set("data_kind", "laion", "file_list")
    draft.set(
        "resolution", values["resolution"], "resolution", "square; the predecessor cuts anywhere, here in the middle"
    )
    draft.set("min_side", values["resolution"], "resolution")
    if "sample_every" in draft.entries:
        draft.entries["sample_every"].value = max(0, values["image_logging_steps"])
    draft.set("seed", values["seed"], "seed")
    full = not values["is_lora"]
    fill_student(draft, full, "is_lora")
    fill_guidance(draft, full, 3.0 if values["is_sdxl"] else 5.0)


def fill_student(draft: Draft, full: bool, flag: str) -> None:
    """What is trained, and the one term."""
    values = draft.arguments
    draft.set("train", "full" if full else "lora", flag)
    if full:
        draft.set("target_ema", values["ema_decay"], "ema_decay")
        draft.dropped["lora_rank"] = "there is no LoRA in a full training"
        precision = draft.entries["precision"]
        if precision.value.endswith("o2"):
            precision.value = precision.value.removesuffix("2") + "1"
            precision.note = "weights that are trained stay in 32 bits here; there they have copies in 32 bits"
    else:
        rank = values["lora_rank"]
        draft.set("rank", rank, "lora_rank")
        note = f"the predecessor's, so the scale is {LORA_ALPHA}/{rank} = {LORA_ALPHA / rank:g}; it saves it, as we do"
        draft.set("alpha", LORA_ALPHA, note=note)
        draft.set("target_ema", 0.0, note="the target of a LoRA is the student itself, without gradient")
        draft.dropped["ema_decay"] = "the target of a LoRA is the student itself, as there"
    if "examples" not in draft.entries:
        draft.set("examples", None, note="all there are")
    draft.set("buckets", False, note="square pictures only, as there")
    draft.set("terms", ["consistency"])
    draft.set("phases", 1)
    draft.set("sampler", "lcm", note="as the LCM scheduler draws: to the picture, and back with fresh noise")
    if "student_steps" not in draft.entries:
        draft.set("student_steps", LCM_STEPS, note="what such adapters are drawn with; any number will do")
    draft.set("form", "x", note="the distance is taken between predictions of the picture")
    draft.set("edge_share", 0.0, note="levels are drawn uniformly from the solver's grid")
    draft.set("compat", "none", note="the predecessor's arithmetic of this loss is ours")


def fill_guidance(draft: Draft, full: bool, w_min: float) -> None:
    """True guidance, drawn anew for each example; only a fully trained student is told it."""
    values = draft.arguments
    low = values["w_min"] or w_min
    high = values["w_max"]
    note = (
        f"w there is added to the conditional prediction; this is the usual scale, w + 1 (w from {low:g} to {high:g})"
    )
    draft.set("guidance_min", low + SCALE_OFFSET, "w_min", note)
    draft.set("guidance_max", high + SCALE_OFFSET, "w_max")
    draft.set("true_guidance", True)
    note = "the student has an input for w" if full else "a LoRA student is not told the guidance"
    draft.set("student_guidance", full, note=note)
    if low > high:
        draft.refusals["w_max"] = f"it is {high:g}; valid is at least --w_min, {low:g}"
