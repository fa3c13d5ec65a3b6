"""The order of turns, and what the terms weigh in them."""

import numpy as np
import pytest

from fastdiffusers.distillation.turns import Turn, Turns

LETTERS = {Turn.OPPONENTS: "O", Turn.ALL: "A", Turn.FIRST: "f"}


@pytest.mark.parametrize(
    ("turns", "pattern"),
    [
        (Turns(warmup=0, opponents=1, lazy=1), "OAOAOAOA"),
        (Turns(warmup=0, opponents=3, lazy=1), "OOOAOOOA"),
        (Turns(warmup=3, opponents=2, lazy=1), "OOOOOAOO"),
        (Turns(warmup=1, opponents=1, lazy=3), "OOAffOAf"),
        (Turns(warmup=0, opponents=0, lazy=1), "AAAAAAAA"),
        (Turns(warmup=0, opponents=0, lazy=4), "AfffAfff"),
    ],
)
def test_the_order_of_turns(turns, pattern):
    assert "".join(LETTERS[turns.at(index)] for index in range(8)) == pattern
    for steps in range(9):
        assert turns.of_student(steps) == steps - pattern[:steps].count("O")


def test_lazy_terms_weigh_as_much_over_a_round(make):
    """The first term acts in each turn at its weight, the second in one of three at three times its weight."""
    task, _ = make(terms=("consistency", "reflow"), lazy=3, consistency_weight=0.5, reflow_weight=0.2)
    batches = [task.step(task.batch(np.arange(2), np.random.default_rng(7)), index) for index in range(3)]
    every, *first = batches
    values = every.metrics
    assert values.keys() == {"consistency", "reflow"}
    assert float(every.loss) == pytest.approx(0.5 * values["consistency"] + 3 * 0.2 * values["reflow"], rel=1e-5)
    for step in first:
        assert step.metrics.keys() == {"consistency"}
        assert float(step.loss) == pytest.approx(0.5 * step.metrics["consistency"], rel=1e-5)
