from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

from fastdiffusers.errors import PlanError, PluginError
from fastdiffusers.options import build_config, options_of, plain_options


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True)
class Config:
    threshold: float = field(default=0.25, metadata={"min": 0, "help": "how far"})
    order: int = field(default=1, metadata={"min": 1, "max": 3})
    force: bool = False
    mode: Mode = Mode.FAST
    backend: str = field(default="eager", metadata={"choices": ("eager", "static")})
    limit: int | None = None
    old: Optional[float] = None  # noqa: UP045
    table: Path | None = None
    numbers: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if self.order == 3 and self.force:
            raise ValueError("order 3 cannot be forced")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("threshold", "0.4", 0.4),
        ("threshold", 1, 1.0),
        ("threshold", np.float32(0.5), 0.5),
        ("threshold", "1e-3", 0.001),
        ("order", "2", 2),
        ("order", np.int64(3), 3),
        ("force", "true", True),
        ("force", "Off", False),
        ("force", "1", True),
        ("force", True, True),
        ("mode", "slow", Mode.SLOW),
        ("mode", Mode.SLOW, Mode.SLOW),
        ("backend", "static", "static"),
        ("limit", "none", None),
        ("limit", None, None),
        ("limit", "7", 7),
        ("old", "0.5", 0.5),
        ("table", "a/b.json", Path("a/b.json")),
        ("numbers", "1/2.5/-3", (1.0, 2.5, -3.0)),
        ("numbers", [1, 2], (1.0, 2.0)),
    ],
)
def test_reads(name, given, value):
    config = build_config("x", Config, {name: given})
    assert getattr(config, name) == value and type(getattr(config, name)) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("threshold", "abc", "teacache: threshold must be a number ≥ 0, got 'abc'"),
        ("threshold", "-1", "teacache: threshold must be a number ≥ 0, got '-1'"),
        ("threshold", "nan", "teacache: threshold must be a number ≥ 0, got 'nan'"),
        ("threshold", float("inf"), "teacache: threshold must be a number ≥ 0, got inf"),
        ("threshold", "1_0", "teacache: threshold must be a number ≥ 0, got '1_0'"),
        ("threshold", True, "teacache: threshold must be a number ≥ 0, got True"),
        ("threshold", None, "teacache: threshold must be a number ≥ 0, got None"),
        ("threshold", [1], "teacache: threshold must be a number ≥ 0, got [1]"),
        ("order", "1.5", "teacache: order must be an integer from 1 to 3, got '1.5'"),
        ("order", 2.0, "teacache: order must be an integer from 1 to 3, got 2.0"),
        ("order", 4, "teacache: order must be an integer from 1 to 3, got 4"),
        ("order", True, "teacache: order must be an integer from 1 to 3, got True"),
        ("force", "maybe", "teacache: force must be true or false, got 'maybe'"),
        ("force", 1, "teacache: force must be true or false, got 1"),
        ("mode", "medium", "teacache: mode must be one of: fast, slow, got 'medium'"),
        ("backend", "x", "teacache: backend must be one of: eager, static, got 'x'"),
        ("backend", 3, "teacache: backend must be one of: eager, static, got 3"),
        ("limit", "x", "teacache: limit must be an integer, or none, got 'x'"),
        ("table", "", "teacache: table must be a path, or none, got ''"),
        ("numbers", "1//2", "teacache: numbers must be a list (a/b/c), each a number, got '1//2'"),
        ("numbers", 1.0, "teacache: numbers must be a list (a/b/c), each a number, got 1.0"),
    ],
)
def test_refuses(name, given, sentence):
    with pytest.raises(PlanError) as caught:
        build_config("teacache", Config, {name: given})
    assert str(caught.value) == sentence


def test_unknown_option_lists_the_valid_ones_and_the_nearest():
    with pytest.raises(PlanError) as caught:
        build_config("teacache", Config, {"treshold": "0.4"})
    text = str(caught.value)
    assert text.startswith("teacache has no option `treshold` (did you mean 'threshold'?); it has: threshold, order, ")

    @dataclass(frozen=True)
    class Empty:
        pass

    with pytest.raises(PlanError, match="x has no option `y`; it has none"):
        build_config("x", Empty, {"y": "1"})


def test_a_check_across_options_is_one_line_with_the_name():
    with pytest.raises(PlanError, match=r"^teacache: order 3 cannot be forced$"):
        build_config("teacache", Config, {"order": 3, "force": True})


def test_plain_options_read_back():
    config = build_config("x", Config, {"mode": "slow", "table": "t.json", "numbers": "1/2", "limit": 5})
    plain = plain_options(config)
    assert plain["mode"] == "slow" and plain["table"] == "t.json" and plain["numbers"] == [1.0, 2.0]
    assert build_config("x", Config, plain) == config


def test_options_carry_help_and_range():
    option = options_of(Config)["threshold"]
    assert (option.help, option.minimum, option.default, option.expects) == ("how far", 0, 0.25, "a number ≥ 0")


def test_configs_that_are_no_option_lists_are_refused():
    @dataclass
    class NoDefault:
        x: int

    @dataclass
    class Odd:
        x: dict = field(default_factory=dict)

    @dataclass
    class Either:
        x: int | str = 1

    for config, word in ((NoDefault, "no default"), (Odd, "unsupported"), (Either, "unsupported"), (int, "dataclass")):
        with pytest.raises(PluginError, match=word):
            options_of(config)
