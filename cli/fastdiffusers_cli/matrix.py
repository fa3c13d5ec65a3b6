"""``fastdiff accel matrix``: which installed accelerators go together, for a README, or tried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastdiffusers_cli.failure import USER_ERROR, say_error
from fastdiffusers_cli.output import print_json, print_table

if TYPE_CHECKING:
    from fastdiffusers.composition import Composition
    from fastdiffusers.testing import Trial


def show_matrix(
    model: Annotated[
        str | None, typer.Option(help="An embedded model, or a folder in diffusers' layout.  [default: flux-emoji]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: the model's]")] = None,
    run: Annotated[bool, typer.Option("--run", help="Attach, draw and detach every combination that goes.")] = False,
    write: Annotated[
        list[Path] | None, typer.Option(help="Put the tables into a Markdown file, between its marks.")
    ] = None,
    check: Annotated[
        list[Path] | None, typer.Option(help="Exit with 2 unless a file's tables are those of --write.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of --run.  [default: physical cores]")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say which installed accelerators go together.

    Every pair and triple is planned on a model: what goes, in which order, and what is refused by which claim, conflict
    or number of steps. --run draws with each that goes: all in it must engage and leave no trace.
    """
    from fastdiffusers.composition import Composition
    from fastdiffusers.models.info import describe
    from fastdiffusers.plugins import registry
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli import matrix_text
    from fastdiffusers_cli.asking import choose_model
    from fastdiffusers_cli.settings import make_setting

    name = choose_model(model, DEFAULT)
    info = describe(name)
    found = Composition(registry(), info, make_setting(info, steps=steps))
    for path in write or ():
        matrix_text.write(path, found)
    trials = _run(name, found, threads) if run else None
    if json:
        _print_json(found, trials)
    elif trials is not None:
        _print_trials(trials)
    elif not (write or check):
        _print_plans(found)
    failed = [trial.failure for trial in trials or () if trial.failure]
    stale = [path for path in check or () if not matrix_text.is_current(path, found)]
    for path in stale:
        say_error(f"the table in {str(path)!r} is out of date; run `fastdiff accel matrix --write {path}`")
    if failed:
        say_error(f"{len(failed)} of {len(trials or ())} combinations failed; the first: {failed[0]}")
    if failed or stale:
        raise typer.Exit(USER_ERROR)


def _run(name: str, found: Composition, threads: int | None) -> list[Trial]:
    import fastdiffusers
    from fastdiffusers.environment import prepare
    from fastdiffusers.testing import try_together

    prepare(threads)
    return list(try_together(fastdiffusers.load(name), found.together))


def _print_json(found: Composition, trials: list[Trial] | None) -> None:
    from dataclasses import asdict

    content = {
        "model": {"name": found.info.name, "family": found.info.family},
        "settings": asdict(found.setting),
        "claims": [{"claims": list(claims), "one_of": list(names)} for claims, names in found.shared().items()],
        "alone": [some.to_dict() for some in found.alone],
        "together": [some.to_dict() for some in found.together],
    }
    print_json(content if trials is None else {**content, "trials": [trial.to_dict() for trial in trials]})


def _print_plans(found: Composition) -> None:
    from fastdiffusers_cli.matrix_text import WORDS, counts, gathered, triples, verdict

    shared = found.shared()
    if shared:
        head = WORDS["en"]["claims"]
        print_table(head, list(shared.items()), wrap=head[1:])
    rows = found.rows()
    if rows:
        print()
        head = WORDS["en"]["pairs"]
        sides = [[", ".join(gathered(found, side)).replace("`", "") for side in (row.ones, row.others)] for row in rows]
        verdicts = ["goes" if row.refusal is None else verdict(row.refusal).replace("`", "") for row in rows]
        print_table(head, [[*side, told] for side, told in zip(sides, verdicts, strict=True)], wrap=head)
        print("\n" + triples(found).replace("`", ""))
    for some in found.alone:
        if some.refusal is not None:
            print(f"{some.names[0]} is refused by itself: {some.refusal.reason}")
    number = counts(found)
    print(
        f"\n{number['model']}, {number['steps']} steps: of {number['pairs']} pairs {number['go2']} go, "
        f"of {number['triples']} triples {number['go3']}"
    )


def _print_trials(trials: list[Trial]) -> None:
    if not trials:
        print("no two of the installed accelerators go together; nothing to run")
        return
    print_table(
        ["together", "result", "what each did"],
        [[t.names, "failed" if t.failure else "ran", t.failure or [r.effect for r in t.records]] for t in trials],
        wrap=["together", "what each did"],
    )
