import pytest
from fake_accelerators import Interval, IntervalConfig, spec

from fastdiffusers.accelerator import Kind, load_target, one_line
from fastdiffusers.errors import PluginError


def test_default_places_run_from_the_weights_out():
    assert [kind.value for kind in sorted(Kind, key=lambda kind: kind.place)] == [
        "distill",
        "quantize",
        "schedule",
        "compile",
        "cache",
        "offload",
    ]


def test_spec_is_frozen_and_loads_its_class():
    with pytest.raises(AttributeError):
        spec().name = "other"  # type: ignore[misc]
    assert spec().load() is Interval


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("no_such_module_anywhere:X", "ModuleNotFoundError"),
        ("fake_accelerators:Missing", "AttributeError"),
        ("fake_accelerators:spec", "is not a subclass"),
        ("fake_accelerators:IntervalConfig", "is not a subclass"),
    ],
)
def test_unloadable_target_is_one_line(target, expected):
    with pytest.raises(PluginError) as caught:
        spec(target=target).load()
    assert expected in str(caught.value) and "interval" in str(caught.value) and "\n" not in str(caught.value)


def test_load_target_accepts_any_class_when_asked():
    assert load_target("fake_accelerators:IntervalConfig", object, "x") is IntervalConfig


def test_calibrate_is_refused_by_default():
    with pytest.raises(PluginError, match="needs no calibration"):
        Interval(IntervalConfig()).calibrate(None, [], lambda done, total: None)


def test_one_line_takes_out_line_breaks():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
