"""Recipes that cannot mean what they say are refused in one line."""

import pytest

from fastdiffusers.distillation.keys import DistillConfig, check_given
from fastdiffusers.errors import InputError

RELATIONAL = {"terms": ("consistency", "relational"), "seeds_per_prompt": 4, "batch": 8}
GAN = {"terms": ("consistency", "adversarial")}
CRITIC = {"terms": ("dmd",), "dmd_critic": True}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"terms": ()}, "recipe key 'terms' is empty"),
        ({"guidance_min": 5.0, "guidance_max": 2.0}, "guidance_min 5.0 is above guidance_max 2.0"),
        ({"solver_steps": 10, "phases": 4}, "solver_steps 10 is no multiple of phases 4"),
        ({"terms": ("kd",)}, "it needs trajectories=true"),
        ({"terms": ("kd",), "trajectories": True, "caption_drop": 0.1}, "caption_drop=0.1 hides what"),
        ({"target_ema": 0.9, "terms": ("reflow",)}, "target_ema=0.9 averages a student"),
        ({"trajectories": True, "data": "folder"}, "trajectories=true needs data=teacher, got data=folder"),
        ({**GAN, "lr": 0.0}, "lr=0 trains no student"),
        ({**CRITIC, "lr": 0.0}, "lr=0 trains no student"),
        ({**GAN, "steps": 1}, "steps=1 are all turns of the opponents; the student has its first after 1, so valid is"),
        ({**CRITIC, "steps": 12, "opponent_warmup": 10, "opponent_turns": 2}, "valid is at least 13"),
        ({"train": "full", "precision": "bf16-o2"}, "valid: float32, bf16-o1, or train=lora"),
        ({"terms": ("dmd",), "dmd_simulation": True}, "it needs dmd_on=clean"),
        ({"terms": ("dmd",), "dmd_gan_weight": 0.1}, "dmd_gan_weight=0.1 looks at a critic's features"),
        ({**CRITIC, "dmd_critic_full": True}, "dmd_critic_full=true is a critic for students trained in full"),
        ({"terms": ("dmd",), "compat": "reference", "dmd_on": "clean"}, "compat=reference has no critic"),
        (
            {"examples": 10, "seeds_per_prompt": 4},
            "examples=10 is no multiple of seeds_per_prompt=4; valid are 8, 12 …",
        ),
        ({"examples": 3, "seeds_per_prompt": 4}, "examples=3 is no multiple of seeds_per_prompt=4; valid are 4 …"),
        ({**RELATIONAL, "terms": ("relational",)}, "compares distances alone; name consistency beside it"),
        ({**RELATIONAL, "seeds_per_prompt": 1}, "pictures of one prompt, and seeds_per_prompt=1; valid is at least 2"),
        ({**RELATIONAL, "batch": 10}, "batch=10 is no multiple of seeds_per_prompt=4; valid are 8, 12 …"),
    ],
)
def test_refusals(values, said):
    with pytest.raises(InputError) as refused:
        DistillConfig(**values)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"steps": 1},
        {"lr": 0.0},
        {**GAN, "steps": 2},
        {**CRITIC, "steps": 13, "opponent_warmup": 10, "opponent_turns": 2},
        {"terms": ("dmd",), "steps": 1},  # the student is its own critic
        {"terms": ("kd", "consistency"), "trajectories": True},
        {"compat": "reference", "terms": ("dmd", "reflow", "adversarial")},
        RELATIONAL,
        {**RELATIONAL, "workers": 2},
    ],
)
def test_what_is_fine(values):
    assert DistillConfig(**values).drawn_steps == 4


def test_keys_of_absent_terms_would_do_nothing():
    config = DistillConfig(terms=("consistency", "dmd"))
    check_given(["dmd_weight", "form", "steps"], config)
    with pytest.raises(InputError, match=r"^recipe key 'reflow_weight' belongs to the term reflow, which is not among"):
        check_given(["steps", "reflow_weight"], config)


def test_lazy_turns_are_of_use_beside_an_opponent_too():
    check_given(["lazy"], DistillConfig(**CRITIC, steps=100, lazy=4))
    check_given(["lazy"], DistillConfig(terms=("consistency", "reflow"), lazy=4))
    with pytest.raises(InputError, match="terms=dmd has neither; valid: 1"):
        check_given(["lazy"], DistillConfig(terms=("dmd",), lazy=4))
