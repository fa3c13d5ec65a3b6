from dataclasses import dataclass, field

import pytest

from fastdiffusers.errors import PluginError
from fastdiffusers.options import options_of
from fastdiffusers.tunable import Tunable


def test_halving_a_range_by_ratio_or_by_difference():
    log, linear = Tunable(0.01, 1.0), Tunable(0.0, 1.0, log=False)
    assert log.between(0.01, 1.0, False) == log.between(1.0, 0.01, False) == 0.1
    assert linear.between(0.0, 1.0, False) == 0.5
    assert log.between(0.1, 0.104, False) is None and log.between(0.1, 0.11, False) == 0.105
    assert linear.between(0.5, 0.54, False) is None and linear.between(0.5, 0.6, False) == 0.55


def test_integers_are_halved_down_to_neighbours():
    scale = Tunable(2, 10)
    assert scale.between(2, 10, True) == 4  # sqrt(20) = 4.47
    assert scale.between(2, 4, True) == 3 and scale.between(3, 4, True) is None
    assert isinstance(scale.between(2, 10, True), int)
    for low in range(1, 9):
        for high in range(low + 2, 11):
            assert low < scale.between(low, high, True) < high


def test_ends_by_direction():
    up, down = Tunable(1, 9), Tunable(1, 9, faster="down")
    assert (up.mild, up.strong, down.mild, down.strong) == (1, 9, 9, 1)
    assert up.strength(9) > up.strength(1) and down.strength(1) > down.strength(9)


@pytest.mark.parametrize(
    ("tunable", "kind", "message"),
    [
        (Tunable(1.0, 0.5), float, "from a lower number to a higher one"),
        (Tunable(0.0, 0.5), float, "above 0 unless log=False"),
        (Tunable(0.5, 3), int, "integers as its bounds"),
        (Tunable("1", 2), float, "numbers as its bounds"),
        (Tunable(1, 2, faster="left"), float, "faster is 'up' or 'down'"),
        (Tunable(1, 2, quantized=0), float, "a factor above 0"),
        ((1, 2), float, "'tunable' is a Tunable"),
        (Tunable(1, 2), str, "on an option that is one number"),
    ],
)
def test_a_range_that_cannot_be_searched_makes_a_broken_plugin(tunable, kind, message):
    default = {int: 1, float: 1.0, str: "x"}[kind]
    namespace = {"__annotations__": {"value": kind}, "value": field(default=default, metadata={"tunable": tunable})}
    config = dataclass(frozen=True)(type("Config", (), namespace))
    with pytest.raises(PluginError, match=f"option 'value' of Config.*{message}"):
        options_of(config)
