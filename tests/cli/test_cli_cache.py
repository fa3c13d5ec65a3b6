"""``fastdiff cache``: what compilers keep on disk."""

from __future__ import annotations

import json
import os

from fastdiffusers.compilation.store import MANIFEST, Store

KEY = {
    "model": "tiny",
    "blocks": [0, 6],
    "dynamic": False,
    "paddle": "3.3.1",
    "arguments": [[[[1, 16, 32], "float32"]], [], 16],
}


def keep(tmp_path, key):
    made = tmp_path / "made"
    made.mkdir(exist_ok=True)
    (made / "program.json").write_text("x" * 2_000_000)
    return Store().keep(key, made)[0]


def test_ls_shows_what_is_kept_and_clear_removes_it(fastdiff, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    assert "0 programs, 0.0 of 4000 MB" in fastdiff("cache").stdout
    first, second = keep(tmp_path, KEY), keep(tmp_path, {**KEY, "dynamic": True, "blocks": [2, 6]})
    os.utime(first / MANIFEST, (1, 1))
    (second / MANIFEST).write_text("{")
    shown = " ".join(fastdiff("cache", "ls").stdout.split())
    assert "tiny 0-5 1x16x32 3.3.1 2.0" in shown and "(damaged)" in shown and "2 programs, 4.0 of 4000 MB" in shown
    listed = json.loads(fastdiff("cache", "ls", "--json").stdout)
    assert listed["bytes"] > 4_000_000 and listed["limit"] == 4_000_000_000
    assert [entry["id"] for entry in listed["entries"]] == [first.name, second.name]
    assert json.loads(fastdiff("cache", "clear", "--json").stdout)["removed"] == 2
    assert fastdiff("cache", "clear").stdout.startswith("removed 0 programs, 0.0 MB")


def test_an_unknown_action_is_refused(fastdiff):
    done = fastdiff("cache", "burn")
    assert done.exit_code == 2 and "unknown action 'burn'; valid: clear, ls" in done.stderr
