"""The plugins' READMEs say what the code does today."""

import re
from dataclasses import fields

import pytest

from fastdiffusers.distillation.documentation import GROUPS, READMES, flag_table, key_table, renewed
from fastdiffusers.distillation.imported import SCRIPTS
from fastdiffusers.distillation.keys import DistillConfig, DmdKeys
from fastdiffusers.errors import InputError

TEXTS = {readme.parent.name: readme.read_text(encoding="utf-8") for readme in READMES}
FRESH = "run python -m fastdiffusers.distillation.documentation"


@pytest.mark.parametrize("plugin", TEXTS)
def test_tables_are_fresh(plugin):
    assert TEXTS[plugin] == renewed(TEXTS[plugin]), FRESH


def test_every_key_is_in_one_table_or_changed_by_another():
    text = "".join(TEXTS.values())
    marked = re.findall(r"<!-- keys: (\w+) -->", text)
    assert sorted(marked) == sorted(GROUPS)
    known = {name for group in marked for name in GROUPS[group].__annotations__}
    assert known == {item.name for item in fields(DistillConfig)}


def test_every_script_of_the_predecessor_has_its_table():
    marked = re.findall(r"<!-- flags: (\S+) -->", "".join(TEXTS.values()))
    tables = {flag_table(script) for script in marked}
    assert all(flag_table(name) in tables for name in _names())


def _names() -> list[str]:
    found = re.findall(r"train_\w+\.py", " ".join(map(str, SCRIPTS)))
    assert len(found) > 3
    return found


def test_a_table_says_default_meaning_and_limits():
    rows = key_table(DmdKeys).splitlines()
    assert rows[0] == "| key | default | meaning | valid |" and len(rows) == 2 + 9
    assert rows[2] == "| `dmd_weight` | `0.01` | weight of distribution matching | at least 0 |"
    assert rows[4].startswith("| `dmd_critic` | `false` | ") and rows[3].endswith("| phase, clean |")


def test_stale_tables_are_written_anew_and_unknown_names_refused():
    stale = "a\n<!-- keys: DmdKeys -->\n| old |\n<!-- end -->\nb\n"
    assert renewed(stale) == f"a\n<!-- keys: DmdKeys -->\n\n{key_table(DmdKeys)}\n<!-- end -->\nb\n"
    with pytest.raises(InputError, match="group of keys"):
        renewed(stale.replace("DmdKeys", "DmdKees"))
    with pytest.raises(InputError, match="script"):
        renewed(stale.replace("keys: DmdKeys", "flags: train.py"))


def test_numbers_in_the_text_are_those_of_the_arithmetic():
    text = TEXTS["fastdiffusers_flux_lightning"]
    for low, high in re.findall(r"from (0\.\d+) to (0\.\d+)", text):
        a, b = float(low), float(high)
        left = (((1 - b) / (1 - a) * a) ** 2 + ((b - a) / (1 - a)) ** 2) ** 0.5
        assert f"{left:.3f}" in text
    for name in re.findall(r"`(\w+): \w+`|`([a-z]+_[a-z_]+)`", text + TEXTS["fastdiffusers_consistency"]):
        word = name[0] or name[1]
        known = {item.name for item in fields(DistillConfig)}
        assert word in known or not word.startswith(("dmd_", "adversarial_", "reflow_", "guidance_", "target_")), word
