"""What the tests of the command line share: a tiny model on disk, and ways to call ``fastdiff``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import environment
from typer.testing import CliRunner

PLUGIN = '''
from dataclasses import dataclass, field

from fastdiffusers.accelerator import Accelerator, AcceleratorSpec, Effect, Kind, Reference
from fastdiffusers.hookspecs import hookimpl


@dataclass(frozen=True)
class Options:
    depth: int = field(default=2, metadata={"help": "how deep", "min": 1, "max": 9})


def spec(name, **more):
    more.setdefault("claims", frozenset({"slumber"}))
    return AcceleratorSpec(
        name=name, kind=Kind.CACHE, summary="does nothing", target=f"{__name__}:Nap", config=Options,
        references=(Reference("Sleep & Dreams", "Ann Ott and Bo Ek", 2020, arxiv="2001.00001"),), **more,
    )


class Nap(Accelerator):
    def attach(self, pipe, recorder):
        self.generations = 0
        recorder.on_reset(self.count)

    def count(self):
        self.generations += 1

    def effect(self):
        return Effect(self.config.depth != 9, f"slept {self.generations} times", {"times": self.generations})


class Recall(Nap):
    """Reads a file beside its options; it knows the fingerprint at once, or (depth 3) only after a generation."""

    def effect(self):
        import os

        known = self.generations if self.config.depth == 3 else True
        return Effect(True, "recalled", {"fingerprint": os.environ["NAP_DATA"]} if known else {})


class Poison(Nap):
    def attach(self, pipe, recorder):
        super().attach(pipe, recorder)
        inner = pipe.transformer.block_loop
        def loop(*args):
            return inner(*args) * (float("nan") if pipe.context.step == 2 else 1.0)
        recorder.patch(pipe.transformer, "block_loop", loop)


@hookimpl
def register_accelerators():
    import dataclasses
    poison = dataclasses.replace(spec("poison", claims=frozenset({"blocks"})), target=f"{__name__}:Poison")
    recall = dataclasses.replace(spec("recall"), target=f"{__name__}:Recall")
    return [spec("nap"), spec("doze"), spec("dream", claims=frozenset(), requires=frozenset({"rem"})), poison, recall]


@hookimpl
def register_commands(app):
    @app.command("snore")
    def snore():
        """Say zzz."""
        print("zzz")
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a FLUX model of random weights: 32 × 32 pixels, sides multiples of 4."""
    from fastdiffusers.testing import tiny_flux

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_flux(folder)
    return folder


@pytest.fixture
def fastdiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call ``fastdiff`` in this process, from an empty folder; returns exit_code, stdout and stderr."""
    from fastdiffusers_cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="fastdiff")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def nap_plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Load a plugin: accelerators nap, doze (one claim between them), dream, poison and recall, and a command snore."""
    from fastdiffusers.plugins import registry

    folder = tmp_path_factory.mktemp("plugin")
    (folder / "nap_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("FASTDIFFUSERS_PLUGINS", "nap_plugin")
    registry.cache_clear()
    yield "nap_plugin"
    registry.cache_clear()
    sys.modules.pop("nap_plugin", None)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The words that start ``fastdiff`` as a program of its own."""
    return [sys.executable, "-m", "fastdiffusers_cli"]


@pytest.fixture
def program(tmp_path: Path, command: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``fastdiff`` as a program of its own, in an empty folder."""

    def call(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *(str(word) for word in words)],
            cwd=tmp_path,
            env=environment(tmp_path) | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call
