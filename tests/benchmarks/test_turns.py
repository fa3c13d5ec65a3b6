"""Workers that take turns, and what is made of their answers."""

import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
sys.path.insert(0, str(PEERS))

from turns import Worker, ratio, summary  # noqa: E402

WORKER = """
import sys; sys.path.insert(0, sys.argv[1])
from turns import serve, timed
def run(arm, steps):
    print("noise")
    if arm == "bad":
        raise ValueError("no such\\narm")
    return timed(lambda number: sum(range(1000)), steps) | {"arm": arm}
serve(run, {"version": "1"})
"""


def turn(*seconds):
    return {"first": 1.0, "wall": list(seconds), "cpu": [s / 2 for s in seconds], "off": 0.0}


def test_a_worker_answers_turn_by_turn_and_goes_on_after_an_error(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    worker = Worker([sys.executable, str(script), str(PEERS)], 1)
    try:
        assert worker.about == {"version": "1"}
        assert worker.turn("bad", 2) == {"error": "ValueError: no such arm"}
        answer = worker.turn("good", 2)
        assert answer["arm"] == "good" and len(answer["wall"]) == len(answer["cpu"]) == 2 and answer["first"] > 0
    finally:
        worker.close()


def test_a_ratio_is_taken_within_rounds():
    ours, theirs = [turn(1.0, 1.0), turn(10.0, 10.0), turn(1.0, 3.0)], [turn(2.0), turn(20.0), turn(4.0)]
    assert ratio(ours, theirs) == {"wall": 0.5, "wall_least": 0.5, "cpu": 0.5, "cpu_least": 0.5}
    told = summary(ours)
    assert told["wall_ms"] == pytest.approx(2000) and told["cpu_least_ms"] == 500 and told["off"] == 0.0
