"""Starting: light, without Paddle, and the commands of plugins are there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fastdiffusers_cli.app import COMMANDS

LIGHT = [
    ["--help"],
    ["accel", "list"],
    ["accel", "info", "teacache"],
    ["explain", "--accel", "teacache:coefficients=identity", "--model", "TINY"],
    ["models", "--model", "TINY"],
    ["plugins"],
    ["cite"],
    ["version"],
    ["infer", "--help"],
    ["distill", "--help"],
    ["distill", "import-args", "train_lcm.py --max_steps 7"],
    ["eval", "--help"],
    ["explain", "--accel", "pcm:adapter=ADAPTER", "--model", "TINY"],
]


@pytest.fixture
def adapter(tiny, tmp_path):
    """A folder that a plan takes for an adapter of the tiny model."""
    from fastdiffusers.distillation.adapter import WEIGHTS, AdapterCard, write_card
    from fastdiffusers.models.info import describe

    info = describe(tiny)
    write_card(tmp_path / "adapter", AdapterCard("pcm", info.name, info.sha256, steps=4))
    (tmp_path / "adapter" / WEIGHTS).write_bytes(b"not read by a plan")
    return tmp_path / "adapter"


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_light_commands_do_not_import_paddle(words, tiny, adapter, tmp_path, program):
    words = [str(tiny) if word == "TINY" else word.replace("ADAPTER", str(adapter)) for word in words]
    code = (
        "import sys; from fastdiffusers_cli.app import main\n"
        f"sys.argv = ['fastdiff', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "sys.exit('paddle' in sys.modules)"
    )
    from programs import environment

    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_imports_nothing_that_only_drawing_or_computing_needs(tmp_path):
    """What keeps the start quick, without a clock; ``benchmarks/startup.py`` measures it."""
    from programs import environment

    code = (
        "import sys; from fastdiffusers_cli.app import main\n"
        "sys.argv = ['fastdiff', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True)
    loaded = set(done.stdout.partition("LOADED")[2].split())
    assert "fastdiffusers" in loaded, done.stderr
    assert not loaded & {"paddle", "PIL", "safetensors", "tokenizers", "cairosvg"}


def test_help_lists_every_command_with_its_help(fastdiff):
    shown = " ".join(fastdiff("--help").stdout.split())
    for command in COMMANDS.values():
        assert f"{command.name} {command.help}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_agrees_with_the_modules(name, fastdiff):
    done = fastdiff(name, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: fastdiff {name}")


def test_bare_fastdiff_shows_the_help(fastdiff):
    done = fastdiff()
    assert done.exit_code == 0 and done.stdout.startswith("Usage: fastdiff")


def test_version(fastdiff):
    from fastdiffusers import __version__

    assert fastdiff("--version").stdout == f"fastdiffusers {__version__}\n"
    shown = json.loads(fastdiff("version", "--json").stdout)
    assert shown["fastdiffusers"] == __version__ and shown["paddle"].startswith("3.")
    assert fastdiff("version").stdout.splitlines()[0].split() == ["fastdiffusers", __version__]


def test_register_commands_of_a_plugin_is_honoured(fastdiff, nap_plugin):
    assert "Say zzz." in fastdiff("--help").stdout
    assert fastdiff("snore").stdout == "zzz\n"


def test_a_plugin_cannot_replace_a_built_in_command(fastdiff, tmp_path, monkeypatch):
    from fastdiffusers.plugins import registry

    (tmp_path / "grabby.py").write_text(
        "from fastdiffusers.hookspecs import hookimpl\n"
        "@hookimpl\ndef register_commands(app):\n"
        "    @app.command('version')\n    def version():\n        print('mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FASTDIFFUSERS_PLUGINS", "grabby")
    registry.cache_clear()
    try:
        assert "mine" not in fastdiff("version").stdout
        assert "'version' is hidden" in fastdiff("plugins").stdout
        assert json.loads(fastdiff("plugins", "--json").stdout)["hidden_commands"] == ["version"]
    finally:
        registry.cache_clear()


def test_a_plugin_whose_commands_fail_is_reported_and_harms_nobody(fastdiff, tmp_path, monkeypatch):
    from fastdiffusers.plugins import registry

    (tmp_path / "clumsy.py").write_text(
        "from fastdiffusers.hookspecs import hookimpl\n"
        "@hookimpl\ndef register_commands(app):\n    raise OSError('oops')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FASTDIFFUSERS_PLUGINS", "clumsy")
    registry.cache_clear()
    try:
        assert fastdiff("--help").exit_code == 0
        shown = " ".join(fastdiff("plugins").stdout.split())
        assert "clumsy broken" in shown and "oops" in shown
    finally:
        registry.cache_clear()
