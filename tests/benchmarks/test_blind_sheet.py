"""The blind test asks fairly, keeps the key apart, and counts strictly."""

import json

import blind
import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError

LABELS = [f"thing {i}" for i in range(40)]
ANSWERS = LABELS[:6]


def test_every_question_has_its_answer_once_among_twenty_different_ones():
    asked = blind.questions(ANSWERS, LABELS)
    assert sorted(question.index for question in asked) == list(range(6))
    for question in asked:
        assert question.answer == ANSWERS[question.index]
        assert len(set(question.candidates)) == 20 and question.candidates.count(question.answer) == 1
    places = {q.candidates.index(q.answer) for q in blind.questions(LABELS, LABELS)}
    assert len(places) > 10  # the answer is anywhere
    assert [question.number for question in asked] == [1, 2, 3, 4, 5, 6]
    assert [question.index for question in asked] != [0, 1, 2, 3, 4, 5]


def test_the_sheet_is_the_same_every_time():
    assert blind.questions(ANSWERS, LABELS) == blind.questions(ANSWERS, LABELS)


def test_too_few_labels_are_said():
    with pytest.raises(InputError, match="5 other labels; 19 are needed"):
        blind.questions(ANSWERS, LABELS[:6])


def test_the_sheet_shows_the_right_picture_and_not_the_key(tmp_path):
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    pictures += np.arange(6, dtype=np.uint8)[:, None, None, None] * 40
    asked = blind.questions(ANSWERS, LABELS)
    blind.write_sheet(tmp_path / "sheet", tmp_path / "key.json", pictures, asked)
    key = json.loads((tmp_path / "key.json").read_text())
    for question in asked:
        with Image.open(tmp_path / "sheet" / f"{question.number:02d}.png") as image:
            assert image.size == (24, 24) and image.getpixel((12, 12))[0] == question.index * 40
        assert key[str(question.number)]["answer"] == question.answer
    assert not list((tmp_path / "sheet").glob("*key*"))


def test_marking():
    asked = blind.questions(ANSWERS, LABELS)
    lines = [f"{q.number:02d} {q.answer}" for q in asked]
    assert blind.marked("\n".join(lines), asked) == {"right": 6, "of": 6, "wrong": []}
    lines[0] = f"1: {asked[1].answer.upper()}"
    result = blind.marked("\n".join(lines[:5]), asked)  # one wrong, one missing
    assert result["right"] == 4 and [wrong["number"] for wrong in result["wrong"]] == [1, 6]
    with pytest.raises(InputError, match="answer '99 frog'"):
        blind.marked("99 frog", asked)
