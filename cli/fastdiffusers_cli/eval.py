"""``fastdiff eval``: few-step students against their teacher; human rankings; two folders of pictures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_note

if TYPE_CHECKING:
    from fastdiffusers.evaluation.against import Question
    from fastdiffusers.models.info import ModelInfo

RANK = "rank"
PICTURES = 4000
TEACHER_STEPS = "16,8,4,2,1"


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
        str, typer.Option(help="The teacher's own rows: STEPS or STEPS@SHIFT, with commas; empty for none.")
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
    ranks: Annotated[Path | None, typer.Option(help="With rank: CSV of judge, item, method, rank (1 is best).")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write blind comparison sheets of --accel beside the teacher into this folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report to FILE.json, and FILE.md beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure few-step students against their teacher: distances with their floor, and the teacher at few steps.

    Pictures are kept in the cache: an interrupted evaluation goes on, and the teacher's are drawn once.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import InputError, one_of

    if what is not None and what != RANK:
        raise InputError(one_of("argument", what, [RANK]) + ", or none")
    if out is not None:
        _check_out(out)
    if what == RANK:
        report = _rank(ranks)
        _finish(report, None if json else _ranking_text(report), out, json)
        return
    if ranks is not None:
        raise InputError("--ranks belongs to `fastdiff eval rank`")
    prepare(1 if "paddle" not in sys.modules else None)
    if folders:
        if len(folders) != 2 or accel:
            raise InputError(f"--folder compares two folders, got {len(folders)}, and goes without --accel")
        from fastdiffusers.evaluation.folders import compare_folders

        texts = None if prompts is None else _read(prompts)
        report = compare_folders(folders[0], folders[1], texts, paired)
        _finish(report, None if json else _lines(report), out, json)
        return
    question = _question(model, accel or [], against, teacher, prompts, n, guidance)
    if sheet is not None:
        _sheets(question, workers, sheet, not json)
        return
    report = _measure(question, workers, latency, not json)
    from fastdiffusers.evaluation.against_table import markdown

    _finish(report, None if json else markdown(report), out, json, markdown(report))


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
    if kind != "teacher" or not steps.isdigit() or int(steps) < 1:
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
    from fastdiffusers.errors import InputError

    steps, at, shift = word.strip().partition("@")
    try:
        found = int(steps), float(shift) if at else 0.0
    except ValueError:
        raise InputError(f"--teacher {word.strip()!r} is not valid; a row is STEPS or STEPS@SHIFT, as in 4@2") from None
    if found[0] < 1:
        raise InputError(f"--teacher {word.strip()!r}: steps must be at least 1")
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


def _measure(question: Question, workers: int, latency: bool, show: bool) -> dict[str, Any]:
    from fastdiffusers.evaluation import Crew
    from fastdiffusers.evaluation.against import Evaluation
    from fastdiffusers.evaluation.timing import time_rows

    with Crew(workers) as crew:
        evaluation = Evaluation(question, crew, show)
        report = evaluation.report()
    if latency:
        for row, seconds in zip(report["rows"], time_rows(question, evaluation.rows), strict=True):
            row["latency"] = seconds
    return {**report, "command": shlex.join(["fastdiff", *sys.argv[1:]])}


def _sheets(question: Question, workers: int, folder: Path, show: bool) -> None:
    from fastdiffusers.errors import InputError
    from fastdiffusers.evaluation import Crew
    from fastdiffusers.evaluation.against import Evaluation
    from fastdiffusers.evaluation.sheets import write_sheets

    if not question.accels:
        raise InputError("--sheet compares accelerators with the teacher; give --accel")
    with Crew(workers) as crew:
        evaluation = Evaluation(question, crew, show)
        pictures = evaluation.pictures(32)
    written = write_sheets(folder, pictures, list(question.captions[:32]), enlarge=2)
    print(f"wrote {len(written)} sheets and key.json to {folder}")


def _rank(file: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from fastdiffusers.errors import InputError
    from fastdiffusers.evaluation.ranking import agreement, read_ranks, scores

    if file is None:
        raise InputError("`fastdiff eval rank` reads a CSV file of judge, item, method, rank; give --ranks FILE")
    rankings = read_ranks(file)
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


def _check_out(out: Path) -> None:
    from fastdiffusers.errors import InputError
    from fastdiffusers_cli.places import check_files, shown

    if out.suffix.lower() != ".json":
        raise InputError(f"--out {shown(out)} must end in .json; the Markdown is written beside it")
    check_files("--out", [out])


def _finish(
    report: dict[str, Any], text: str | None, out: Path | None, json: bool, markdown: str | None = None
) -> None:
    from json import dumps

    from fastdiffusers.files import atomic_write

    if json:
        print_json(report)
    elif text is not None:
        print(text)
    if out is None:
        return
    with atomic_write(out) as temporary:
        temporary.write_text(dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    if markdown is not None:
        with atomic_write(out.with_suffix(".md")) as temporary:
            temporary.write_text(markdown, encoding="utf-8")
    print_note(f"wrote {out}")
