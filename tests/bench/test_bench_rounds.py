"""Rounds on disk: a bench that was cut off goes on where it was, and gives the same report."""

import json

import pytest
from scripted import MACHINE, MODEL, SETTING, ScriptedPipe, attacher, registry

from fastdiffusers.bench.arms import order_arms, parse_arm, plan_arm
from fastdiffusers.bench.measure import Bench
from fastdiffusers.bench.report import report
from fastdiffusers.bench.rounds import Rounds
from fastdiffusers.bench.workload import Workload
from fastdiffusers.errors import InputError

WHAT = {"arms": ["none", "fast"]}


class Dying(ScriptedPipe):
    """Is interrupted at the given call."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def __call__(self, prompt, **options):
        if len(self.calls) == self.at:
            raise KeyboardInterrupt
        return super().__call__(prompt, **options)


def run(path, pipe=None, words=("fast",), features=None, what=None):
    pipe = pipe or ScriptedPipe()
    plugins = registry()
    arms = [plan_arm(arm, plugins, pipe.info, SETTING) for arm in order_arms(map(parse_arm, words))]
    rounds = None if path is None else Rounds(path, what or WHAT)
    workload = Workload(("a", "b"), SETTING, 2, 5)
    bench = Bench(pipe, workload, attacher(pipe), clock=pipe.clock, features=features, rounds=rounds)
    return bench.measure(arms), pipe


def rows(measurement):
    data = report(measurement, MACHINE, MODEL)
    for row in data["rows"]:
        row["speedup"] = round(row["speedup"], 9)  # the scripted clock adds up to other last digits
        row["latency"] = {key: round(value, 9) for key, value in row["latency"].items()}
        row["speedup_range"] = None
        row["stages"] = None
        row["warmup_s"] = row["attach_s"] = None
    return data["rows"]


def test_an_interrupted_bench_goes_on_and_reports_as_one_that_was_not(tmp_path):
    path = tmp_path / "report.json.rounds"
    cut, _ = run(path, Dying(at=2 + 2 * 2 * 2 + 1))
    assert cut.interrupted and cut.rounds == 2
    rest, pipe = run(path)
    timed = [(arm, prompt) for arm, prompt, _, steps in pipe.calls if steps > 2][2:]
    assert timed == [("none", "a"), ("fast", "a"), ("fast", "b"), ("none", "b")]
    assert not rest.interrupted and rest.rounds == 4
    assert rows(rest) == rows(run(None)[0])


def test_an_identical_picture_comes_back_as_one(tmp_path):
    path = tmp_path / "rounds"
    run(path, Dying(at=2 + 8))
    assert run(path)[0].arms[0].prices[0].psnr == float("inf")


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "rounds"
    run(path)
    whole = path.read_text()
    path.write_text(whole[:-40])
    assert len(Rounds(path, WHAT)) == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert run(path)[0].rounds == 4


def test_rounds_of_another_bench_are_refused(tmp_path):
    path = tmp_path / "rounds"
    run(path)
    with pytest.raises(InputError, match="rounds of another bench"):
        Rounds(path, {"arms": ["none"]})


def test_an_arm_that_failed_takes_part_no_more(tmp_path):
    path = tmp_path / "rounds"
    run(path, Dying(at=1 + 2 * 2), words=("failing",))
    rest, _ = run(path, words=("failing",))
    assert rest.arms[1].error == "RuntimeError: out of luck" and not rest.arms[1].samples


def test_replays_are_kept_and_the_file_goes_at_the_end(tmp_path):
    rounds = Rounds(tmp_path / "rounds", WHAT)
    rounds.keep_replay("teacache x/.", {"speedup": 1.5, "skip_ratio": float("nan")})
    again = Rounds(tmp_path / "rounds", WHAT)
    assert again.replays == {"teacache x/.": {"speedup": 1.5, "skip_ratio": None}} and len(again) == 0
    again.remove()
    assert not (tmp_path / "rounds").exists()


def test_features_are_compared_with_the_baselines_of_the_same_round():
    seen = []

    def features(pictures):
        seen.append(len(pictures))
        return [[float(picture[0, 0, 0]), 0.0] for picture in pictures]

    measurement, _ = run(None, features=features)
    assert seen == [2] * 4
    plain, fast = (report(measurement, MACHINE, MODEL)["rows"][i]["quality"] for i in (0, 1))
    assert plain["features"] == 0.0 and fast["features"] == fast["worst"]["features"] == 10.0  # the shift of its pixels
