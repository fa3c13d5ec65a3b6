"""``fastdiff distill import-args``: output, files and exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from fastdiffusers_cli.distill_import import import_args
from fastdiffusers_cli.failure import exit_code

COMMAND = "train_lcm.py --max_steps 7 --output_dir here"


def call(words: list[str], out: Path | None = None, as_json: bool = False) -> int:
    return exit_code(lambda: import_args(words, out, as_json), words)


def test_recipe_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert call([COMMAND]) == 0
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out)["steps"] == 7
    assert shown.out.startswith("# fastdiff distill lcm --recipe this.yaml --out here --resume auto\n")
    assert shown.err == ""


def test_words_and_compat(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["python", "train_flux_lightning_lora.py", "--multiphase", "1", "--lora_rank", "16"]
    assert call([*words, "compat=reference"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["alpha"] == 8
    assert call([*words, "compat=none"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["alpha"] == 16
    assert call([*words, "compat=x"]) == 2


def test_stdin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"N=7\npython {COMMAND.replace('7', '$N')} \\\n --seed 3\n"))
    assert call(["-"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 3


def test_out_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "r.yaml"
    assert call([COMMAND], out) == 0
    assert yaml.safe_load(out.read_text())["steps"] == 7
    assert capsys.readouterr().out == f"fastdiff distill lcm --recipe {out} --out here --resume auto\n"
    assert [item.name for item in out.parent.iterdir()] == ["r.yaml"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert call([COMMAND], as_json=True) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["recipe"]["steps"] == 7
    assert content["words"] == ["--out", "here", "--resume", "auto"]
    assert {item["flag"]: item["fate"] for item in content["flags"]} == {
        "--max_steps": "mapped",
        "--output_dir": "command line",
    }


def test_refusals_are_one_line_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{COMMAND} --random_flip --sharding stage1"]
    assert call(words) == 2
    shown = capsys.readouterr()
    assert "# refused" in shown.out
    assert yaml.safe_load(shown.out)["steps"] == 7
    assert len(shown.err.splitlines()) == 1
    assert "--random_flip is refused: " in shown.err
    assert "--sharding is refused: " in shown.err
    out = tmp_path / "r.yaml"
    assert call(words, out) == 2
    assert not out.exists()
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["compat=none"], ["ls -l"], ["train_lcm.py --lora_rnk 3"]])
def test_wrong_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
