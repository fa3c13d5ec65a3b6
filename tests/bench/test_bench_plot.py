"""The plot: what is drawn where, the front, and one line where matplotlib is missing."""

import builtins
import json

import pytest

from fastdiffusers.bench.peers import read_peers
from fastdiffusers.bench.plot import draw, front, groups, lines, require_matplotlib
from fastdiffusers.errors import InputError, MissingDependency


def row(accel, speedup, psnr, replayed=None, error=None):
    return {
        "accel": accel,
        "speedup": speedup,
        "quality": {"psnr": psnr},
        "replay": None if replayed is None else {"speedup": replayed},
        "records": [] if accel.startswith("none") else [{}],
        "error": error,
    }


ROWS = [
    row("none", 1.0, None),
    row("teacache:threshold=0.2", 1.5, 40.0, 2.0),
    row("teacache:threshold=0.4", 2.5, 30.0, 3.0),
    row("dbcache:first=1:threshold=0.1", 1.4, 42.0),
    row("dbcache:first=8:threshold=0.1", 1.1, 41.0),
    row("cache:indicator=seacache", 1.6, 39.0, 2.1),
    row("none@14", 1.9, 33.0, 2.0),
    row("fbcache", None, None, error="it broke"),
]
DATA = {"rows": ROWS, "model": {"name": "flux-emoji"}, "settings": {"steps": 28}, "peers": []}


def test_the_front_are_those_that_nothing_beats_in_both():
    points = [(1.0, 50.0, "a"), (1.5, 40.0, "b"), (1.4, 39.0, "worse"), (2.0, 40.0, "c"), (3.0, 20.0, "d")]
    assert [name for *_, name in front(points)] == ["a", "c", "d"]


def test_rows_are_grouped_by_preset_and_what_has_no_figures_is_left_out():
    found = groups(DATA)
    assert set(found) == {"teacache", "dbcache", "cache", "plain"}
    assert found["plain"] == [(1.9, 33.0, "none@14")]
    assert groups(DATA, replayed=True)["teacache"] == [
        (2.0, 40.0, "teacache:threshold=0.2"),
        (3.0, 30.0, "teacache:threshold=0.4"),
    ]
    assert "dbcache" not in groups(DATA, replayed=True)


def test_lines_lead_along_thresholds_not_from_one_scope_to_another():
    found = groups(DATA)
    assert [len(line) for line in lines(found["teacache"])] == [2]
    assert [len(line) for line in lines(found["dbcache"])] == [1, 1]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_draws(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    peers = [{"name": "other", "setting": "1", "speedup": 1.2, "psnr": 30.0}]
    path = tmp_path / f"plot{suffix}"
    draw({**DATA, "peers": peers}, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml") and len(content) > 10_000
    assert len(list(tmp_path.iterdir())) == 1


def test_without_matplotlib_one_line_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependency, match=r"pip install 'fastdiffusers\[plot\]'"):
        require_matplotlib()


def test_peers_of_the_same_number_of_steps_are_read(tmp_path):
    path = tmp_path / "peers.json"
    points = [
        {"name": "a", "setting": "s", "steps": 28, "speedup": 1.5, "psnr": 30},
        {"name": "a", "setting": "s", "steps": 50, "speedup": 1.5, "psnr": 30},
    ]
    empty = {"ssim": None, "rel_l1": None, "computed": None}
    for content in (points, {"machine": {}, "points": points}):
        path.write_text(json.dumps(content))
        assert read_peers(path, 28) == [{"name": "a", "setting": "s", "speedup": 1.5, "psnr": 30.0, **empty}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read the peers"),
        ("{}", "no JSON list"),
        ('[{"name": "a"}]', "has no steps"),
        ('[{"name": "a", "steps": 28, "speedup": "fast"}]', "speedup must be a number"),
        ('[{"name": "a", "steps": 28, "psnr": 3}]', "needs a name and a speedup"),
    ],
)
def test_a_file_that_means_nothing_is_one_line(tmp_path, text, message):
    path = tmp_path / "peers.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_peers(path, 28)
