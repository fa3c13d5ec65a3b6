"""Which emoji are kept, which are core, which are held out."""

import pytest

from fastdiffusers.zoo.emoji.concepts import core_concepts, iconic_labels, is_kept, plain_text, select, split_of

MESSAGES = {
    "groups": [{"order": 4, "key": "food-drink"}, {"order": 9, "key": "flags"}],
    "subgroups": [{"order": 40, "key": "food-fruit"}, {"order": 90, "key": "flag"}],
}


@pytest.mark.parametrize(
    ("label", "group", "subgroup", "kept"),
    [
        ("red apple", "food-drink", "food-fruit", True),
        ("chequered flag", "flags", "flag", False),
        ("one o'clock", "travel-places", "time", False),
        ("alarm clock", "travel-places", "time", True),
        ("man judge", "people-body", "person-role", False),
        ("santa claus", "people-body", "person-fantasy", True),
        ("tooth", "people-body", "body-parts", True),
        ("biting lip", "people-body", "body-parts", False),
        ("keycap: 1", "symbols", "keycap", False),
        ("right arrow", "symbols", "arrow", False),
        ("check mark", "symbols", "other-symbol", True),
        ("regional indicator a", "", "", False),
        ("light skin tone", "component", "skin-tone", False),
    ],
)
def test_is_kept(label, group, subgroup, kept):
    assert is_kept(label, group, subgroup) is kept


def test_core_names_are_unambiguous():
    core = core_concepts()
    assert 340 <= len(core) <= 380
    names = [name for label, aliases in core.items() for name in (label, *aliases)]
    assert len(names) == len(set(names))
    assert all(name == plain_text(name).strip() for name in names)
    assert 35 <= len(iconic_labels()) <= 50
    assert iconic_labels() <= set(core)


def test_one_concept_in_twenty_is_held_out_and_no_iconic_one():
    codes = [f"{number:X}" for number in range(0x1F300, 0x1F300 + 4000)]
    held = [code for code in codes if split_of(code, "anything") == "held-out"]
    assert 150 < len(held) < 250
    assert split_of("1F34F", "green apple") == "held-out"  # fixed: a change of the rule would mix the splits
    assert all(split_of(code, "red heart") == "train" for code in held)


def test_select_orders_folds_and_marks():
    data = [
        {
            "hexcode": "1F96D",
            "label": "Mango",
            "tags": ["Fruit", "fruit", "mango"],
            "group": 4,
            "subgroup": 40,
            "order": 9,
        },
        {"hexcode": "1F34E", "label": "red apple", "tags": ["apple"], "group": 4, "subgroup": 40, "order": 2},
        {"hexcode": "1F3C1", "label": "chequered flag", "tags": [], "group": 9, "subgroup": 90, "order": 1},
        {"hexcode": "1F1E6", "label": "regional indicator A"},
    ]
    apple, mango = select(data, MESSAGES)
    assert (apple.label, apple.core, apple.aliases, apple.split) == ("red apple", True, ("apple",), "train")
    assert (mango.label, mango.core, mango.tags) == ("mango", False, ("fruit",))


def test_plain_text():
    assert plain_text("Piñata") == "pinata"
    assert plain_text("woman’s “hat”") == 'woman\'s "hat"'
