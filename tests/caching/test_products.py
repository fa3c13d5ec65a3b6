"""Every product of scope, indicator and estimator: it runs or is refused beforehand; it can be told to skip nothing."""

from dataclasses import replace

import numpy as np
import pytest

from fastdiffusers.errors import PlanError
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.plugins import registry
from fastdiffusers.session import accelerate
from fastdiffusers.testing import tiny_flux
from fastdiffusers_caching.magnitude import Magnitudes, keep_magnitudes
from fastdiffusers_caching.product import INDICATORS

STEPS = 8
SCOPES = ("stack", "fnbn", "blocks", "cut", "module")
ESTIMATORS = ("residual", "output", "taylor:of=residual", "taylor:of=output", "newton:of=output:nodes=sigma")
# options with which an indicator skips something on random weights, and with which it may skip nothing
ON = {
    "probe": "threshold=0.9",
    "teacache": "threshold=0.9:coefficients=identity",
    "seacache": "threshold=0.9",
    "firstblock": "threshold=2",
    "magcache": "threshold=0.3",
    "interval": "interval=3",
    "sortblock": "interval=3",
    "static": "mask=0/1/4",
}
OFF = {"interval": "interval=1", "sortblock": "interval=1", "static": "mask=11111111"}
OFF |= {"teacache": "threshold=0:coefficients=identity"}


@pytest.fixture(scope="module")
def pipe():
    made = tiny_flux(layers=1, single_layers=2)
    keep_magnitudes(Magnitudes(tuple(np.linspace(1, 0.05, 20)), (1.0, *[1.05] * 19), "made up"), made.info)
    return made


def allowed(scope, indicator, estimator):
    """The definition: first blocks to look at, single blocks to rank, and a module has an output only."""
    if indicator == "firstblock" and scope != "fnbn":
        return False
    if indicator == "sortblock" and scope != "blocks":
        return False
    return scope != "module" or "output" in estimator


PRODUCTS = [(s, i, e) for s in SCOPES for i in INDICATORS for e in ESTIMATORS]


def words(scope, indicator, estimator, options):
    return f"cache:scope={scope}:indicator={indicator}:estimator={estimator}:{options}"


def draw(pipe):
    return pipe("a red apple", seed=1, num_inference_steps=STEPS, output_type="latent").images


def test_what_has_no_sense_is_refused_beforehand_and_nothing_else(pipe):
    assert sorted(ON) == sorted(INDICATORS)
    setting = replace(pipe.info.default_setting, steps=STEPS)
    for scope, indicator, estimator in PRODUCTS:
        plan = make_plan(parse(words(scope, indicator, estimator, ON[indicator])), registry(), pipe.info, setting)
        if allowed(scope, indicator, estimator):
            plan.check()
        else:
            with pytest.raises(PlanError):
                plan.check()
    assert sum(allowed(*product) for product in PRODUCTS) == 30 + 35 + 35 + 30 + 18


@pytest.mark.slow
@pytest.mark.parametrize("scope", SCOPES)
def test_each_runs_and_skips_and_told_to_skip_nothing_gives_the_uncached_bits(scope, pipe):
    plain = draw(pipe)
    for _, indicator, estimator in (product for product in PRODUCTS if product[0] == scope and allowed(*product)):
        for options, skips in ((ON[indicator], True), (OFF.get(indicator, "threshold=0"), False)):
            asked = words(scope, indicator, estimator, options)
            with accelerate(pipe, asked, steps=STEPS) as session:
                found = draw(pipe)
                (record,) = session.report()
            assert record.engaged is skips, (asked, record.effect)
            assert np.isfinite(found).all() and (found.tobytes() == plain.tobytes()) is not skips, asked
    assert draw(pipe).tobytes() == plain.tobytes()
