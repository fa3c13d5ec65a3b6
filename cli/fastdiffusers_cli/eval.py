"""``fastdiff eval``: few-step students against their teacher; human rankings; two folders of pictures."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_note

if TYPE_CHECKING:
    from fastdiffusers.evaluation.against import Question
    from fastdiffusers.evaluation.backbone import Backbone
    from fastdiffusers.models.info import ModelInfo

RANK = "rank"
PICTURES = 4000
TEACHER_STEPS = "16,8,4,2,1"
RULE = "rule"
"""The shift that the pipeline itself takes."""
GRID, SHEET_ROWS = 12, 32


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    what: Annotated[str | None, typer.Argument(metavar="[rank]", help="rank: human rankings, with --ranks.")] = None,
    accel: Annotated[
        list[str] | None, typer.Option(help="A row of the table, such as lightning:steps=2; repeat it.")
    ] = None,
    against: Annotated[str, typer.Option(help="teacher:STEPS: what all is measured against.")] = "teacher:50",
    teacher: Annotated[
        str, typer.Option(help="The teacher's own rows: STEPS (equal steps), STEPS@SHIFT, STEPS@rule; empty: none.")
    ] = TEACHER_STEPS,
    model: Annotated[str | None, typer.Option(help="The teacher.  [default: flux-emoji]")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file, one prompt a line; the model's own by default.")] = None,
    n: Annotated[int | None, typer.Option("--n", help=f"Pictures of a row.  [default: {PICTURES}]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance of all.  [default: the model's, 3.5]")] = None,
    workers: Annotated[int, typer.Option(help="Processes of one thread each.")] = 3,
    latency: Annotated[bool, typer.Option(help="Time single pictures at the end, on an idle machine.")] = True,
    folders: Annotated[
        list[Path] | None, typer.Option("--folder", help="Compare two folders of pictures: give it twice.")
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="With --folder: picture i belongs to picture i.")] = False,
    clip: Annotated[
        Path | None, typer.Option(help="CLIP for the CLIP score: a folder of transformers' CLIPModel.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="FID's Inception-v3, a .safetensors file: FID and KID beside the scorer's.")
    ] = None,
    ranks: Annotated[Path | None, typer.Option(help="With rank: CSV of judge, item, method, rank (1 is best).")] = None,
    key: Annotated[
        Path | None, typer.Option(help="With rank: the key of blind sheets, whose letters are ranked.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Only write blind comparison sheets of --accel beside the teacher into this folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the report to FILE.json, and FILE.md and FILE.png (a grid) beside it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure few-step students against their teacher: distances with their floor, and the teacher at few steps.

    Pictures are kept in the cache: an interrupted evaluation goes on, and the teacher's are drawn once.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import InputError, one_of

    if what is not None and what != RANK:
        raise InputError(one_of("argument", what, [RANK]) + ", or none")
    _check_together(
        "rank" if what == RANK else "--folder" if folders else "",
        {"--ranks": ranks, "--key": key, "--paired": paired or None, "--sheet": sheet, "--accel": accel},
    )
    for option, given in (("--clip", clip), ("--inception", inception)):
        if given is not None and (what == RANK or sheet is not None):
            raise InputError(
                f"{option} judges pictures; {'--sheet draws them only' if sheet else 'rankings have none'}"
            )
    judges = _judges(clip, inception)
    if out is not None:
        _check_out(out, sheet)
    if what == RANK:
        report = _rank(ranks, key)
        _finish(report, _ranking_text(report), out, json)
        return
    prepare(1 if "paddle" not in sys.modules else None)
    if folders:
        if len(folders) != 2:
            raise InputError(f"--folder compares two folders, got {len(folders)}; give it twice")
        from fastdiffusers.evaluation.folders import compare_folders

        texts = None if prompts is None else _read(prompts)
        report = compare_folders(folders[0], folders[1], texts, paired, not json, *judges)
        _finish(report, _lines(report), out, json)
        return
    question = _question(model, accel or [], against, teacher, prompts, n, guidance)
    question = replace(question, clip=judges[0], inception=judges[1])
    if sheet is not None:
        _sheets(question, workers, sheet, json)
        return
    from fastdiffusers.evaluation.against_table import markdown

    report, pictures = _measure(question, workers, latency, not json)
    _finish(report, markdown(report), out, json, pictures)


def _judges(clip: Path | None, inception: Path | None) -> tuple[Backbone | None, Backbone | None]:
    from fastdiffusers.evaluation.backbone import CLIP, INCEPTION, Backbone

    # whole paths: worker processes and what is kept do not depend on where the command is called from
    return (
        None if clip is None else Backbone(CLIP, str(clip.resolve())),
        None if inception is None else Backbone(INCEPTION, str(inception.resolve())),
    )


OF = {"--ranks": "rank", "--key": "rank", "--paired": "--folder", "--sheet": "", "--accel": ""}
"""Which way of evaluating an option belongs to; empty: students against their teacher."""


def _check_together(way: str, given: dict[str, Any]) -> None:
    """Refuse options that this way of evaluating would not look at."""
    from fastdiffusers.errors import InputError

    words = {"rank": "`fastdiff eval rank`", "--folder": "--folder", "": "students against their teacher"}
    for name, value in given.items():
        if value and OF[name] != way:
            raise InputError(f"{name} belongs to {words[OF[name]]}; this is {words[way]}")


def _question(
    model: str | None,
    accels: list[str],
    against: str,
    teacher: str,
    prompts: Path | None,
    n: int | None,
    guidance: float | None,
) -> Question:
    from fastdiffusers.errors import InputError
    from fastdiffusers.evaluation.against import Question
    from fastdiffusers.files import cache_dir
    from fastdiffusers.models.info import describe
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli.asking import choose_model

    name = choose_model(model, DEFAULT)
    info = describe(name)
    kind, _, steps = against.partition(":")
    if kind != "teacher" or not steps.isdecimal() or int(steps) < 1:
        raise InputError(f"--against {against!r} is not valid; it is teacher:STEPS, as in teacher:50")
    return Question(
        model=name,
        info=info,
        captions=tuple(_captions(info, prompts, n)),
        accels=tuple(accels),
        root=cache_dir() / "evaluation" / f"{info.name}-{info.sha256[:12]}",
        reference=int(steps),
        teacher=tuple(_row(word) for word in teacher.split(",") if word.strip()),
        guidance=info.default_setting.guidance if guidance is None else guidance,
    )


def _row(word: str) -> tuple[int, float | None]:
    """Steps, and the shift μ of their levels: 0 unless given, None for the scheduler's own rule."""
    from math import isfinite

    from fastdiffusers.errors import InputError

    steps, at, shift = word.strip().partition("@")
    try:
        found = int(steps), None if shift == RULE else float(shift) if at else 0.0
    except ValueError:
        raise InputError(
            f"--teacher {word.strip()!r} is not valid; a row is STEPS, STEPS@SHIFT or STEPS@{RULE}, as in 4@2"
        ) from None
    if found[0] < 1 or (found[1] is not None and not isfinite(found[1])):
        raise InputError(f"--teacher {word.strip()!r} is not valid; steps are at least 1, shifts finite numbers")
    return found


def _captions(info: ModelInfo, prompts: Path | None, n: int | None) -> list[str]:
    """``n`` captions: those of a file, or the model's list for evaluations; over again if there are fewer."""
    from fastdiffusers.errors import InputError
    from fastdiffusers.zoo import evaluation_captions

    texts = _read(prompts) if prompts is not None else evaluation_captions(info.name)
    if texts is None:
        raise InputError(f"{info.name} has no captions of its own for evaluations; give --prompts FILE")
    count = PICTURES if n is None else n
    if count < 1:
        raise InputError(f"--n {count} is not valid; it must be at least 1")
    return [texts[i % len(texts)] for i in range(count)]


def _read(prompts: Path) -> list[str]:
    from fastdiffusers_cli.prompts import read_prompts

    return list(read_prompts(prompts))


def _measure(question: Question, workers: int, latency: bool, show: bool) -> tuple[dict[str, Any], Any]:
    """The report, and the first pictures of every row."""
    from fastdiffusers.evaluation import Crew
    from fastdiffusers.evaluation.against import Evaluation
    from fastdiffusers.evaluation.timing import time_rows

    with Crew(workers) as crew:
        evaluation = Evaluation(question, crew, show)
        report = evaluation.report()
    if latency:
        for row, seconds in zip(report["rows"], time_rows(question, evaluation.rows), strict=True):
            row["latency"] = seconds
    return {**report, "command": shlex.join(["fastdiff", *sys.argv[1:]])}, evaluation.first_pictures(GRID)


def _sheets(question: Question, workers: int, folder: Path, json: bool) -> None:
    from fastdiffusers.errors import InputError
    from fastdiffusers.evaluation import Crew
    from fastdiffusers.evaluation.against import Evaluation
    from fastdiffusers.evaluation.sheets import LETTERS, key_file, write_sheets

    if not 1 <= len(question.accels) < len(LETTERS):
        raise InputError(
            f"--sheet compares 1 to {len(LETTERS) - 1} accelerators with the teacher; --accel was given "
            f"{len(question.accels)} times"
        )
    with Crew(workers) as crew:
        pictures = Evaluation(question, crew, not json).pictures(SHEET_ROWS)
    written = write_sheets(folder, pictures, list(question.captions[:SHEET_ROWS]), enlarge=2)
    key = key_file(folder)
    if json:
        print_json({"sheets": [str(file) for file in written], "key": str(key), "methods": list(pictures)})
        return
    print(f"wrote {len(written)} sheets to {folder}, and which letter is which to {key}")


def _rank(file: Path | None, key: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from fastdiffusers.errors import InputError
    from fastdiffusers.evaluation.ranking import agreement, read_ranks, scores

    if file is None:
        raise InputError("`fastdiff eval rank` reads a CSV file of judge, item, method, rank; give --ranks FILE")
    rankings = read_ranks(file, key)
    judged = len(rankings) > 1 and len(rankings[0].ranks) > 1
    return {
        "rankings": len(rankings),
        "judges": len({ranking.judge for ranking in rankings}),
        "scores": [asdict(score) for score in scores(rankings)],
        "kendall_w": agreement(rankings) if judged else None,
    }


def _ranking_text(report: dict[str, Any]) -> str:
    lines = [f"{report['rankings']} rankings by {report['judges']} judges; ranks count 10, 7, 5, 3, 1"]
    for score in report["scores"]:
        lines.append(f"  {score['method']}: {score['mean']:.2f}  (95 %: {score['low']:.2f} to {score['high']:.2f})")
    if report["kendall_w"] is not None:
        lines.append(f"Kendall's W {report['kendall_w']:.2f} (0: no agreement, 1: perfect)")
    return "\n".join(lines)


def _lines(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value:.5g}" if isinstance(value, float) else f"{name}: {value}" for name, value in report.items()
    )


def _check_out(out: Path, sheet: Path | None) -> None:
    from fastdiffusers.errors import InputError
    from fastdiffusers_cli.places import check_files, shown

    if sheet is not None:
        raise InputError(f"--out {shown(out)} is for figures; --sheet draws pictures only, into its folder")
    if out.suffix.lower() != ".json":
        raise InputError(f"--out {shown(out)} must end in .json; the Markdown and the grid are written beside it")
    check_files("--out", [out, *(out.with_suffix(suffix) for suffix in (".md", ".png"))])


def _finish(report: dict[str, Any], text: str, out: Path | None, json: bool, pictures: Any = None) -> None:
    """Print the report, and write it; what comes with pictures gets its text and a grid of them beside it."""
    from json import dumps

    from fastdiffusers.evaluation.sheets import write_grid
    from fastdiffusers.files import atomic_write

    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if pictures is not None:
            with atomic_write(out.with_suffix(".md")) as temporary:
                temporary.write_text(text, encoding="utf-8")
            write_grid(out.with_suffix(".png"), pictures)
        print_note(f"wrote {out}")
    if json:
        print_json(report)
    else:
        print(text)
