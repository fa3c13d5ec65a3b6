"""From the options of ``fastdiff infer`` to a job; everything that can be refused is refused here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import InputError, PlanError, one_of
from fastdiffusers.weights.layout import DTYPES
from fastdiffusers_cli.job import STRENGTH, Job, Picture, open_start
from fastdiffusers_cli.places import DEFAULT, check_files, check_pictures, picture_paths, shown
from fastdiffusers_cli.prompts import choose_prompts, unknown_words
from fastdiffusers_cli.settings import make_setting

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plan import Plan


def job_from_options(given: dict[str, Any]) -> Job:
    """The job that the options (by parameter name; those not given are absent) ask for."""
    from fastdiffusers.models.info import describe
    from fastdiffusers.plan import setting_from_dict
    from fastdiffusers.plan_file import load_plan_data

    check_alone(given)
    file = load_plan_data(given["plan"]) if "plan" in given else None
    stored = setting_from_dict(file) if file else None
    model = choose_model(given.get("model"), planned_model(file))
    info = describe(model)
    check_needs(given, stored, info)
    start = open_start(given["image"]) if "image" in given else None
    plan, setting = make_plan_of(given, file, stored, info)
    prompts = choose_prompts(given.get("prompt"), given.get("prompts"), info)
    copies, seed = given.get("n", 1), given.get("seed", 0)
    check_seeds(seed, copies, len(prompts))

    out = given.get("out", DEFAULT)
    paths = picture_paths(out, len(prompts) * copies)
    is_grid = bool(given.get("grid")) and len(paths) > 1
    check_targets([*paths, *([out] if is_grid else [])], given)
    # picture i of all has seed + i, as in a call of the pipeline with several prompts
    drawn = [prompt for prompt in prompts for _ in range(copies)]
    pictures = tuple(Picture(prompt, seed + i, paths[i]) for i, prompt in enumerate(drawn))
    return Job(
        info=info,
        model=model,
        plan=plan,
        setting=setting,
        pictures=pictures,
        dtype=given.get("dtype", DTYPES[0]),
        negative=given.get("negative"),
        start=start,
        grid=out if is_grid else None,
        columns=copies if copies > 1 and len(prompts) > 1 else None,
        threads=given.get("threads"),
        save_plan=given.get("save_plan"),
        notes=tuple(notes_on(given, prompts, info)),
    )


def check_alone(given: dict[str, Any]) -> None:
    """Refuse combinations of options that contradict each other, and values that need no model to be judged."""
    one_accel(given.get("accel"))
    if "plan" in given and "accel" in given:
        raise InputError("--plan and --accel both name accelerators; use one of them")
    if given.get("dtype", DTYPES[0]) not in DTYPES:
        raise InputError(one_of("dtype", given["dtype"], DTYPES))
    if given.get("threads", 1) < 1:
        raise InputError(f"--threads {given['threads']} is not valid; it must be an integer of at least 1")
    if "strength" in given and "image" not in given:
        raise InputError("--strength says how much of a picture to redraw; give the picture with --image")


def check_needs(given: dict[str, Any], stored: Setting | None, info: ModelInfo) -> None:
    """Refuse a setting, given or from a plan file (``stored``), without what it is applied to."""
    if "image" in given and "img2img" not in info.features:
        raise InputError(f"--image: {info.name} ({info.family}) draws from text only")
    if "cfg" in info.features:
        _check_guided(given, info)
        return
    planned = stored.true_cfg_scale if stored else 1.0
    scale = given.get("true_cfg", planned)
    if "negative" in given and scale <= 1:
        raise InputError("--negative has no effect without true guidance; add --true-cfg with a number above 1")
    if scale > 1 and "negative" not in given:
        if "true_cfg" in given:
            raise InputError("--true-cfg guides away from a negative prompt; add --negative (it may be '')")
        raise InputError(
            f"the plan has true_cfg_scale {planned:g}, which guides away from a negative prompt; add --negative (it "
            "may be ''), or --true-cfg 1 to draw without"
        )
    if stored and stored.strength is not None and "image" not in given:
        raise InputError(
            f"the plan has strength {stored.strength:g}, which says how much of a picture to redraw; give the picture "
            "with --image, or take strength out of the plan"
        )


def _check_guided(given: dict[str, Any], info: ModelInfo) -> None:
    """The same for a model whose guidance is classifier-free anyway: a negative prompt needs nothing else."""
    if "true_cfg" in given:
        raise InputError(f"--true-cfg: {info.name} ({info.family}) is guided by --guidance; leave --true-cfg out")
    guidance = given.get("guidance", info.default_setting.guidance)
    if "negative" in given and guidance <= 1:
        raise InputError(f"--negative has no effect with --guidance {guidance:g}; guidance must be above 1")


def check_targets(pictures: list[Path], given: dict[str, Any]) -> None:
    """Refuse places that cannot be written, that are read as well, or that are named twice; makes nothing."""
    check_pictures(pictures, [given[name] for name in ("image", "prompts", "plan") if name in given])
    plan = given.get("save_plan")
    if plan is None:
        return
    check_files("--save-plan", [plan], [given[name] for name in ("image", "prompts") if name in given])
    if os.path.realpath(plan) in map(os.path.realpath, pictures):
        raise InputError(f"--save-plan {shown(plan)} is the name of a picture; name another")


def choose_model(given: str | None, default: str) -> str:
    """The model given on the command line, or ``default`` when none is; an empty name is no name."""
    if given is None:
        return default
    if not given.strip():
        raise InputError(f"--model {given!r} is empty; give an embedded model's name, or a folder")
    return given


def one_accel(accel: list[str] | None) -> str | None:
    """The words of the single ``--accel``; repeating it is an error that says what it means elsewhere."""
    if accel and len(accel) > 1:
        raise PlanError(
            f"--accel was given {len(accel)} times, which separates the arms of `fastdiff bench`; "
            f"here a comma composes: --accel {','.join(accel)}"
        )
    return accel[0] if accel else None


def make_plan_of(
    given: dict[str, Any], file: dict[str, Any] | None, stored: Setting | None, info: ModelInfo
) -> tuple[Plan, Setting]:
    """The plan of ``--accel`` or of a plan file, and the setting it is made for: what was given, else the file's
    (``stored``), else the model's. Pictures are drawn one by one. Raises `PlanError` at a refusal.
    """
    from fastdiffusers.plan import Plan, make_plan, parse
    from fastdiffusers.plugins import registry

    planned = STRENGTH if stored is None or stored.strength is None else stored.strength
    dtype = given.get("dtype", DTYPES[0])
    setting = make_setting(
        info,
        stored,
        steps=given.get("steps"),
        guidance=given.get("guidance"),
        size=given.get("size"),
        batch=1,
        strength=given.get("strength", planned) if "image" in given else None,
        true_cfg=given.get("true_cfg"),
    )
    if file is not None:
        plan = Plan.from_dict(file, registry(), info, setting, dtype)
    else:
        plan = make_plan(parse(one_accel(given.get("accel"))), registry(), info, setting, dtype)
    plan.check()
    return plan, plan.effective or setting


def planned_model(file: dict[str, Any] | None) -> str:
    """The model a plan file names if it is an embedded one, else the default."""
    from fastdiffusers.zoo import DEFAULT as EMBEDDED_DEFAULT
    from fastdiffusers.zoo import EMBEDDED

    stored = (file or {}).get("model")
    name = stored.get("name") if isinstance(stored, dict) else None
    return name if name in EMBEDDED else EMBEDDED_DEFAULT


def check_seeds(seed: int, copies: int, prompts: int = 1) -> None:
    """Refuse a count below 1 and seeds that no generator takes, of ``copies`` pictures of each of ``prompts``."""
    if copies < 1:
        raise InputError(f"--n {copies} is not valid; it must be an integer of at least 1")
    largest = 2**64 - copies * prompts
    if not 0 <= seed <= largest:
        raise InputError(f"--seed {seed} is not valid; it must be an integer from 0 to {largest}")


def notes_on(given: dict[str, Any], prompts: list[str], info: ModelInfo) -> list[str]:
    """What the user should know of this request although it can be carried out."""
    notes = [unknown_words(prompts, info)]
    if "guidance" in given and not {"guidance", "cfg"} & info.features:
        notes.append(f"{info.name} has no guidance embedding; --guidance {given['guidance']:g} changes nothing")
    if given.get("grid") and len(prompts) * given.get("n", 1) == 1:
        notes.append("--grid of a single picture is that picture; add --n or --prompts")
    return [note for note in notes if note]
