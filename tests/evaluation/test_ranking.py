"""Human rankings: scores, intervals, agreement by hand, and every way in which a file can be wrong."""

import json

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation.ranking import Ranking, agreement, read_ranks, scores

HEAD = "judge,item,method,rank\n"


def ranking(ranks: str, judge: str = "j", item: str = "i") -> Ranking:
    """Ranks of the methods a, b, c … as digits."""
    return Ranking(judge, item, dict(zip("abcde", map(int, ranks), strict=False)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["123", "123"], 1.0),
        (["123", "321"], 0.0),
        (["123", "132"], 0.75),  # sums 2, 5, 5: S = 6, 12·6 / (2²·24)
        (["113", "123"], 12 * 6.5 / (4 * 24 - 2 * 6)),  # mean ranks 1.5, 1.5, 3: sums 2.5, 3.5, 6; T = 2³ − 2
        (["112", "123"], 12 * 6.5 / (4 * 24 - 2 * 6)),  # the same order, said in other numbers
        # mean ranks 1.5 1.5 3 4, 1 2 3 4, 1.5 1.5 3.5 3.5: sums 4, 5, 9.5, 11.5 around 7.5; T = 6, 0, 6 + 6
        (["1134", "1234", "1133"], 12 * (3.5**2 + 2.5**2 + 2**2 + 4**2) / (9 * 60 - 3 * (6 + 0 + 12))),
        (["11", "11"], 0.0),  # nobody says anything
    ],
)
def test_kendalls_w_is_that_of_the_hand(given, expected):
    assert agreement([ranking(ranks) for ranks in given]) == pytest.approx(expected)


@pytest.mark.parametrize("given", [["123"], ["1", "1"]])
def test_an_agreement_needs_two_of_both(given):
    with pytest.raises(InputError, match="at least two of both"):
        agreement([ranking(ranks) for ranks in given])


def test_scores_are_the_means_of_10_7_5_3_1_best_first():
    found = scores([ranking("54321", item="x"), ranking("53421", item="y"), ranking("13452", item="z")])
    assert [(score.method, score.mean) for score in found] == [
        ("e", pytest.approx((10 + 10 + 7) / 3)),
        ("d", pytest.approx((7 + 7 + 1) / 3)),
        ("b", pytest.approx((3 + 5 + 5) / 3)),
        ("a", pytest.approx((1 + 1 + 10) / 3)),
        ("c", pytest.approx((5 + 3 + 3) / 3)),
    ]


def test_intervals_are_over_items_and_the_same_again():
    many = [ranking("12" if item % 4 else "21", judge, str(item)) for item in range(40) for judge in "jk"]
    first, second = scores(many), scores(many)
    assert first == second
    best = first[0]
    assert best.method == "a" and best.mean == pytest.approx(10 * 0.75 + 7 * 0.25)
    # 40 items, share 3/4: the standard error of the mean is 3·√(3/16/40)
    error = 3 * np.sqrt(3 / 16 / 40)
    assert best.mean - best.low == pytest.approx(1.96 * error, rel=0.25)
    assert best.high - best.mean == pytest.approx(1.96 * error, rel=0.25)
    # two judges who agree on every item tell no more than one does
    alone = scores([one for one in many if one.judge == "j"])[0]
    assert (alone.low, alone.high) == (best.low, best.high)
    single = scores([ranking("12", item="only")])[0]
    assert single.low == single.mean == single.high == 10


def test_a_file_is_read_as_spreadsheets_write_it(tmp_path):
    file = tmp_path / "ranks.csv"
    file.write_bytes(
        b"\xef\xbb\xbfjudge,item,note,method,rank\r\nann,1,x, a ,1\r\nann,1,,b, 2\r\n\r\nbo,1,,b,1\r\nbo,1,,a,1\r\n"
    )
    assert read_ranks(file) == [Ranking("ann", "1", {"a": 1, "b": 2}), Ranking("bo", "1", {"b": 1, "a": 1})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("judge,item,method\n", "lacks the column 'rank'; it needs judge, item, method, rank"),
        ("", "lacks the column 'judge'"),
        (HEAD, "holds no rankings"),
        (HEAD + "j,1,a,6\n", "line 2: rank '6' is not valid; valid are 1 to 5"),
        (HEAD + "j,1,a,0\n", "line 2: rank '0' is not valid"),
        (HEAD + "j,1,a,²\n", "line 2: rank '²' is not valid"),
        (HEAD + "j,1,a,1.5\n", "line 2: rank '1.5' is not valid"),
        (HEAD + "j,1,a,\n", "line 2: rank is empty"),
        (HEAD + "j,1,a\n", "line 2: rank is empty"),
        (HEAD + "j,1,,2\n", "line 2: method is empty"),
        (HEAD + "j,1,a,1\nj,1,a,2\n", "line 3: 'a' is ranked twice for '1'"),
        (HEAD + "j,1,a,1\nj,1,b,2\nk,2,a,1\n", r"'k' ranks \['a'\] for '2', elsewhere \['a', 'b'\]"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, message):
    file = tmp_path / "ranks.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_ranks(file)
    assert "\n" not in str(caught.value) and "ranks.csv" in str(caught.value)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read.*nothing\.csv"):
        read_ranks(tmp_path / "nothing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match=r"cannot read.*binary\.csv"):
        read_ranks(tmp_path / "binary.csv")


def test_letters_of_blind_sheets_become_methods_by_their_key(tmp_path):
    ranks, key = tmp_path / "ranks.csv", tmp_path / "sheets-key.json"
    key.write_text(
        json.dumps(
            [{"item": 1, "prompt": "p", "A": "one", "B": "two"}, {"item": 2, "prompt": "q", "A": "two", "B": "one"}]
        )
    )
    ranks.write_text(HEAD + "j,1,A,1\nj,1,B,2\nj,2,A,2\nj,2,B,1\n")
    assert [found.ranks for found in read_ranks(ranks, key)] == [{"one": 1, "two": 2}, {"two": 2, "one": 1}]
    ranks.write_text(HEAD + "j,1,C,1\n")
    with pytest.raises(InputError, match=r"line 2: .*sheets-key.json' has no 'C' of '1'"):
        read_ranks(ranks, key)
    key.write_text('{"item": 1}')
    with pytest.raises(InputError, match="is no key of comparison sheets"):
        read_ranks(ranks, key)
