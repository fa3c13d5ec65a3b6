import subprocess
import sys
import types
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import typer
from fake_accelerators import IntervalConfig, spec

from fastdiffusers.accelerator import AcceleratorSpec, Kind
from fastdiffusers.distillation.method import DistillerSpec
from fastdiffusers.errors import PluginError
from fastdiffusers.hookspecs import GROUP, hookimpl
from fastdiffusers.pipelines.family import FLUX, PipelineFamily
from fastdiffusers.plugins import BUILTIN, Registry, Source, discover, registry
from fastdiffusers.spec_check import check_spec


def plugin(name="one", distribution="dist", version="1.0", **hooks):
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return Source(name, f"{name}_module", lambda: module, distribution, version)


def offers(*specs, name="one", distribution="dist"):
    return plugin(name, distribution, register_accelerators=lambda: list(specs))


METHOD = DistillerSpec("mine", "a method of a stranger's", Path("recipes"), "mine")


def test_a_method_is_found_and_its_name_is_taken():
    found = Registry(
        [plugin(register_distillers=lambda: [METHOD]), plugin("two", register_distillers=lambda: [METHOD])]
    )
    assert found.distillers == {"mine": METHOD}
    assert [(record.status, record.reason) for record in found.plugins] == [
        ("ok", ""),
        ("broken", "distillation method 'mine' is already registered"),
    ]


def test_a_plugin_that_works_is_listed_with_where_it_came_from():
    found = Registry([offers(spec()), plugin("two", register_pipelines=lambda: [FLUX])])
    assert found.accelerators["interval"].distribution == "dist" and found.pipelines == {"flux": FLUX}
    record = found.plugins[0]
    assert (record.name, record.distribution, record.version, record.status) == ("one", "dist", "1.0", "ok")
    assert [name for name, _ in found.manager.list_name_plugin()] == ["one", "two"]


def raising(error):
    def load():
        raise error

    return Source("one", "one_module", load)


def hook(value):
    return plugin(register_accelerators=lambda: value)


def explode():
    raise RuntimeError("boom\nand more")


def nothing():
    return []


def more_arguments(app, what):
    return None


BROKEN = [
    (raising(ImportError("no module named x")), "ImportError: no module named x"),
    (raising(SyntaxError("bad")), "SyntaxError: bad"),
    (raising(SystemExit(3)), "SystemExit: 3"),
    (plugin(register_accelerators=explode), "register_accelerators: RuntimeError: boom and more"),
    (plugin(), "it implements no hook (is @hookimpl missing?)"),
    (plugin(register_accelerator=nothing), "unknown hook register_accelerator; valid: register_accelerators"),
    (plugin(register_commands=more_arguments), "what"),
    (hook(spec()), "must return a list, got AcceleratorSpec"),
    (hook([3]), "must give AcceleratorSpec objects, got int"),
    (hook([spec(name="Bad_Name")]), "accelerator name 'Bad_Name'"),
    (hook([spec(), spec()]), "'interval' is already registered by itself"),
    (hook([spec(target="nowhere")]), "target 'nowhere' is not of the form"),
    (plugin(register_pipelines=lambda: [3]), "must give PipelineFamily objects, got int"),
    (plugin(register_pipelines=lambda: [PipelineFamily("a", "A", "x")]), "target 'x' is not of the form"),
    (
        plugin(register_pipelines=lambda: [PipelineFamily("a", "A", "m:A"), PipelineFamily("b", "A", "m:B")]),
        "'A' already belongs to 'a'",
    ),
    (plugin(register_distillers=lambda: [spec()]), "must give DistillerSpec objects, got AcceleratorSpec"),
    (plugin(register_distillers=lambda: [METHOD, METHOD]), "method 'mine' is already registered"),
    (plugin(register_distillers=lambda: [replace(METHOD, target="x")]), "target 'x' is not of the form"),
]


@pytest.mark.parametrize(("source", "reason"), BROKEN, ids=[reason[:30] for _, reason in BROKEN])
def test_a_broken_plugin_is_recorded_and_offers_nothing_and_the_rest_goes_on(source, reason):
    found = Registry([offers(spec(name="before"), name="zero"), source, offers(spec(name="after"), name="two")])
    assert [record.status for record in found.plugins] == ["ok", "broken", "ok"]
    assert reason in found.plugins[1].reason and "\n" not in found.plugins[1].reason
    assert sorted(found.accelerators) == ["after", "before"] and found.pipelines == {}
    assert [name for name, _ in found.manager.list_name_plugin() if _ is not None] == ["zero", "two"]


def test_the_second_plugin_with_a_name_is_the_broken_one():
    found = Registry([offers(spec()), offers(spec(), spec(name="other"), name="two", distribution="dist2")])
    assert found.plugins[1].reason == "accelerator 'interval' is already registered by dist"
    assert found.accelerators["interval"].distribution == "dist" and "other" not in found.accelerators
    families = [plugin(name, register_pipelines=lambda: [FLUX]) for name in ("one", "two")]
    assert "pipeline family 'flux' is already registered" in Registry(families).plugins[1].reason


def test_blocked_plugins_are_listed_and_not_loaded():
    found = Registry([raising(AssertionError("loaded")), offers(spec(), name="two")], blocked=["one", "nobody"])
    assert [(record.name, record.status) for record in found.plugins] == [
        ("one", "blocked"),
        ("two", "ok"),
        ("nobody", "blocked"),
    ]
    assert found.plugins[2].reason == "no such plugin was found"
    assert Registry([raising(AssertionError("loaded"))], blocked=["one_module"]).plugins[0].status == "blocked"


BAD_SPECS = [
    ({"name": "none"}, "is not lower-case words joined by hyphens, or is reserved"),
    ({"name": "tea cache"}, "is not lower-case words"),
    ({"name": 3}, "is not lower-case words"),
    ({"kind": "cache"}, "kind must be a Kind, got 'cache'"),
    ({"fidelity": "lossy"}, "fidelity must be a Fidelity"),
    ({"summary": ""}, "summary must be one line"),
    ({"summary": "a\nb"}, "summary must be one line"),
    ({"claims": {"blocks"}}, "claims must be a frozenset of words"),
    ({"tags": frozenset({3})}, "tags must be a frozenset of words"),
    ({"requires": "blocks"}, "requires must be a frozenset of words"),
    ({"references": ("x",)}, "references must be a tuple of Reference"),
    ({"predict": "x"}, "predict must be a function or None"),
    ({"config": int}, "config must be a dataclass"),
    ({"config": IntervalConfig()}, "config must be a dataclass"),
    ({"target": "a:b.c"}, "target 'a:b.c' is not of the form"),
    ({"trial": "evry=3"}, "its trial 'evry=3' cannot be asked for: interval has no option `evry`"),
    ({"trial": "every"}, "its trial 'every' cannot be asked for: cannot read 'every'"),
    ({"trial": {"every": 3}}, "its trial {'every': 3} cannot be asked for"),
]


@pytest.mark.parametrize(("changes", "words"), BAD_SPECS, ids=[words[:40] for _, words in BAD_SPECS])
def test_specifications_that_are_not_well_formed(changes, words):
    with pytest.raises(PluginError) as caught:
        check_spec(spec(**changes))
    assert words in str(caught.value)


def test_defaults_must_pass_their_own_check():
    from dataclasses import dataclass, field

    @dataclass(frozen=True)
    class Config:
        x: int = field(default=0, metadata={"min": 1})

    with pytest.raises(PluginError, match="defaults of accelerator 'a' are refused by its own config: a: x must be"):
        check_spec(AcceleratorSpec("a", Kind.CACHE, "s", "m:C", Config))


def test_commands_are_added_and_those_of_a_failing_plugin_are_taken_back():
    def good(app):
        app.command("hello")(lambda: None)

    def bad(app):
        app.command("half")(lambda: None)
        raise RuntimeError("boom")

    found = Registry([plugin("one", register_commands=bad), plugin("two", register_commands=good)])
    app = typer.Typer()
    found.register_commands(app)
    assert [command.name for command in app.registered_commands] == ["hello"]
    assert [(record.status, record.reason) for record in found.plugins] == [
        ("broken", "register_commands: RuntimeError: boom"),
        ("ok", ""),
    ]


def test_discovery_finds_ours_without_an_installation_and_more_by_environment(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "extra_plugin.py").write_text("raise ValueError('broken on purpose')\n")
    sources = discover({"FASTDIFFUSERS_PLUGINS": "extra_plugin, no_such_module"})
    modules = [source.module for source in sources]
    assert modules[: len(BUILTIN)] == [module for _, module in BUILTIN]
    assert modules[-2:] == ["extra_plugin", "no_such_module"]
    records = Registry(sources[-2:]).plugins
    assert records[0].reason == "ValueError: broken on purpose" and "No module named" in records[1].reason


def test_builtin_plugins_are_the_entry_points_of_the_package():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert pyproject["project"]["entry-points"][GROUP] == dict(BUILTIN)


def test_installed_entry_points_are_those_of_this_tree():
    try:
        distribution = metadata.distribution("fastdiffusers")
    except metadata.PackageNotFoundError:
        pytest.skip("fastdiffusers is not installed, it runs from its source tree")
    installed = {(point.name, point.value) for point in distribution.entry_points if point.group == GROUP}
    assert installed == set(BUILTIN), "pyproject.toml has changed since; install the package again"


def test_the_process_has_one_registry_with_flux_and_nothing_broken():
    found = registry()
    assert found is registry() and found.pipelines["flux"] is FLUX
    assert [(record.name, record.reason) for record in found.plugins if record.status != "ok"] == []


def test_the_environment_adds_and_blocks(tmp_path):
    (tmp_path / "extra_plugin.py").write_text("import nothing_like_it\n")
    code = (
        "from fastdiffusers.plugins import registry\n"
        "print([(p.name, p.status) for p in registry().plugins if p.status != 'ok'])"
    )
    path = ":".join([str(tmp_path), *(entry or "." for entry in sys.path)])
    env = {"PYTHONPATH": path, "FASTDIFFUSERS_PLUGINS": "extra_plugin", "FASTDIFFUSERS_BLOCK": "flux"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert "('flux', 'blocked')" in done.stdout and "('extra_plugin', 'broken')" in done.stdout, done.stderr
