"""The teacher's table: rows as they come, and the searched shift."""

import numpy as np
import teacher
from teacher_table import markdown

ROW = {"fd": 0.02, "fd_std": 0.001, "fd_real": 0.1, "retrieval": 0.8, "clip": 0.5}
REPORT = {
    "model": {"sha256": "a" * 64},
    "scorer": {"sha256": "b" * 64},
    "n": 4000,
    "guidance_scale": 3.5,
    "size": 96,
    "different_captions": 3000,
    "concepts": 350,
    "complete": False,
    "reference_steps": 50,
    "paired": 512,
    "floor": None,
    "real": {"floor": 0.01, "retrieval": 0.9, "clip": 0.6},
    "rows": [{"steps": 1, "schedule": "uniform", "mu": 0.0, **ROW}],
    "search": {"n": 1000, "n_many": 500, "fd": {}},
}


def test_what_is_not_known_yet_is_a_dash_and_said_to_be_partial():
    text = markdown(REPORT)
    assert (
        "Partial" in text and "| 1 | uniform | 0 | 0.0200 | 0.0010 | – | – | 0.1000 | 0.800 | 0.500 | – | – |" in text
    )


def test_a_complete_row():
    row = {**REPORT["rows"][0], "fd_excess": 0.015, "excess_over_floor": 3.0, "psnr": 14.72, "latency": 0.0451}
    text = markdown({**REPORT, "complete": True, "floor": 0.005, "rows": [row]})
    assert "Partial" not in text and "| 0.0150 | 3.00 | 0.1000 | 0.800 | 0.500 | 14.7 | 0.045 |" in text


def test_chance_shrinks_with_the_number_of_pictures():
    rng = np.random.default_rng(0)
    few, many = (teacher.spread(rng.normal(size=(n, 4)), rng.normal(0.5, 1, (n, 4))) for n in (50, 1000))
    assert 0 < many < few / 2


def test_the_shift_is_searched_beyond_an_end_where_it_still_falls():
    asked = []

    def distances(shifts):
        asked.append(list(shifts))
        return [(mu - 1.2) ** 2 for mu in shifts]

    found = teacher.searched(distances, (-0.5, 0.0, 0.46))
    assert asked[0] == [-0.5, 0.0, 0.46] and min(found, key=found.get) == 0.96 and list(found) == sorted(found)
    assert [len(some) for some in asked] == [3, 1, 1]  # 0.96 and 1.46, which is worse: the end
    assert max(teacher.searched(lambda shifts: [-mu for mu in shifts], (0.0, 1.0))) == 3.0
    assert teacher.searched(lambda shifts: [mu**2 for mu in shifts], (-1.0, 0.0, 1.0)) == {-1.0: 1, 0.0: 0, 1.0: 1}
