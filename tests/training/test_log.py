"""What a line of log.jsonl says of the steps since the last one."""

import json
from pathlib import Path

import pytest

from fastdiffusers.training import log as module
from fastdiffusers.training.log import TrainingLog


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_skipped_step_has_no_part_in_the_means(tmp_path, clock):
    with TrainingLog(tmp_path, "tiny", 4, 1, 4) as log:
        for step, metrics in enumerate(({"loss": 2.0}, {}, {"loss": 4.0, "lr": 0.5}, {})):
            clock.now += 1
            log.add(step, metrics)
    (line,) = lines(tmp_path)
    assert (line["loss"], line["lr"], line["samples_per_s"]) == (3.0, 0.5, 1.0)


def test_left_out_time_leaves_the_metrics_and_the_speed_of_the_steps(tmp_path, clock):
    with TrainingLog(tmp_path, "tiny", 8, 10, 4) as log:
        for step in range(8):
            clock.now += 2
            log.add(step, {"loss": float(step)})
            if step in (1, 3):
                clock.now += 100  # a checkpoint
                log.skip_time()
    assert [line["loss"] for line in lines(tmp_path)] == [1.5, 5.5]
    assert [line["samples_per_s"] for line in lines(tmp_path)] == [5.0, 5.0]


def test_a_line_that_was_torn_off_does_not_spoil_the_next(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"event": "tra')
    with TrainingLog(tmp_path, "tiny", 8, 10, 4) as log:
        log.event("start", step=0)
        log.event("train", step=4)
    torn, *rest = (tmp_path / "log.jsonl").read_text().splitlines()
    assert torn == '{"event": "tra' and [json.loads(line)["event"] for line in rest] == ["start", "train"]


def test_what_is_no_number_is_null_and_not_tracked(tmp_path):
    tracked = []
    with TrainingLog(tmp_path, "tiny", 8, 10, 4) as log:
        log.tracker.figures = lambda kind, step, figures: tracked.append((kind, step, dict(figures)))
        log.event("validation", step=4, rmse=0.5, sound=float("inf"), gap=float("nan"))
    (line,) = lines(tmp_path)
    assert (line["rmse"], line["sound"], line["gap"]) == (0.5, None, None)
    assert tracked == [("validation", 4, {"rmse": 0.5})]
