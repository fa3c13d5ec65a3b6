import pytest

from fastdiffusers.errors import PlanError
from fastdiffusers.request import Request, format_requests, parse


def test_commas_compose_and_colons_give_options():
    assert parse("lightning,teacache:threshold=0.4:order=2") == [
        Request("lightning"),
        Request("teacache", {"threshold": "0.4", "order": "2"}),
    ]
    assert parse(["a", "b:x=1"]) == [Request("a"), Request("b", {"x": "1"})]
    assert parse(" a , b : x = 1 ") == [Request("a"), Request("b", {"x": "1"})]


def test_a_value_may_hold_an_equals_sign():
    assert parse("a:x=b=c")[0].options == {"x": "b=c"}


@pytest.mark.parametrize("nothing", [None, "none", ["none"], []])
def test_none_is_no_accelerator(nothing):
    assert parse(nothing) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty accelerator name"),
        ("a,,b", "empty accelerator name"),
        ("a,", "empty accelerator name"),
        (":x=1", "empty accelerator name in ':x=1'"),
        ("a::b", "cannot read '' in 'a::b'"),
        ("a:b", "cannot read 'b' in 'a:b'; options are written a:OPTION=VALUE"),
        ("a:=1", "cannot read '=1'"),
        ("a:b=", "option 'b' has no value"),
        ("a:b=1:b=2", "option 'b' is given twice"),
        ("a,b,a", "'a' is named twice"),
        ("none,a", "'none' means no accelerator and does not compose"),
        ("none:x=1", "'none' means no accelerator and has no options"),
        ([3], "named by text"),
    ],
)
def test_malformed_words_are_one_line(text, words):
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_formatting_reads_back():
    requests = [Request("a", {"x": True, "y": None, "z": [1.5, 2]}), Request("b")]
    assert format_requests(requests) == "a:x=true:y=none:z=1.5/2,b"
    assert parse(format_requests(requests))[0].options == {"x": "true", "y": "none", "z": "1.5/2"}
    assert format_requests([]) == "none"
