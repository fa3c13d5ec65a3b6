"""What the scripts of benchmarks/caches do beside drawing: sets of pictures, rows, tables."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

CACHES = Path(__file__).parents[2] / "benchmarks" / "caches"
sys.path.insert(0, str(CACHES))

import kid  # noqa: E402
import redraw  # noqa: E402

from fastdiffusers.errors import InputError  # noqa: E402
from fastdiffusers.metrics.kid import KernelDistance  # noqa: E402
from fastdiffusers.plan import make_plan, parse  # noqa: E402


def test_prompts_are_lines_without_notes(tmp_path):
    (tmp_path / "prompts.txt").write_text("# of animals\na cat\n\n  a dog \n")
    assert kid.read_prompts(tmp_path / "prompts.txt") == ["a cat", "a dog"]
    assert len(kid.read_prompts(kid.PROMPTS)) * kid.SEEDS == 2048


def test_a_cache_is_compared_with_pictures_of_other_seeds_and_the_same_prompts():
    info = SimpleNamespace(sha256="0" * 64)
    plain, cached = (kid.set_of(info, "model", ["a cat", "a dog"], 0, 28, accel) for accel in ("", "teacache"))
    others = kid.set_of(info, "model", ["a cat", "a dog"], len(plain), 28)
    assert plain.prompts == others.prompts == cached.prompts and plain.prompts[31:33] == ("a cat", "a dog")
    assert plain.seeds == cached.seeds and not set(plain.seeds) & set(others.seeds)
    assert len({plain.name, others.name, cached.name}) == 3


def test_the_table_says_what_lies_above_the_floor():
    floor, found = KernelDistance(0.001, 0.0006, 9), KernelDistance(0.0035, 0.0012, 9)
    rows = [kid.row("none", floor, floor), kid.row("teacache", found, floor)]
    assert rows[1]["excess"] == pytest.approx(0.0025) and rows[1]["error"] == pytest.approx(0.0004)
    head = {"model": {"name": "flux-emoji"}, "steps": 28, "pictures": 2048, "prompts": 64, "command": "kid.py"}
    table = kid.markdown({**head, "rows": rows})
    assert "| uncached (the floor) | 1.000 ± 0.200 |  |" in table
    assert "| `teacache` | 3.500 ± 0.400 | +2.500 |" in table


def test_every_recommended_cache_can_be_planned():
    from fastdiffusers.models.info import describe
    from fastdiffusers.plugins import registry

    info = describe("flux-emoji")
    for words in kid.RECOMMENDED:
        plan = make_plan(parse(words), registry(), info, info.default_setting)
        assert not plan.refusals, words


def test_a_report_is_drawn_again_with_points_that_others_measured(tmp_path):
    pytest.importorskip("matplotlib")
    report, peers = (CACHES.parent / "results" / name for name in ("frontier.json", "peers.json"))
    copy = tmp_path / "frontier.json"
    copy.write_text(report.read_text(encoding="utf-8"), encoding="utf-8")
    redraw.redraw(copy, None)
    alone = copy.with_suffix(".md").read_text(encoding="utf-8")
    redraw.redraw(copy, peers)
    both = copy.with_suffix(".md").read_text(encoding="utf-8")
    assert "cache-dit DBCache" in both and "cache-dit DBCache" not in alone
    assert copy.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    steps = json.loads(copy.read_text(encoding="utf-8"))["settings"]["steps"]
    shown = [p for p in json.loads(peers.read_text())["points"] if p["steps"] == steps and p.get("speedup")]
    assert both.count("| diffusers ") + both.count("| cache-dit ") == len(shown)
    with pytest.raises(InputError):
        redraw.redraw(copy, tmp_path / "none.json")
