"""``fastdiff plugins``: what was discovered, what is broken and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fastdiffusers_cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plugins")(plugins)


def plugins(json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """List the plugins that were found: where from, whether they work, and if not, why.

    FASTDIFFUSERS_PLUGINS="module,module" loads more; FASTDIFFUSERS_BLOCK="name,name" leaves some out.
    """
    from fastdiffusers.plugins import registry
    from fastdiffusers_cli.app import COMMANDS, plugin_commands

    found = registry()
    # a plugin whose commands cannot be added is broken too; only asking for them shows it
    commands = plugin_commands()
    hidden = sorted(set(commands) & set(COMMANDS))
    records = [asdict(record) for record in found.plugins]
    if json:
        print_json({"plugins": records, "commands": sorted(set(commands) - set(COMMANDS)), "hidden_commands": hidden})
        return
    print_table(
        ["plugin", "status", "from", "reason"],
        [[r.name, r.status, f"{r.distribution} {r.version}".strip() or r.module, r.reason] for r in found.plugins],
        wrap=["reason"],
    )
    for name in hidden:
        print(f"a plugin's command {name!r} is hidden by the built-in one of that name")
