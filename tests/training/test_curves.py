"""What logs of trainings say: rows, ends, what was said twice, what is no log, and the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError
from fastdiffusers.training.curves import LOG, draw_curves, panels, read_curves


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
        ([], "not at its end, step 0"),
        ([START, train(20, loss=1.0), validation(10, rmse=1.0)], "not at its end, step 20"),
        ([START, {"event": "ended", "step": 30, "reason": "3 in a row"}, END], "ended after step 30: 3 in a row"),
        ([START, END, START | {"step": 4}, train(6, loss=1.0)], "not at its end, step 6"),
    ],
)
def test_it_says_how_a_training_ended(tmp_path, events, said):
    assert read_curves(write(tmp_path / LOG, *events)).end == said


def test_a_line_that_is_being_written_is_left_out_and_no_log_is_refused(tmp_path):
    log = write(tmp_path / LOG, START, validation(2, rmse=0.4))
    whole = log.read_text()
    log.write_text(whole + '{"event": "valid')
    assert [row["step"] for row in read_curves(log).rows()] == [2]
    log.write_text('{"event": "valid\n' + whole)
    with pytest.raises(InputError, match="is no log of a training: line 1 is no event"):
        read_curves(log)
    log.write_text("[1]\n" + whole)
    with pytest.raises(InputError, match="line 1 is no event"):
        read_curves(log)
    log.write_bytes(b"\xff\xfe" + whole.encode())
    with pytest.raises(InputError, match="is no log of a training"):
        read_curves(log)
    with pytest.raises(InputError, match="valid is the output folder of a training"):
        read_curves(tmp_path / "nothing")


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
