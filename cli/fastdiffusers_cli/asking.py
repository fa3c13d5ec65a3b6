"""From the options of ``fastdiff infer`` to a job; everything that can be refused is refused here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import InputError, PlanError, one_of
from fastdiffusers_cli.job import DTYPES, STRENGTH, Job, Picture, open_start
from fastdiffusers_cli.places import DEFAULT, check_folder, check_writable, picture_paths
from fastdiffusers_cli.prompts import choose_prompts, unknown_words
from fastdiffusers_cli.settings import make_setting

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plan import Plan


def job_from_options(given: dict[str, Any]) -> Job:
    """The job that the options (by parameter name; those not given are absent) ask for."""
    from fastdiffusers.models.info import describe
    from fastdiffusers.plan_file import load_plan_data, write_plan

    check_alone(given)
    file = load_plan_data(given["plan"]) if "plan" in given else None
    model = given.get("model") or planned_model(file)
    info = describe(model)
    start = open_start(given["image"]) if "image" in given else None
    plan, setting = make_plan_of(given, file, info)
    prompts = choose_prompts(given.get("prompt"), given.get("prompts"), info)
    copies, seed = given.get("n", 1), given.get("seed", 0)
    check_seeds(seed, copies)

    out = given.get("out", DEFAULT)
    paths = picture_paths(out, len(prompts) * copies)
    is_grid = bool(given.get("grid")) and len(paths) > 1
    check_writable([*paths, *([out] if is_grid else [])])
    wanted = [(prompt, seed + i) for prompt in prompts for i in range(copies)]
    pictures = tuple(Picture(prompt, one, path) for (prompt, one), path in zip(wanted, paths, strict=True))
    if "save_plan" in given:
        check_folder(given["save_plan"].parent)
        write_plan(plan, given["save_plan"])
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
    if "negative" in given and given.get("true_cfg", 1.0) <= 1:
        raise InputError("--negative has no effect without true guidance; add --true-cfg with a number above 1")
    if "true_cfg" in given and "negative" not in given:
        raise InputError("--true-cfg guides away from a negative prompt; add --negative (it may be '')")


def one_accel(accel: list[str] | None) -> str | None:
    """The words of the single ``--accel``; repeating it is an error that says what it means elsewhere."""
    if accel and len(accel) > 1:
        raise PlanError(
            f"--accel was given {len(accel)} times, which separates the arms of `fastdiff bench`; "
            f"here a comma composes: --accel {','.join(accel)}"
        )
    return accel[0] if accel else None


def make_plan_of(given: dict[str, Any], file: dict[str, Any] | None, info: ModelInfo) -> tuple[Plan, Setting]:
    """The plan of ``--accel`` or of a plan file, and the setting it is made for. Raises `PlanError` at a refusal."""
    from fastdiffusers.plan import Plan, make_plan, parse, setting_from_dict
    from fastdiffusers.plugins import registry

    setting = make_setting(
        info,
        setting_from_dict(file) if file else None,
        steps=given.get("steps"),
        guidance=given.get("guidance"),
        size=given.get("size"),
        strength=given.get("strength", STRENGTH) if "image" in given else None,
        true_cfg=given.get("true_cfg", 1.0),
    )
    if file is not None:
        plan = Plan.from_dict(file, registry(), info, setting)
    else:
        plan = make_plan(parse(one_accel(given.get("accel"))), registry(), info, setting)
    plan.check()
    return plan, setting


def planned_model(file: dict[str, Any] | None) -> str:
    """The model a plan file names if it is an embedded one, else the default."""
    from fastdiffusers.zoo import DEFAULT as EMBEDDED_DEFAULT
    from fastdiffusers.zoo import EMBEDDED

    stored = (file or {}).get("model")
    name = stored.get("name") if isinstance(stored, dict) else None
    return name if name in EMBEDDED else EMBEDDED_DEFAULT


def check_seeds(seed: int, copies: int) -> None:
    """Refuse a count below 1 and seeds that no generator takes."""
    if copies < 1:
        raise InputError(f"--n {copies} is not valid; it must be an integer of at least 1")
    if seed < 0 or seed + copies > 2**64:
        raise InputError(f"--seed {seed} is not valid; it must be an integer from 0 to {2**64 - copies}")


def notes_on(given: dict[str, Any], prompts: list[str], info: ModelInfo) -> list[str]:
    """What the user should know of this request although it can be carried out."""
    notes = [unknown_words(prompts, info)]
    if "guidance" in given and "guidance" not in info.features:
        notes.append(f"{info.name} has no guidance embedding; --guidance {given['guidance']:g} changes nothing")
    if given.get("grid") and len(prompts) * given.get("n", 1) == 1:
        notes.append("--grid of a single picture is that picture; add --n or --prompts")
    return [note for note in notes if note]
