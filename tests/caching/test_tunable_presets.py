"""What `fastdiff tune` may choose in the presets, and what their defaults become on a quantised model."""

from types import SimpleNamespace

import pytest
from fake_accelerators import Tagged, spec

from fastdiffusers.accelerator import Kind
from fastdiffusers.models.info import describe
from fastdiffusers.options import options_of
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.plugins import registry
from fastdiffusers.resolving import tuned_option

CACHES = {name: each for name, each in registry().accelerators.items() if "cache" in each.tags}
QUANTISER = spec(Tagged, "fp8", kind=Kind.QUANTIZE, claims=frozenset({"weights"}))


def test_every_cache_but_static_has_an_option_to_tune():
    found = {name: option and option.name for name, each in CACHES.items() for option in [tuned_option(each, {})]}
    assert found == {
        **dict.fromkeys(
            ["teacache", "teablockcache", "seacache", "magcache", "fbcache", "firstblock-taylor", "dbcache", "cache"],
            "threshold",
        ),
        **dict.fromkeys(["taylorseer", "blockdance"], "interval"),
        "sortblock": "period",
        "static": None,
    }
    for words, name in (
        ("indicator=interval", "interval"),
        ("indicator=sortblock:scope=blocks", "interval"),
        ("indicator=firstblock:scope=fnbn", "threshold"),
        ("indicator=static:mask=0/3/6", None),
    ):
        (request,) = parse(f"cache:{words}")
        option = tuned_option(CACHES["cache"], request.options)
        assert (option and option.name) == name


def test_defaults_lie_within_the_ranges():
    for name, each in CACHES.items():
        for option in options_of(each.config).values():
            if option.tunable and option.default is not None:
                assert option.tunable.low <= option.default <= option.tunable.high, name


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("teacache", "threshold", 0.375),
        ("seacache", "threshold", 0.45),
        ("seacache:threshold=0.3", "threshold", 0.3),
        ("magcache", "threshold", 0.36),
        ("fbcache", "threshold", 0.12),
        ("dbcache:first=1", "threshold", 0.12),
        ("teablockcache", "threshold", 1.35),
        ("cache", "threshold", 0.45),
        ("cache:indicator=firstblock:scope=fnbn", "threshold", 0.12),
        ("cache:indicator=interval", "threshold", None),
        ("taylorseer", "interval", 3),
        ("sortblock", "period", 5),
    ],
)
def test_default_thresholds_are_raised_by_half_on_a_quantised_model(words, option, value):
    info = describe("flux-emoji")
    both = SimpleNamespace(accelerators={**registry().accelerators, "fp8": QUANTISER}, plugins=[])
    plan = make_plan(parse(f"fp8,{words}"), both, info, info.default_setting)
    plan.check()
    item = plan.items[-1]
    assert item.options[option] == value
    raised = value != make_plan(parse(words), both, info, info.default_setting).items[0].options[option]
    assert bool(item.notes) is raised
