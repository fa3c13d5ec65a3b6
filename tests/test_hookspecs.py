import inspect
import re
from pathlib import Path

from fastdiffusers import hookspecs
from fastdiffusers.plugins import BUILTIN, registry

TESTS = Path(__file__).parent
# The extension points there are. A hook ships only with a plugin of ours that uses it.
HOOKS = {"register_accelerators", "register_pipelines", "register_distillers", "register_commands"}


def specified():
    return {name: function for name, function in vars(hookspecs).items() if hasattr(function, "fastdiffusers_spec")}


def test_these_are_the_hooks():
    assert set(specified()) == HOOKS


def test_every_hook_is_documented_with_its_exact_signature():
    for name, function in specified().items():
        signature = inspect.signature(function)
        arguments = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values())
        assert f"``{name}({arguments}) -> {signature.return_annotation}``" in inspect.getdoc(function), name


def test_every_hook_is_used_by_a_plugin_of_ours():
    manager = registry().manager
    ours = {name for name, _ in BUILTIN}
    for name in specified():
        users = {impl.plugin_name for impl in getattr(manager.hook, name).get_hookimpls()}
        assert users & ours, f"no plugin of ours implements {name}"


def test_every_hook_is_named_by_a_test():
    others = [path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    for name in specified():
        assert any(re.search(rf"\b{name}\b", text) for text in others), name
