"""Looks in numbers, and warnings in words."""

import math

import numpy as np
import pytest

from fastdiffusers.distillation.health import BLIND_STEPS, LAG_TURNS, Blindness, Lag, Soundness, compare, warnings

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(60, 196, (8, 6, 6, 3)).astype(np.uint8)


def test_a_student_like_its_teacher_is_healthy():
    figures = compare(PICTURES, PICTURES, 4)
    assert figures == pytest.approx({"saturation": 1, "contrast": 1, "diversity": 1})
    assert warnings(figures) == []


def test_saturation_is_the_mean_of_greatest_minus_least_channel():
    grey = PICTURES.mean(axis=-1, keepdims=True)
    louder = (grey + 1.4 * (PICTURES - grey)).round().astype(np.uint8)
    figures = compare(louder, PICTURES, 4)
    assert figures["saturation"] == pytest.approx(1.4, rel=0.01)
    assert figures["contrast"] == pytest.approx(1.0, rel=0.01)
    (text,) = warnings({"saturation": figures["saturation"]})
    assert text == "colours louder than the teacher's (1.40×); fewer steps, or less weight on dmd"
    assert warnings({"saturation": 0.7})[0].startswith("colours paler than the teacher's (0.70×)")


def test_contrast_is_the_deviation_of_a_pictures_brightness():
    flatter = (128 + 0.5 * (PICTURES.astype(float) - 128)).round().astype(np.uint8)
    assert compare(flatter, PICTURES, 4)["contrast"] == pytest.approx(0.5, rel=0.02)
    brighter = PICTURES + np.uint8(20)  # a picture as a whole, which is no contrast
    assert compare(brighter, PICTURES, 4)["contrast"] == pytest.approx(1.0)


def test_diversity_is_taken_among_the_seeds_of_a_prompt():
    """Two prompts of four seeds each; seeds alike but prompts apart has none."""
    alike = np.concatenate([np.repeat(PICTURES[:1], 4, 0), np.repeat(PICTURES[4:5], 4, 0)])
    figures = compare(alike, PICTURES, 4)
    assert figures["diversity"] == 0
    assert "seeds are more alike than the teacher's (0.00×); adversarial, dmd and relational decide that" in warnings(
        figures
    )
    assert compare(alike, PICTURES, 1)["diversity"] == 1


def test_figures_that_are_absent_are_not_judged():
    assert warnings({"rmse": 9.0}) == []


def test_a_discriminator_that_sees_nothing_is_noticed_once():
    blind = Blindness()
    said = [blind(0.5) for _ in range(2 * BLIND_STEPS)]
    assert [i for i, text in enumerate(said) if text] == [BLIND_STEPS - 1]
    assert said[BLIND_STEPS - 1] == "the discriminator was right in 50% for 500 turns: it sees no difference"


def test_one_good_turn_starts_the_count_anew():
    blind = Blindness()
    said = [blind(0.5) for _ in range(BLIND_STEPS - 1)] + [blind(0.8)] + [blind(0.46) for _ in range(BLIND_STEPS)]
    assert [i for i, text in enumerate(said) if text] == [2 * BLIND_STEPS - 1]


def test_a_critic_that_lags_is_noticed_once_for_each_fall():
    lag = Lag()
    said = [lag(-0.1) for _ in range(2 * LAG_TURNS)]
    assert [i for i, text in enumerate(said) if text] == [LAG_TURNS - 1]
    assert "denoises the student's pictures worse than the teacher (-0.1)" in said[LAG_TURNS - 1]
    said = [lag(0.5) for _ in range(LAG_TURNS)] + [lag(-0.5) for _ in range(2 * LAG_TURNS)]
    assert sum(map(bool, said)) == 1 and not any(said[:LAG_TURNS])


def test_a_critic_that_keeps_up_is_not():
    lag = Lag()
    assert not any(lag(0.2 if turn % 3 else -0.1) for turn in range(500))


def test_validations_out_of_limits_in_a_row_end_the_training():
    sound = Soundness(2)
    assert [sound(9, True), sound(19, False), sound(29, True), sound(39, False)] == [-10.0, math.inf, -30.0, math.inf]
    assert sound.verdict == ""
    sound(49, False)
    assert sound.verdict == "2 validations in a row were out of limits (stop_after=2)"
    never = Soundness(0)
    for step in range(9):
        never(step, False)
    assert never.verdict == ""
