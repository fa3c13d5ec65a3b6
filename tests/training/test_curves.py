"""What logs of trainings say: rows, ends, what was said twice, what is no log, and the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError
from fastdiffusers.training.curves import LOG, draw_curves, name_apart, panels, read_curves


def write(path, *events):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def validation(step, **figures):
    return {"event": "validation", "time": 1.0, "step": step, **figures}


def train(step, **figures):
    return {"event": "train", "time": 1.0, "step": step, "samples_per_s": 3.0, "eta_s": 2, "lr": 1e-3, **figures}


START = {"event": "start", "time": 0.0, "step": 0, "recipe": {}}
END = {"event": "end", "time": 9.0, "best_step": 2, "training": {"steps": 4, "minutes": 1.5}}


def test_rows_are_the_validations_and_what_was_said_twice_counts_once(tmp_path):
    said = {"event": "warning", "time": 1.0, "step": 4, "text": "seeds are more alike"}
    log = write(
        tmp_path / "first" / LOG,
        START,
        train(2, loss=0.5),
        validation(2, rmse=0.4, diversity=0.9),
        train(4, loss=9.0),
        validation(4, rmse=9.0, diversity=0.1),
        {**said, "text": "before it was cut"},
        START | {"step": 2},
        train(4, loss=0.25, d_accuracy=0.6),
        validation(4, rmse=0.3, diversity=0.8),
        said,
        END,
    )
    for path in (log, log.parent):
        curves = read_curves(path)
        assert curves.name == "first" and curves.end == "4 steps, 1.5 minutes, kept: step 2"
        assert curves.rows() == [
            {"step": 2, "rmse": 0.4, "diversity": 0.9, "warnings": []},
            {"step": 4, "rmse": 0.3, "diversity": 0.8, "warnings": ["seeds are more alike"]},
        ]
        assert curves.training == {2: {"loss": 0.5}, 4: {"loss": 0.25, "d_accuracy": 0.6}}
    assert panels([curves]) == [("rmse", True), ("diversity", True), ("loss", False), ("d_accuracy", False)]
    assert read_curves(log.rename(tmp_path / "kept.jsonl")).name == "kept"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([START], "not at its end, step 0"),
        ([START, train(20, loss=1.0), validation(10, rmse=1.0)], "not at its end, step 20"),
        ([START, {"event": "ended", "step": 30, "reason": "3 in a row"}, END], "ended after step 30: 3 in a row"),
        ([START, END, START | {"step": 4}, train(6, loss=1.0)], "not at its end, step 6"),
        ([START, {"event": "end", "training": [1]}], "None steps, None minutes"),
        (
            [START, {"event": "end", "training": {"steps": 9, "minutes": 1, "ended": "3 in a row"}}],
            "9 steps, 1 minutes, ended: 3 in a row",
        ),
    ],
)
def test_it_says_how_a_training_ended(tmp_path, events, said):
    assert read_curves(write(tmp_path / LOG, *events)).end == said


def test_what_a_training_said_before_it_began_anew_is_forgotten(tmp_path):
    said = {"event": "warning", "step": 200, "text": "pale"}
    old = [START, validation(100, rmse=0.9), validation(200, rmse=0.8), said, train(200, loss=1.0), END]
    new = [START, validation(100, rmse=0.1), train(120, loss=0.5)]
    found = read_curves(write(tmp_path / LOG, *old, *new))
    assert found.rows() == [{"step": 100, "rmse": 0.1, "warnings": []}]
    assert found.training == {120: {"loss": 0.5}} and found.end == "not at its end, step 120"
    on = read_curves(write(tmp_path / LOG, *old, START | {"step": 150}))
    assert [row["step"] for row in on.rows()] == [100] and on.end == "not at its end, step 100"


def test_a_line_that_is_being_written_is_left_out_and_no_log_is_refused(tmp_path):
    log = write(tmp_path / LOG, START, validation(2, rmse=0.4))
    whole = log.read_text()
    log.write_text(whole + '{"event": "valid')
    assert [row["step"] for row in read_curves(log).rows()] == [2]
    log.write_text(whole + '{"event": "valid\n' + whole)  # torn when it was killed; then it went on
    assert [row["step"] for row in read_curves(log).rows()] == [2]
    for number, text in (
        (1, '{"event": "valid\n' + validation_line() + whole),
        (1, "[1]\n" + whole),
        (1, "just a note\n"),
        (1, "just a note"),
        (3, whole + "just a note\n"),
        (1, '{"event": "train", "step": "x"}\n' + whole),
    ):
        log.write_text(text)
        with pytest.raises(InputError, match=f"is no log of a training: line {number} is no event"):
            read_curves(log)
    log.write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_curves(log)
    log.write_bytes(b"\xff\xfe" + whole.encode())
    with pytest.raises(InputError, match="cannot be read as a log of a training"):
        read_curves(log)
    with pytest.raises(InputError, match="valid is the output folder of a training"):
        read_curves(tmp_path / "nothing")


def validation_line():
    return json.dumps(validation(2, rmse=0.4)) + "\n"


def test_figures_that_are_no_numbers_are_null_in_json(tmp_path):
    found = read_curves(write(tmp_path / LOG, START, train(2, critic_gap=float("nan")), validation(2, rmse=0.5)))
    told = found.to_dict()
    assert told["training"] == [{"step": 2, "critic_gap": None}]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_logs_of_one_name_are_told_apart(tmp_path):
    paths = [write(tmp_path / place / "out" / LOG, START).parent for place in "ab"]
    paths.append(write(tmp_path / "c" / LOG, START).parent)
    found = [read_curves(path) for path in paths]
    name_apart(found, paths)
    assert [one.name for one in found] == [str(paths[0]), str(paths[1]), "c"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_has_a_panel_for_each_figure(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    one = read_curves(write(tmp_path / "one" / LOG, START, validation(2, rmse=0.4), validation(4, rmse=0.3)))
    other = read_curves(write(tmp_path / "two" / LOG, START, validation(2, rmse=0.5), validation(4, rmse=0.2)))
    path = tmp_path / f"curves.{suffix}"
    draw_curves([one, other], path, {"rmse": (0.2, 0.3)})
    if suffix == "svg":
        assert path.read_text().lstrip().startswith("<?xml")
    else:
        pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()
        for colour in ([31, 119, 180], [255, 127, 14]):  # the lines of both
            assert pixels.count(colour) > 20
    with pytest.raises(InputError, match="nothing to draw"):
        draw_curves([read_curves(write(tmp_path / "none" / LOG, START))], path)
