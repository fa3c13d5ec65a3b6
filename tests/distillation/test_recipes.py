"""The shipped recipes: every one is taken by the trainer, and none says a word that would do nothing."""

import pytest
import yaml
from commands import FLUX_LIGHTNING

from fastdiffusers.distillation.imported import import_command
from fastdiffusers.distillation.keys import DistillConfig, check_given
from fastdiffusers.plugins import registry
from fastdiffusers.training.recipe import build_config, load_recipe

SHIPPED = [
    pytest.param(spec, name, id=f"{spec.name} {name}")
    for spec in registry().distillers.values()
    for name in spec.recipe_names()
]


@pytest.mark.parametrize(("spec", "name"), SHIPPED)
def test_every_recipe_is_taken_and_says_nothing_in_vain(spec, name):
    file = spec.recipe(name, "any model")
    config = load_recipe(DistillConfig, file, [f"method={spec.name}"])
    check_given(yaml.safe_load(file.read_text(encoding="utf-8")), config)
    assert config.method == spec.name and config.checkpoint_every < config.steps
    for alone in config.terms:  # the ablation: terms=[…] on the same recipe
        beside = "consistency,relational" if alone == "relational" else alone
        load_recipe(DistillConfig, file, [f"method={spec.name}", f"terms=[{beside}]"])


@pytest.mark.parametrize("method", ["pcm", "lcm", "flux-lightning", "dmd2"])
def test_the_models_have_their_recipes(method):
    spec = registry().distillers[method]
    assert spec.recipe(None, "flux-emoji").stem == "flux-emoji"
    assert spec.recipe(None, "some/folder/of/FLUX").stem == "flux.1-dev"
    large = load_recipe(DistillConfig, spec.recipe("flux.1-dev", ""))
    # twelve billion frozen weights of 32 bits and the activations of 4,096 tokens fit into no device
    assert (large.precision, large.recompute, large.resolution) == ("bf16-o2", True, 1024)


def test_the_large_recipe_is_the_documents():
    shipped = load_recipe(DistillConfig, registry().distillers["flux-lightning"].recipe("flux.1-dev", ""))
    values = yaml.safe_load(import_command(FLUX_LIGHTNING).yaml())
    document = build_config(DistillConfig, {**values, "method": "flux-lightning"})
    same = "terms phases solver_steps form loss huber_c guidance_min guidance_max true_guidance student_guidance rank"
    same += " adversarial_weight adversarial_lr adversarial_beta1 dmd_weight reflow_weight edge_share steps batch lr"
    same += (
        " accumulation opponent_turns warmup_steps schedule weight_decay adam_beta1 adam_beta2 adam_epsilon ema clip"
    )
    for name in [*same.split(), "recompute", "precision", "resolution", "examples", "muon", "train"]:
        assert getattr(shipped, name) == getattr(document, name), name
    assert shipped.alpha == 8  # the scale that it was trained at
