"""``fastdiff distill curves``: the table, JSON, the picture, and what is refused."""

import json
from pathlib import Path

import pytest

from fastdiffusers_cli.distill_curves import curves
from fastdiffusers_cli.failure import exit_code

LOG = Path(__file__).parents[2] / "benchmarks" / "results" / "distill" / "dmd2-1-without-regression.jsonl"


def call(words: list[str], out: Path | None = None, as_json: bool = False) -> int:
    return exit_code(lambda: curves(words, out, as_json), words)


def test_the_table_shows_every_validation_and_what_was_out_of_limits(capsys):
    assert call([str(LOG)]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert [line for line in lines if line and line[0] in ("60", "120", "180")] == [
        ["60", "0.543", "1.044", "0.912", "0.883"],
        ["120", "0.767", "0.784!", "1.042", "0.781!"],
        ["180", "0.806", "0.803", "1.108", "0.760!"],
    ]
    assert f"{LOG.stem}: not at its end, step 190" in shown
    assert "! no number, or outside of what is healthy, relative to the teacher: saturation 0.8 to 1.25" in shown


def test_json_and_picture(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert call([str(LOG)], tmp_path / "curves.png", as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["trainings"]
    assert one["name"] == LOG.stem and [row["step"] for row in one["validations"]] == [60, 120, 180]
    assert [len(row["warnings"]) for row in one["validations"]] == [0, 2, 1]
    assert found["out"] == str(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "out", "said"),
    [
        ([], None, "curves needs the output folder of a training"),
        (["nowhere"], None, "valid is the output folder of a training, or its log.jsonl"),
        ([str(LOG)], Path("curves.pdf"), "unknown ending of --out: '.pdf'"),
        ([__file__], None, "is no log of a training: line 1 is no event"),
    ],
)
def test_bad_input_is_one_line(capsys, words, out, said):
    assert call(words, out) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and not shown.out
