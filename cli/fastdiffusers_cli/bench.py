"""``fastdiff bench``: what accelerators buy on this machine, and what they cost in picture quality."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers.weights.layout import DTYPES
from fastdiffusers_cli.output import print_json, print_note
from fastdiffusers_cli.progress import RoundBar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastdiffusers.bench import Arm, LeftOut, Suite
    from fastdiffusers.models.info import ModelInfo

PROMPTS = 3  # of the model's built-in prompts, where none are given
RUNS = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METHOD] [KEY=VALUE…]", help="With --training: what to train, as `distill` takes it."),
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Instead: how fast a distillation trains on 1, 2, … devices.")
    ] = False,
    devices: Annotated[
        str | None, typer.Option(metavar="N,N…", help="With --training: numbers of devices, as in 1,2,4.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="With --training: a YAML file, or a shipped recipe's name.")
    ] = None,
    accel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC[@STEPS]", help="An arm; repeat it. A comma composes within one arm; none@14 is plain."
        ),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="A YAML file, or a name from ./benchmarks/suites.")] = None,
    model: Annotated[str | None, typer.Option(help="An embedded model or a folder; flux-emoji by default.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A text file, one prompt a line.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps of every arm without steps of its own.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first prompt; prompt i has SEED + i. 0 by default.")
    ] = None,
    runs: Annotated[int | None, typer.Option(help=f"How often all prompts are drawn; {RUNS} by default.")] = None,
    controls: Annotated[
        bool | None,
        typer.Option(
            "--controls/--no-controls",
            help="Add plain sampling with as many steps as each cache computed. On without --accel.",
        ),
    ] = None,
    features: Annotated[
        bool | None,
        typer.Option("--features/--no-features", help="Distance in the scorer's features too; embedded models only."),
    ] = None,
    replay: Annotated[
        bool | None,
        typer.Option("--replay/--no-replay", help="Replay the decisions of each cache on a larger, random FLUX."),
    ] = None,
    peers: Annotated[Path | None, typer.Option(help="A JSON list of points that others measured.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw speed-up against PSNR into FILE.png or FILE.svg.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep complete rounds beside --out, and go on from those that are there.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32; bfloat16 or float16 on a GPU.")] = DTYPES[0],
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report to FILE.json or FILE.md as well.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compare accelerators with plain sampling: time, memory, and how far the picture moved.

    Runs are interleaved, attaching and warming up are timed apart, and quality is against the picture that plain
    sampling draws from the same prompt and seed. Without --accel and --suite: every installed accelerator.

    fastdiff bench --accel teacache:threshold=0.25 --accel teacache:threshold=0.4 --accel none@14 --out bench.md
    """
    options = dict(locals())
    if training:
        _training(options)
        return
    from fastdiffusers.bench import Workload, compare, read_suite
    from fastdiffusers.bench.compare import check_extras
    from fastdiffusers.counting import counted
    from fastdiffusers.errors import InputError, PluginError, one_of
    from fastdiffusers.models.info import describe
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli.asking import choose_model
    from fastdiffusers_cli.settings import make_setting

    if words or devices is not None or recipe is not None:
        said = " ".join(words or []) or ("--devices" if recipe is None else "--recipe")
        raise InputError(f"{said} says what to train; add --training")
    _check_out(out)
    _check_plot(plot)
    if resume and out is None:
        raise InputError("--resume keeps the rounds beside the report; say where that is with --out FILE.json")
    if accel and suite is not None:
        raise InputError("--accel and --suite both say what to compare; use one of them")
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    read = read_suite(suite) if suite is not None else _no_suite()
    name = choose_model(model, read.model or DEFAULT)
    info = describe(name)
    setting = make_setting(
        info,
        steps=_first(steps, read.steps),
        guidance=_first(guidance, read.guidance),
        size=_first(size, read.size),
    )
    workload = Workload(
        prompts=_prompts(prompts, read, info),
        setting=setting,
        runs=_first(runs, read.runs, RUNS),
        seed=_first(seed, read.seed, 0),
    )
    chosen = {"features": bool(_first(features, read.features)), "replayed": bool(_first(replay, read.replay))}
    check_extras(info, **chosen)
    points = _peers(_first(peers, read.peers), setting.steps)
    arms, left_out = _arms(accel or read.arms, info, workload, dtype)
    if json is False and not accel and not read.arms:
        found = counted(len(arms) - 1, "installed accelerator")
        print_note(f"comparing {found}; --accel NAME:OPTION=VALUE picks your own")

    import fastdiffusers
    from fastdiffusers.environment import prepare

    prepare(threads)
    kept = out.with_name(out.name + ".rounds") if resume and out is not None else None
    with RoundBar() as bar:
        pipe = fastdiffusers.load(name, dtype)
        data = compare(
            pipe,
            arms,
            workload,
            controls=_first(controls, read.controls, not accel),
            left_out=left_out,
            command=shlex.join(["fastdiff", *sys.argv[1:]]),
            progress=bar,
            keep=kept,
            **chosen,
        )
    data["peers"] = points
    _show(data, json)
    if data["partial"]:
        rounds = f"{data['settings']['rounds']} of {data['settings']['rounds_planned']} rounds were complete"
        told = f"; {str(out)!r} was not written" if out else ""
        raise _interrupted(rounds + told + ("; the same command goes on from there" if kept else ""))
    if out is not None:
        _write(data, out)
        print_note(f"wrote {out}")
    if plot is not None:
        from fastdiffusers.bench.plot import draw

        draw(data, plot)
        print_note(f"wrote {plot}")
    failed = [f"{row['accel']}: {row['error']}" for row in data["rows"] if row["error"]]
    if failed:
        raise PluginError(f"{counted(len(failed), 'arm')} failed: {'; '.join(failed)}")


def _training(options: dict[str, Any]) -> None:
    """``--training``; options that belong to comparisons of accelerators are handed on to be refused by name."""
    from fastdiffusers_cli.bench_training import bench_training

    _check_out(options["out"])
    own = ("words", "training", "devices", "recipe", "model", "out", "json")
    defaults = {"dtype": DTYPES[0], "resume": False}
    others = {n: v for n, v in options.items() if n not in own and v not in (None, []) and v != defaults.get(n)}
    named = [[f"--{name}", options[name]] for name in ("model", "recipe") if options[name] is not None]
    words = [*(options["words"] or []), *(word for pair in named for word in pair)]
    bench_training(words, options["devices"], others, options["out"], options["json"])


def _arms(
    words: Sequence[str] | None, info: ModelInfo, workload: Any, dtype: str
) -> tuple[tuple[Arm, ...], tuple[LeftOut, ...]]:
    """The arms in order, planned once so that whatever is wrong is said before anything is loaded."""
    from fastdiffusers.bench import installed_arms, order_arms, parse_arm, plan_arm
    from fastdiffusers.plugins import registry

    left_out: tuple[LeftOut, ...] = ()
    if words:
        arms = order_arms(parse_arm(word) for word in words)
    else:
        found, left_out = installed_arms(registry(), info, workload.setting)
        arms = order_arms(found)
    for arm in arms:
        plan_arm(arm, registry(), info, workload.setting, dtype)
    return arms, left_out


def _prompts(file: Path | None, suite: Suite, info: ModelInfo) -> tuple[str, ...]:
    from fastdiffusers_cli.prompts import built_in_prompts, read_prompts

    chosen = file if file is not None else suite.prompts
    if isinstance(chosen, Path):
        return tuple(read_prompts(chosen))
    if chosen:
        return chosen
    return built_in_prompts(info)[:PROMPTS]


def _show(data: dict[str, Any], json: bool) -> None:
    if json:
        print_json(data)
        return
    from rich.console import Console

    from fastdiffusers.bench.table import show

    show(data, Console())


def _check_out(out: Path | None) -> None:
    """Whether the report can be written, found out before the bench runs for minutes."""
    from fastdiffusers.errors import InputError
    from fastdiffusers_cli.places import check_files, shown

    if out is None:
        return
    if out.suffix.lower() not in (".json", ".md"):
        raise InputError(f"--out {shown(out)} must end in .json or .md")
    check_files("--out", [out])


def _check_plot(plot: Path | None) -> None:
    from fastdiffusers.errors import InputError
    from fastdiffusers_cli.places import check_files, shown

    if plot is None:
        return
    from fastdiffusers.bench.plot import SUFFIXES, require_matplotlib

    if plot.suffix.lower() not in SUFFIXES:
        raise InputError(f"--plot {shown(plot)} must end in {' or '.join(SUFFIXES)}")
    check_files("--plot", [plot])
    require_matplotlib()


def _peers(file: Path | None, steps: int) -> list[dict[str, Any]]:
    from fastdiffusers.bench.peers import read_peers

    return [] if file is None else read_peers(file, steps)


def _write(data: dict[str, Any], out: Path) -> None:
    import json

    from fastdiffusers.bench.markdown import markdown
    from fastdiffusers.files import atomic_write

    is_json = out.suffix.lower() == ".json"
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n" if is_json else markdown(data)
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _first(*values: Any) -> Any:
    """The first value that was given: the command line's, the suite's, the default."""
    return next((value for value in values if value is not None), None)


def _no_suite() -> Suite:
    from fastdiffusers.bench import Suite

    return Suite()


def _interrupted(text: str) -> Exception:
    from fastdiffusers_cli.failure import Interrupted

    return Interrupted(text)
