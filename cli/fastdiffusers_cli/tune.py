"""``fastdiff tune``: the setting of an accelerator that meets a target on this machine, kept as a profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers.counting import counted
from fastdiffusers.weights.layout import DTYPES
from fastdiffusers_cli.output import print_json
from fastdiffusers_cli.progress import RoundBar

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.tuning import Subject, Target, Tuning

PROMPTS = 4  # of the model's built-in prompts, where none are given
TRIALS = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    accel: Annotated[
        list[str] | None,
        typer.Option(help="The accelerator; options given, and others after a comma, stay as they are."),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(help="Target: mean relative L1 distance of the latents from the uncached ones, at most."),
    ] = None,
    min_psnr: Annotated[
        float | None, typer.Option(help="Target: mean PSNR against the uncached pictures in dB, at least.")
    ] = None,
    target_speedup: Annotated[
        float | None, typer.Option(help="Target: uncached by accelerated denoising time, at least.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="Target: time of one picture from prompt to pixels, at most: 6s, 800ms.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="An embedded model, or a folder in diffusers' layout.  [default: flux-emoji]")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help=f"A text file, one prompt a line.  [default: {PROMPTS} of the model's]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: the model's]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Embedded guidance.  [default: the model's]")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.  [default: the model's]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first prompt; prompt i has SEED + i.")] = 0,
    trials: Annotated[
        int, typer.Option(help="How many settings to try at most; the choice is measured again.")
    ] = TRIALS,
    dtype: Annotated[str, typer.Option(help="float32; bfloat16 or float16 on a GPU.")] = DTYPES[0],
    threads: Annotated[int | None, typer.Option(help="CPU threads.  [default: physical cores]")] = None,
    list_profiles: Annotated[bool, typer.Option("--list", help="Show the profiles of the model instead.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove the profile of exactly this setting instead.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Choose the setting of an accelerator for one target, and keep it as a profile.

    Settings are found by bisection and measured in turns with uncached runs of the same prompts and seeds. The profile
    is for this model, number of steps, size, precision and other options, and lies in the user's cache; from then on
    `--accel NAME:profile=auto` takes it. Nothing is kept where no setting meets the target (exit code 2).

    fastdiff tune --accel seacache --max-distance 0.1
    """
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.models.info import describe
    from fastdiffusers.plugins import registry
    from fastdiffusers.profiles import forget_profile, profiles_file, read_profiles
    from fastdiffusers.tuning import subject_of
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli import tune_report
    from fastdiffusers_cli.asking import check_seeds, choose_model, one_accel
    from fastdiffusers_cli.places import check_files
    from fastdiffusers_cli.prompts import built_in_prompts, read_prompts
    from fastdiffusers_cli.settings import make_setting

    targets = {
        "max_distance": max_distance,
        "min_psnr": min_psnr,
        "target_speedup": target_speedup,
        "latency": latency,
    }
    given = ["--" + name.replace("_", "-") for name, value in targets.items() if value is not None]
    words = one_accel(accel)
    _check_mode(list_profiles, forget, words, given)
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    if trials < 1:
        raise InputError(f"--trials {trials} is not valid; it must be an integer of at least 1")
    name = choose_model(model, DEFAULT)
    info = describe(name)
    if list_profiles:
        tune_report.show_profiles(info, read_profiles(info), registry(), json)
        return
    setting = make_setting(info, steps=steps, guidance=guidance, size=size)
    subject = subject_of(words or "", registry(), info, setting, dtype)
    if forget:
        tune_report.show_forgotten(subject, forget_profile(info, subject.key), json)
        return
    target = _target(targets)
    read_profiles(info)  # a file that cannot be read or written is found out before the minutes that tuning takes
    check_files("the profile", [profiles_file(info)])
    texts = tuple(read_prompts(prompts)) if prompts is not None else built_in_prompts(info)[:PROMPTS]
    check_seeds(seed, 1, len(texts))
    tuning, path = _run(name, subject, target, texts, seed, trials, threads)
    if json:
        print_json(tune_report.as_dict(tuning, texts, path))
    else:
        tune_report.show(tuning, texts, path)
    _conclude(tuning, info)


def _check_mode(list_profiles: bool, forget: bool, words: str | None, targets: list[str]) -> None:
    from fastdiffusers.errors import InputError

    if list_profiles and (forget or words or targets):
        raise InputError("--list shows all profiles of a model; it goes with --model and --json only")
    if list_profiles:
        return
    if words is None:
        raise InputError("tune needs --accel, such as `fastdiff tune --accel seacache --max-distance 0.1`")
    if forget and targets:
        raise InputError(f"--forget removes a profile and tunes nothing; leave {targets[0]} out")
    if not forget and len(targets) != 1:
        said = " and ".join(targets) or "none"
        raise InputError(
            f"tune needs exactly one target of --max-distance, --min-psnr, --target-speedup and --latency, got {said}"
        )


def _target(targets: dict[str, Any]) -> Target:
    from fastdiffusers.tuning import Target, read_seconds

    kind, value = next((kind, value) for kind, value in targets.items() if value is not None)
    return Target(kind, read_seconds(value) if kind == "latency" else value)


def _run(
    name: str, subject: Subject, target: Target, texts: tuple[str, ...], seed: int, trials: int, threads: int | None
) -> tuple[Tuning, Path | None]:
    """Load, tune, keep the choice; the path is None where there is none."""
    import fastdiffusers
    from fastdiffusers.bench import Workload
    from fastdiffusers.bench.machine import describe_machine, synchronize
    from fastdiffusers.bench.measure import Bench
    from fastdiffusers.environment import prepare
    from fastdiffusers.profiles import keep_profile
    from fastdiffusers.session import accelerate
    from fastdiffusers.tuning import tune as search

    prepare(threads)
    workload = Workload(texts, subject.setting, runs=1, seed=seed)
    with RoundBar() as bar:
        pipe = fastdiffusers.load(name, subject.key.dtype)
        tried: list[str] = []

        def progress(what: str, done: int, total: int) -> None:
            if tried:
                bar(f"trial {len(tried)}: {tried[-1]}", (len(tried) - 1) * len(texts) + done, (trials + 1) * len(texts))

        bench = Bench(pipe, workload, accelerate, synchronize=synchronize, progress=progress)
        tuning = search(subject, target, bench, trials, tried.append)
    if tuning.choice is None:
        return tuning, None
    return tuning, keep_profile(subject.info, tuning.profile(bench, describe_machine()))


def _conclude(tuning: Tuning, info: ModelInfo) -> None:
    """Exit code 130 after Ctrl-C, 2 where the target was not reached."""
    from fastdiffusers.errors import InputError
    from fastdiffusers_cli.failure import Interrupted

    subject, target = tuning.subject, tuning.target
    if tuning.interrupted:
        raise Interrupted(f"{counted(len(tuning.trials), 'setting')} measured, no profile was kept")
    if tuning.choice is None:
        nearest, scale = tuning.nearest, subject.scale
        if nearest.broken:
            raise InputError(f"{subject.spec.name}: every setting broke the picture: {nearest.broken}")
        raise InputError(
            f"{subject.spec.name} does not reach {target} on {info.name}, {subject.option.name} from {scale.low:g} to "
            f"{scale.high:g}: the nearest was {target.seen(nearest)} at {subject.words(nearest.value)} "
            f"({nearest.speedup:.2f}×, distance {nearest.distance:.3g}); no profile was kept"
        )
