"""``fastdiff explain``: the plan in words, without loading a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers.counting import counted
from fastdiffusers.weights.layout import DTYPES
from fastdiffusers_cli.failure import USER_ERROR, say_error
from fastdiffusers_cli.output import options_in_words, print_json, print_pairs

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plan import Plan, PlanItem


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    accel: Annotated[
        list[str] | None,
        typer.Option(help="Accelerators, such as teacache:threshold=0.4; a comma composes.  [default: each alone]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="An embedded model, a folder in diffusers' layout, or flux.1-dev or flux.1-schnell without weights.  "
            "[default: flux-emoji]"
        ),
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A YAML file from --save-plan, instead of --accel.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: the model's]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Embedded guidance.  [default: the model's]")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.  [default: the model's]")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Pictures at once.  [default: 1]")] = None,
    dtype: Annotated[str, typer.Option(help="What would be computed in; a profile is for one.")] = DTYPES[0],
    tflops: Annotated[
        float | None, typer.Option(help="What the machine reaches, 10^12 operations a second: predicts the latency.")
    ] = None,
    save_plan: Annotated[Path | None, typer.Option(help="Write the plan to a YAML file for `infer --plan`.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what a combination of accelerators would do, without running it.

    Which would engage, in which order and why, what they claim, what to expect of each, and what is refused and why.
    What it costs in weights, arithmetic and memory comes from the model's configuration. Loads neither the model nor
    Paddle. The exit code is 2 when something is refused.
    """
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.models.info import describe
    from fastdiffusers.plan import Plan, Request, make_plan, parse, setting_from_dict
    from fastdiffusers.plan_file import load_plan_data, write_plan
    from fastdiffusers.plugins import registry
    from fastdiffusers_cli.asking import choose_model, one_accel, planned_model
    from fastdiffusers_cli.explain_costs import costs, print_costs
    from fastdiffusers_cli.places import check_files
    from fastdiffusers_cli.settings import make_setting

    words = one_accel(accel)
    if plan is not None and words is not None:
        raise InputError("--plan and --accel both name accelerators; use one of them")
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    if tflops is not None and not 0 < tflops < float("inf"):
        raise InputError(f"--tflops {tflops:g} is not valid; it must be a number above 0")
    file = load_plan_data(plan) if plan is not None else None
    if save_plan is not None:
        if file is None and words is None:
            raise InputError("--save-plan saves one plan; say which with --accel")
        check_files("--save-plan", [save_plan])
    info = describe(choose_model(model, planned_model(file)))
    stored = setting_from_dict(file) if file else None
    setting = make_setting(info, stored, steps=steps, guidance=guidance, size=size, batch=n)
    if file is None and words is None:
        _explain_each([make_plan([Request(name)], registry(), info, setting) for name in registry().accelerators], json)
        return
    if file is not None:
        decided = Plan.from_dict(file, registry(), info, setting, dtype)
    else:
        decided = make_plan(parse(words), registry(), info, setting, dtype)
    found = costs(decided, info, setting, dtype, tflops)
    if json:
        print_json(as_dict(decided, info, setting) | ({} if found is None else {"costs": found}))
    else:
        print_plan(decided, info, setting)
        if found is not None:
            print()
            print_costs(found)
    for refusal in decided.refusals:
        say_error(str(refusal))
    if decided.refusals:
        raise typer.Exit(USER_ERROR)
    if save_plan is not None:
        write_plan(decided, save_plan)


def _explain_each(plans: list[Plan], json: bool) -> None:
    """Every installed accelerator on its own; what is refused here was not asked for, so it is no error."""
    if json:
        print_json({"alone": [plan.to_dict() for plan in plans]})
        return
    for plan in plans:
        for item in plan.items:
            _print_item(item)
        for refusal in plan.refusals:
            print_pairs([("accelerator", refusal.name), ("refused", refusal.reason)])
        print()
    print("each on its own; `fastdiff explain --accel a,b` decides whether they go together")


def as_dict(plan: Plan, info: ModelInfo, setting: Setting) -> dict[str, Any]:
    """The plan as data, with the model's features and what they cost in tokens."""
    content = plan.to_dict()
    content["model"] |= {"family": info.family, "features": sorted(info.features)}
    content["tokens"] = info.tokens(setting.height, setting.width)
    return content


def print_plan(plan: Plan, info: ModelInfo, setting: Setting) -> None:
    """The plan as a table, from the inside out."""
    more = [
        *([f"strength {setting.strength:g}"] if setting.strength is not None else []),
        *([f"true guidance {setting.true_cfg_scale:g}"] if setting.true_cfg_scale > 1 else []),
        *([f"{setting.batch} pictures at once"] if setting.batch > 1 else []),
    ]
    words = [
        f"{setting.width}x{setting.height}",
        counted(setting.steps, "step"),
        f"guidance {setting.guidance:g}",
        *more,
    ]
    print(f"{info.name} ({info.family}; offers {', '.join(sorted(info.features))}), {', '.join(words)}")
    if not plan.items:
        print("no accelerator would engage: plain sampling")
        return
    for item in plan.items:
        print()
        _print_item(item)
    if len(plan.items) > 1:
        print("\nfrom the inside (nearest to the weights) out; nothing has been loaded or run")


def _print_item(item: PlanItem) -> None:
    print_pairs(
        [
            ("accelerator", f"{item.spec.name} ({item.spec.kind.value}, {item.fidelity.value})"),
            ("options", options_in_words(item.options)),
            *(("", note) for note in item.notes),
            ("claims", item.spec.claims),
            ("engages", item.prediction.engages),
            ("why", item.prediction.reason),
            ("expected", item.prediction.effect),
            ("place", item.order_reason),
        ]
    )
