"""What ``fastdiff tune`` says: a table of the settings that were tried, and the choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.counting import counted
from fastdiffusers_cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry
    from fastdiffusers.profiles import Profile
    from fastdiffusers.tuning import Subject, Trial, Tuning

_FIGURES = ("computed", "×", "s", "distance", "PSNR", "worst")


def as_dict(tuning: Tuning, prompts: Sequence[str], path: Path | None) -> dict[str, Any]:
    """The JSON object."""
    subject, key = tuning.subject, tuning.subject.key
    return {
        "model": {"name": subject.info.name, "sha256": subject.info.sha256, "dtype": key.dtype},
        "accelerator": key.accelerator,
        "option": key.option,
        "fixed": dict(key.fixed),
        "beside": [dict(other) for other in key.beside],
        "settings": {
            "steps": key.steps,
            "height": key.height,
            "width": key.width,
            "guidance": subject.setting.guidance,
            "prompts": list(prompts),
        },
        "target": {tuning.target.kind: tuning.target.value},
        "trials": [{**trial.to_dict(), "met": tuning.target.met(trial)} for trial in _sorted(tuning)],
        "choice": None if tuning.choice is None else tuning.choice.to_dict(),
        "profile": None if path is None else str(path),
        "notes": tuning.notes,
        "interrupted": tuning.interrupted,
    }


def show(tuning: Tuning, prompts: Sequence[str], path: Path | None) -> None:
    """The trials from the mildest setting to the strongest, and what was chosen."""
    subject, key = tuning.subject, tuning.subject.key
    print(
        f"{subject.spec.name} on {subject.info.name}, {key.width}x{key.height}, {counted(key.steps, 'step')}, "
        f"{key.dtype}, {counted(len(prompts), 'prompt')}; wanted: {tuning.target}"
    )
    if not tuning.trials:
        return
    print(f"an uncached picture takes {tuning.uncached_latency:.3g} s\n")
    print_table(
        [key.option, *_FIGURES, "met"],
        [
            [f"{t.value:g}", *_figures(t), "chosen" if t is tuning.choice else tuning.target.met(t)]
            for t in _sorted(tuning)
        ],
        right=[key.option, *_FIGURES],
    )
    print(
        "\n×: denoising time, median over the prompts; s: median of a whole picture; distance: mean relative L1 of the "
        "latents;\nPSNR in dB: mean and worst over the pictures; all against uncached runs of the same seeds, in turns"
    )
    for note in tuning.notes:
        print_note(note)
    if tuning.choice is not None and path is not None:
        print(f"\n{subject.words(tuning.choice.value)} was measured again and meets the target; profile in {path}")
        print(f"`--accel {_auto(subject)}` takes it")


def show_profiles(info: ModelInfo, profiles: Sequence[Profile], registry: Registry, json: bool) -> None:
    """``--list``."""
    from fastdiffusers.resolving import place_of

    if json:
        print_json({"model": info.name, "sha256": info.sha256, "profiles": [one.to_dict() for one in profiles]})
        return
    if not profiles:
        print(f"no profiles for {info.name}; `fastdiff tune --accel NAME --max-distance 0.1` makes one")
        return
    rows = []
    for one in profiles:
        wanted = ", ".join(f"{name}={value:g}" for name, value in one.target.items())
        figures = [one.measured.get("speedup"), one.measured.get("distance")]
        shown = ["–" if value is None else f"{value:.3g}" for value in figures]
        place = place_of(one.key, registry.accelerators.get(one.key.accelerator))
        rows.append([f"{one.key.accelerator}:{one.key.option}={one.value:g}", place, wanted, *shown])
    print_table(["setting", "for", "target", "×", "distance"], rows, wrap=["for", "target"], right=["×", "distance"])


def show_forgotten(subject: Subject, forgotten: Profile | None, json: bool) -> None:
    """``--forget``."""
    from fastdiffusers.errors import InputError
    from fastdiffusers.resolving import place_of, told

    if forgotten is None:
        where = f"{subject.info.name} for {place_of(subject.key, subject.spec)}"
        raise InputError(f"there is no profile of {subject.spec.name} on {where}; `fastdiff tune --list` shows them")
    if json:
        print_json({"forgotten": forgotten.to_dict()})
    else:
        print(f"forgotten: {told(forgotten)}")


def _figures(trial: Trial) -> list[str]:
    if trial.broken:
        return ["broken", *["–"] * (len(_FIGURES) - 1)]
    fraction = "–" if trial.fraction is None else f"{trial.fraction:.0%}"
    psnr = ["same" if value is None else f"{value:.1f}" for value in (trial.psnr, trial.worst_psnr)]
    return [fraction, f"{trial.speedup:.2f}", f"{trial.latency:.3g}", f"{trial.distance:.4f}", *psnr]


def _sorted(tuning: Tuning) -> list[Trial]:
    return sorted(tuning.trials, key=lambda trial: tuning.subject.scale.strength(trial.value))


def _auto(subject: Subject) -> str:
    from fastdiffusers.request import Request, format_requests

    request = Request(subject.request.name, {**subject.request.options, "profile": "auto"})
    return format_requests([*subject.beside, request])
