"""Blind sheets: every picture under its letter, the key apart; and the grid that is not blind."""

import json

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation.sheets import HEAD, LETTERS, MARGIN, ROWS, key_file, write_grid, write_sheets

SIDE = 6
METHODS = {"teacher": 40, "two": 120, "one": 200}


def pictures(count: int) -> dict[str, np.ndarray]:
    """Plain pictures: red tells the method, green the prompt."""
    found = {}
    for name, red in METHODS.items():
        found[name] = np.zeros((count, SIDE, SIDE, 3), np.uint8)
        found[name][..., 0] = red
        found[name][..., 1] = np.arange(count)[:, None, None]
    return found


def read(folder, count: int, enlarge: int = 1) -> list[list[int]]:
    """The pixel in the middle of each picture of each row of all sheets."""
    side, rows = SIDE * enlarge, []
    for number in range(1, -(-count // ROWS) + 1):
        sheet = np.asarray(Image.open(folder / f"sheet-{number}.png").convert("RGB"))
        for r in range(min(ROWS, count - (number - 1) * ROWS)):
            top = MARGIN + r * (side + HEAD + MARGIN) + HEAD + side // 2
            rows.append([sheet[top, MARGIN + c * (side + MARGIN) + side // 2].tolist() for c in range(len(METHODS))])
    return rows


@pytest.mark.parametrize(("count", "enlarge"), [(11, 1), (3, 2)])
def test_each_letter_is_the_method_that_the_key_says(tmp_path, count, enlarge):
    folder = tmp_path / "sheets"
    prompts = [f"prompt {i}" for i in range(count)]
    written = write_sheets(folder, pictures(count), prompts, enlarge=enlarge)
    assert [file.name for file in written] == [f"sheet-{i + 1}.png" for i in range(-(-count // ROWS))]
    key = json.loads(key_file(folder).read_text())
    assert [(entry["item"], entry["prompt"]) for entry in key] == [(i + 1, f"prompt {i}") for i in range(count)]
    for i, (row, entry) in enumerate(zip(read(folder, count, enlarge), key, strict=True)):
        assert [pixel[0] for pixel in row] == [METHODS[entry[letter]] for letter in LETTERS[: len(METHODS)]]
        assert {pixel[1] for pixel in row} == {i}
        assert {entry[letter] for letter in "ABC"} == set(METHODS)


def test_orders_differ_from_row_to_row_and_come_back_with_the_seed(tmp_path):
    keys = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_sheets(tmp_path / name, pictures(24), [""] * 24, seed=seed)
        keys[name] = [
            tuple(entry[letter] for letter in "ABC") for entry in json.loads(key_file(tmp_path / name).read_text())
        ]
    assert keys["a"] == keys["b"] != keys["c"]
    assert len(set(keys["a"])) >= 4  # of six orders


def test_what_judges_are_given_tells_them_nothing(tmp_path):
    folder = tmp_path / "deep" / "sheets"
    write_sheets(folder, pictures(2), ["a", "b"])
    assert [file.name for file in folder.iterdir()] == ["sheet-1.png"]
    assert key_file(folder) == folder.parent / "sheets-key.json"
    image = Image.open(folder / "sheet-1.png")
    assert not image.info


def test_sheets_of_a_longer_set_do_not_stay_behind(tmp_path):
    write_sheets(tmp_path / "sheets", pictures(20), [""] * 20)
    write_sheets(tmp_path / "sheets", pictures(5), [""] * 5)
    assert [file.name for file in (tmp_path / "sheets").iterdir()] == ["sheet-1.png"]


def test_long_and_foreign_prompts_stay_within_the_sheet(tmp_path):
    write_sheets(tmp_path / "long", pictures(1), ["a very long prompt " * 20 + "\n一只红苹果"])
    write_sheets(tmp_path / "short", pictures(1), ["x"])
    sizes = {name: Image.open(tmp_path / name / "sheet-1.png").size for name in ("long", "short")}
    assert sizes["long"] == sizes["short"]
    sheet = np.asarray(Image.open(tmp_path / "long" / "sheet-1.png"))
    assert (sheet[: MARGIN + HEAD // 2, -MARGIN:] == 255).all()


@pytest.mark.parametrize(
    ("given", "prompts", "message"),
    [
        ({"a": np.zeros((1, 4, 4, 3), np.uint8)}, [""], "1 methods to compare; valid are 2 to 5"),
        ({name: np.zeros((1, 4, 4, 3), np.uint8) for name in "abcdef"}, [""], "6 methods to compare"),
        ({name: np.zeros((1, 4, 4, 3), np.uint8) for name in "ab"}, ["", ""], "'a' has 1 pictures for 2 prompts"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, given, prompts, message):
    with pytest.raises(InputError, match=message):
        write_sheets(tmp_path / "sheets", given, prompts)
    assert not (tmp_path / "sheets").exists()


def test_a_grid_has_a_row_for_each_method(tmp_path):
    write_grid(tmp_path / "grid.png", pictures(4))
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    reds = list(METHODS.values())
    places = [np.flatnonzero((grid[:, MARGIN] == [red, 0, 0]).all(axis=-1)) for red in reds]
    assert [len(rows) for rows in places] == [SIDE] * 3
    assert places[0].max() < places[1].min() and places[1].max() < places[2].min()
    assert {tuple(pixel) for pixel in grid[places[0][2]]} >= {(40, i, 0) for i in range(4)}
