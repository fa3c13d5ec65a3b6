"""``fastdiff version``: what is installed, without importing it."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_pairs

_PADDLE = ("paddlepaddle", "paddlepaddle-gpu")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version")(version)


def version(json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """Print the versions of fastdiffusers, Paddle, Python and the plugins."""
    found = versions()
    if json:
        print_json(found)
        return
    print_pairs([(name, value) for name, value in found.items() if name != "plugins"])
    print_pairs([(f"plugin {name}", value) for name, value in found["plugins"].items()])


def versions() -> dict[str, Any]:
    """Versions by name; None for what is not installed."""
    from fastdiffusers import __version__
    from fastdiffusers.plugins import registry

    return {
        "fastdiffusers": __version__,
        "paddle": paddle_version(),
        "pillow": installed_version("pillow"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "plugins": {
            record.distribution: record.version
            for record in registry().plugins
            if record.distribution not in ("", "fastdiffusers")
        },
    }


def paddle_version() -> str | None:
    """The version of the installed Paddle wheel, CPU's or GPU's."""
    return next((found for name in _PADDLE if (found := installed_version(name))), None)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, None when it is not installed. Imports nothing of it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
