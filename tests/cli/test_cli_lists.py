"""The commands that tell without running anything: accel, explain, models, plugins, cite."""

from __future__ import annotations

import json
import re

import pytest

from fastdiffusers.plugins import registry
from fastdiffusers_cli.output import print_pairs, print_table


def flat(text: str) -> str:
    return " ".join(text.split())


def test_accel_list_shows_every_accelerator(fastdiff, nap_plugin):
    done = fastdiff("accel", "list")
    for name, spec in registry().accelerators.items():
        assert re.search(rf"^{name} +{spec.kind.value} +{spec.fidelity.value}", done.stdout, re.M)
        for word in spec.summary.split():
            assert word in done.stdout
    listed = json.loads(fastdiff("accel", "list", "--json").stdout)["accelerators"]
    assert [entry["name"] for entry in listed] == list(registry().accelerators)


def test_bare_accel_lists_them(fastdiff):
    assert fastdiff("accel").stdout == fastdiff("accel", "list").stdout


def test_accel_info_shows_options_and_references(fastdiff, nap_plugin):
    shown = flat(fastdiff("accel", "info", "nap").stdout)
    assert "depth 2 an integer from 1 to 9 how deep" in shown
    assert "claims slumber" in shown and "Sleep & Dreams" in shown and "nap:depth=2" in shown
    entry = json.loads(fastdiff("accel", "info", "nap", "--json").stdout)
    assert entry["options"] == [{"name": "depth", "default": 2, "valid": "an integer from 1 to 9", "help": "how deep"}]


def test_explain_says_what_is_expected_without_running(fastdiff, tiny, nap_plugin):
    done = fastdiff("explain", "--model", tiny, "--accel", "nap,teacache:coefficients=identity", "--steps", 12)
    shown = flat(done.stdout)
    assert done.exit_code == 0
    assert "accelerator nap (cache, lossy) options depth=2 claims slumber engages yes" in shown
    assert "coefficients: identity" in shown and "12 steps" in shown
    content = json.loads(fastdiff("explain", "--model", tiny, "--accel", "nap", "--json").stdout)
    assert content["accelerators"][0]["name"] == "nap" and content["setting"]["steps"] == 28
    assert content["refusals"] == [] and content["model"]["name"] == "tiny"


def test_bare_explain_takes_each_accelerator_alone(fastdiff, tiny, nap_plugin):
    done = fastdiff("explain", "--model", tiny)
    assert done.exit_code == 0
    shown = flat(done.stdout)
    assert "accelerator nap" in shown and "accelerator doze" in shown and "accelerator dream refused" in shown
    alone = json.loads(fastdiff("explain", "--model", tiny, "--json").stdout)["alone"]
    assert len(alone) == len(registry().accelerators)


def test_explain_without_accelerators_says_what_would_happen(fastdiff, tiny):
    shown = fastdiff("explain", "--model", tiny, "--accel", "none").stdout
    assert "\nno accelerator would engage: plain sampling\n" in shown and "FLOP in all" in shown


def test_a_refusal_names_the_accelerator_once(fastdiff, tiny, nap_plugin):
    done = fastdiff("explain", "--model", tiny, "--accel", "teacache")
    assert done.stderr.startswith("error: teacache has no coefficients")
    assert fastdiff("infer", "--model", tiny, "--accel", "teacache").stderr == done.stderr
    done = fastdiff("explain", "--model", tiny, "--accel", "dream")
    assert done.stderr.startswith("error: dream is refused: it needs 'rem'")


def test_explain_saves_a_plan_that_infer_reads(fastdiff, tiny, tmp_path, nap_plugin):
    fastdiff("explain", "--model", tiny, "--accel", "nap", "--steps", 2, "--save-plan", "plan.yaml")
    done = fastdiff("infer", "--model", tiny, "--plan", "plan.yaml", "--json")
    assert json.loads(done.stdout)["settings"]["steps"] == 2
    assert json.loads(fastdiff("explain", "--plan", "plan.yaml", "--model", tiny, "--json").stdout)["refusals"] == []


def test_models_describes_a_folder(fastdiff, tiny):
    (entry,) = json.loads(fastdiff("models", "--model", tiny, "--json").stdout)["models"]
    assert entry["name"] == "tiny" and entry["family"] == "flux" and len(entry["sha256"]) == 64
    assert set(entry["parameters"]) == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    assert entry["size"] == sum(file.stat().st_size for file in tiny.rglob("*") if file.is_file())
    shown = fastdiff("models", "--model", tiny).stdout
    assert "tiny (flux)" in shown and entry["sha256"][:12] in shown and "32x32, 28 steps" in shown


def test_models_without_options_lists_the_embedded_ones(fastdiff):
    from fastdiffusers.zoo import EMBEDDED

    shown = json.loads(fastdiff("models", "--json").stdout)
    assert {entry["name"] for entry in shown["models"]} | set(shown["missing"]) == set(EMBEDDED)


def test_plugins_shows_working_broken_and_blocked_ones(fastdiff, tmp_path, monkeypatch):
    (tmp_path / "cracked.py").write_text("raise OSError('it fell')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FASTDIFFUSERS_PLUGINS", "cracked")
    monkeypatch.setenv("FASTDIFFUSERS_BLOCK", "caching")
    registry.cache_clear()
    try:
        shown = fastdiff("plugins").stdout
        assert re.search(r"^flux +ok ", shown, re.M)
        assert re.search(r"^caching +blocked ", shown, re.M)
        assert re.search(r"^cracked +broken .*OSError: it fell", shown, re.M)
        records = {r["name"]: r["status"] for r in json.loads(fastdiff("plugins", "--json").stdout)["plugins"]}
        assert records["cracked"] == "broken" and records["caching"] == "blocked"
        assert "broken: cracked" in fastdiff("accel", "list").stdout
    finally:
        registry.cache_clear()


def test_cite_prints_bibtex(fastdiff, nap_plugin):
    everything = fastdiff("cite").stdout
    assert everything.count("@misc{") == len(re.findall(r"^}$", everything, re.M)) >= 3
    nap = fastdiff("cite", "nap").stdout
    assert nap.startswith("@misc{ott2020sleep,") and "title = {{Sleep \\& Dreams}}" in nap and "2001.00001" in nap
    assert fastdiff("cite", "--accel", "nap:depth=3,doze").stdout == nap  # one paper, cited once
    assert json.loads(fastdiff("cite", "nap", "--json").stdout)["entries"][0]["key"] == "ott2020sleep"


HASH = "0123456789" * 6
LONG = "a sentence that is quite a lot longer than what a terminal of eighty columns can show in one of its lines"


@pytest.mark.parametrize("show", ["table", "pairs"])
def test_nothing_is_cut_off_at_eighty_columns(show, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "an-accelerator-with-a-long-name:with=options"
    if show == "table":
        print_table(["name", "kind", "text"], [[name, "cache", LONG], ["b", None, HASH]], wrap=["text"])
        shown = capsys.readouterr().out
        assert HASH in "".join(word for word in shown.split() if set(word) <= set(HASH))
        print_table(["name", "kind", "text"], [[name, "cache", LONG], ["b", None, True]], wrap=["text"])
    else:
        print_pairs([(name, LONG), ("claims", frozenset({"b", "a"}))])
    shown = capsys.readouterr().out
    assert name in shown and "…" not in shown
    assert [word for word in shown.split() if word in LONG.split()] == LONG.split()
    assert max(map(len, shown.splitlines())) <= 80
    assert all(line == line.rstrip() for line in shown.splitlines())


@pytest.mark.parametrize("words", [["accel", "list"], ["plugins"], ["explain", "--accel", "nap", "--model", "TINY"]])
def test_tables_of_commands_fit_eighty_columns(words, fastdiff, tiny, nap_plugin):
    done = fastdiff(*(tiny if word == "TINY" else word for word in words))
    table = done.stdout.splitlines()[1:]
    assert max(map(len, table)) <= 80 and "…" not in done.stdout
