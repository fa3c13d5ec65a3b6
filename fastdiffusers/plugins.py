"""Discovery: which plugins there are, what they offer, and which are broken and why.

A plugin counts as a whole: if anything about it is wrong, it is recorded with the reason and offers nothing, and
everything else goes on. ``FASTDIFFUSERS_PLUGINS="module,module"`` loads more; ``FASTDIFFUSERS_BLOCK="name,name"``
leaves some out.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from fastdiffusers import hookspecs
from fastdiffusers.accelerator import AcceleratorSpec, one_line
from fastdiffusers.errors import PluginError
from fastdiffusers.hookspecs import GROUP
from fastdiffusers.spec_check import check_spec, check_target

if TYPE_CHECKING:
    import typer

    from fastdiffusers.distillation.method import DistillerSpec
    from fastdiffusers.pipelines.family import PipelineFamily

# Loaded by module name where no entry point names them: the package then runs from a source tree.
BUILTIN = (
    ("flux", "fastdiffusers.pipelines.family"),
    ("caching", "fastdiffusers_caching"),
    ("compile", "fastdiffusers_compile"),
    ("consistency", "fastdiffusers_consistency"),
    ("flux-lightning", "fastdiffusers_flux_lightning"),
    ("dmd2", "fastdiffusers_dmd2"),
    ("ppdiffusers", "fastdiffusers_ppdiffusers"),
)


@dataclass
class PluginRecord:
    """A plugin that was found: where from, whether it works (``ok``, ``broken``, ``blocked``), and why not."""

    name: str
    distribution: str = ""
    version: str = ""
    status: str = "ok"
    reason: str = ""
    module: str = ""


@dataclass(frozen=True)
class Source:
    """A place a plugin can be loaded from."""

    name: str
    module: str
    load: Callable[[], Any]
    distribution: str = ""
    version: str = ""


class Registry:
    """Everything that plugins offer.

    Attributes:
        accelerators: specification by name.
        pipelines: family by name.
        distillers: distillation method by name.
        plugins: one record for each plugin that was found, in the order of discovery.
        manager: the pluggy manager, holding the plugins that work.
    """

    def __init__(self, sources: Iterable[Source] = (), blocked: Iterable[str] = ()) -> None:
        self.accelerators: dict[str, AcceleratorSpec] = {}
        self.pipelines: dict[str, PipelineFamily] = {}
        self.distillers: dict[str, DistillerSpec] = {}
        self.plugins: list[PluginRecord] = []
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        left = dict.fromkeys(blocked)
        for source in sources:
            record = PluginRecord(source.name, source.distribution, source.version, module=source.module)
            self.plugins.append(record)
            if source.name in left or source.module in left:
                left.pop(source.name, None)
                left.pop(source.module, None)
                record.status, record.reason = "blocked", "disabled by FASTDIFFUSERS_BLOCK"
                continue
            self._add(source, record)
        for name in left:
            self.plugins.append(PluginRecord(name, status="blocked", reason="no such plugin was found"))

    def register_commands(self, app: typer.Typer) -> None:
        """Let every plugin add its commands to ``app``; one that fails adds none and is marked broken."""
        for record in [record for record in self.plugins if record.status == "ok"]:
            before = list(app.registered_commands), list(app.registered_groups)
            try:
                self._call(self.manager.get_plugin(record.name), "register_commands", app=app)
            except (Exception, SystemExit) as error:
                app.registered_commands[:], app.registered_groups[:] = before
                record.status, record.reason = "broken", f"register_commands: {one_line(error)}"

    def _add(self, source: Source, record: PluginRecord) -> None:
        plugin = None
        try:
            plugin = source.load()
            self._register(source.name, plugin)
            accelerators = self._offers(plugin, "register_accelerators")
            pipelines = self._offers(plugin, "register_pipelines")
            methods = {spec.name: spec for spec in self._methods(self._offers(plugin, "register_distillers"))}
            found = {spec.name: spec for spec in self._checked(accelerators, source.distribution)}
            families = {family.name: family for family in self._families(pipelines)}
        except PluginError as error:
            record.status, record.reason = "broken", str(error)
        except (Exception, SystemExit) as error:
            record.status, record.reason = "broken", one_line(error)
        else:
            self.accelerators.update(found)
            self.pipelines.update(families)
            self.distillers.update(methods)
            return
        if plugin is not None and self.manager.is_registered(plugin):
            self.manager.unregister(plugin)

    def _register(self, name: str, plugin: Any) -> None:
        if self.manager.has_plugin(name):
            raise PluginError(f"another plugin is already called {name!r}")
        if self.manager.is_registered(plugin):
            raise PluginError(f"its module is already loaded as {self.manager.get_name(plugin)!r}")
        self.manager.register(plugin, name)
        valid = sorted(hook for hook in vars(hookspecs) if hook.startswith("register_"))
        callers = self.manager.get_hookcallers(plugin) or []
        unknown = sorted(caller.name for caller in callers if not caller.has_spec())
        if unknown:
            raise PluginError(f"unknown hook {', '.join(unknown)}; valid: {', '.join(valid)}")
        if not callers:
            raise PluginError(f"it implements no hook (is @hookimpl missing?); valid: {', '.join(valid)}")

    def _call(self, plugin: Any, hook: str, **arguments: Any) -> list[Any]:
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        return self.manager.subset_hook_caller(hook, others)(**arguments)

    def _offers(self, plugin: Any, hook: str) -> list[Any]:
        try:
            results = self._call(plugin, hook)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{hook}: {one_line(error)}") from error
        for result in results:
            if not isinstance(result, list | tuple):
                raise PluginError(f"{hook} must return a list, got {type(result).__name__}")
        return [item for result in results for item in result]

    def _checked(self, specs: list[Any], distribution: str) -> Iterable[AcceleratorSpec]:
        seen: set[str] = set()
        for spec in specs:
            check_spec(spec)
            if spec.name in self.accelerators or spec.name in seen:
                owner = self.accelerators[spec.name].distribution if spec.name in self.accelerators else "itself"
                raise PluginError(f"accelerator {spec.name!r} is already registered by {owner or 'another plugin'}")
            seen.add(spec.name)
            yield dataclasses.replace(spec, distribution=spec.distribution or distribution)

    def _methods(self, specs: list[Any]) -> Iterable[DistillerSpec]:
        from fastdiffusers.distillation.method import DistillerSpec

        names = set(self.distillers)
        for spec in specs:
            if not isinstance(spec, DistillerSpec):
                raise PluginError(f"register_distillers must give DistillerSpec objects, got {type(spec).__name__}")
            check_target(spec.target)
            if spec.name in names:
                raise PluginError(f"distillation method {spec.name!r} is already registered")
            names.add(spec.name)
            yield spec

    def _families(self, families: list[Any]) -> Iterable[PipelineFamily]:
        from fastdiffusers.pipelines.family import PipelineFamily

        taken = {family.model_index_class: family.name for family in self.pipelines.values()}
        names = set(self.pipelines)
        for family in families:
            if not isinstance(family, PipelineFamily):
                raise PluginError(f"register_pipelines must give PipelineFamily objects, got {type(family).__name__}")
            if family.model_index_class or not family.recognise:
                check_target(family.target)
            if family.recognise:
                check_target(family.holder)
            if family.name in names:
                raise PluginError(f"pipeline family {family.name!r} is already registered")
            names.add(family.name)
            if family.model_index_class and family.model_index_class in taken:
                raise PluginError(
                    f"pipeline family {family.name!r}: {family.model_index_class!r} already belongs to "
                    f"{taken[family.model_index_class]!r}"
                )
            taken[family.model_index_class] = family.name
            yield family


def discover(environ: Mapping[str, str] = os.environ) -> list[Source]:
    """Where plugins can be loaded from: ours first, then other entry points by name, then FASTDIFFUSERS_PLUGINS."""
    entries = {(entry.name, entry.value): entry for entry in metadata.entry_points(group=GROUP)}
    sources = []
    for name, module in BUILTIN:
        entry = entries.pop((name, module), None)
        sources.append(_by_module(name, module) if entry is None else _by_entry_point(entry))
    sources += [_by_entry_point(entries[key]) for key in sorted(entries)]
    return sources + [_by_module(name, name) for name in _words(environ.get("FASTDIFFUSERS_PLUGINS", ""))]


@functools.cache
def registry() -> Registry:
    """The registry of this process, made at the first call (`registry.cache_clear()` forgets it)."""
    return Registry(discover(), _words(os.environ.get("FASTDIFFUSERS_BLOCK", "")))


def _by_module(name: str, module: str) -> Source:
    return Source(name, module, functools.partial(importlib.import_module, module))


def _by_entry_point(entry: metadata.EntryPoint) -> Source:
    dist = entry.dist
    name, version = (dist.name, dist.version) if dist is not None else ("", "")
    return Source(entry.name, entry.value, entry.load, name, version)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
