"""The application: a table of commands whose modules are imported when they are used, and the commands of plugins."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastdiffusers_cli.failure import Interrupted, exit_code


@dataclass(frozen=True)
class Command:
    """A built-in command: its ``register(app)`` lives in ``fastdiffusers_cli.<module>``."""

    name: str
    module: str
    help: str


COMMANDS = {
    command.name: command
    for command in (
        Command("infer", "infer", "Draw pictures from a prompt, with accelerators."),
        Command("bench", "bench", "Measure what accelerators buy and what they cost in picture quality."),
        Command("tune", "tune", "Choose the setting of an accelerator for a target, and keep it as a profile."),
        Command("explain", "explain", "Say what a combination of accelerators would do, without running it."),
        Command("accel", "accel", "List accelerators, or show one with its options."),
        Command("models", "models", "List the embedded models, or describe a model folder."),
        Command("cache", "cache", "List what compilers keep on disk, or throw it away."),
        Command("plugins", "plugins", "List the plugins that were found, and why any is broken."),
        Command("data", "data", "Build the data that the embedded models are trained on."),
        Command("eval", "eval", "Measure few-step students against their teacher; human rankings."),
        Command("distill", "distill", "Train an adapter with which a model needs few steps."),
        Command("adapter", "adapter", "List distilled adapters, or export one for ComfyUI or diffusers."),
        Command("merge", "merge", "Write a distilled student and its base as one model folder."),
        Command("pretrain", "pretrain", "Train the parts of an embedded model."),
        Command("cite", "cite", "Print BibTeX for the methods and models you used."),
        Command("version", "version", "Print the versions of fastdiffusers, Paddle, Python and the plugins."),
    )
}


class LazyGroup(TyperGroup):
    """``fastdiff`` itself: knows names and one-line helps, imports a command's module when that command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Built-in commands whose module exists, then those of plugins."""
        own = [name for name, command in COMMANDS.items() if importlib.util.find_spec(_module(command))]
        return [*own, *(name for name in plugin_commands() if name not in COMMANDS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now, or None."""
        if cmd_name in COMMANDS:
            return _load(COMMANDS[cmd_name])
        return plugin_commands().get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in ``--help``, without importing the commands."""
        rows = []
        for name in self.list_commands(ctx):
            known = COMMANDS.get(name)
            rows.append((name, known.help if known else plugin_commands()[name].get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; an unknown one is refused with the valid ones."""
        command = self.get_command(ctx, args[0])
        if command is None:
            from fastdiffusers.errors import InputError
            from fastdiffusers.options import did_you_mean

            valid = self.list_commands(ctx)
            raise InputError(f"unknown command {args[0]!r}{did_you_mean(args[0], valid)}; valid: {', '.join(valid)}")
        return args[0], command, args[1:]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C becomes `Interrupted` before the parser sees it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(f"`{ctx.info_name} {ctx.invoked_subcommand}` was stopped") from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse, run, and turn every failure of the user's into one line and its exit code."""
        words = sys.argv[1:] if args is None else list(args)

        def call() -> Any:
            return super(LazyGroup, self).main(
                words, prog_name or "fastdiff", complete_var, False, windows_expand_args, **extra
            )

        if not standalone_mode:
            return call()
        sys.exit(exit_code(call, words))


def plugin_commands() -> dict[str, Any]:
    """The commands that plugins add; finding them loads the plugins' modules, but no Paddle."""
    from fastdiffusers.plugins import registry

    found = typer.Typer(rich_markup_mode=None, add_completion=False)
    registry().register_commands(found)
    return dict(typer.main.get_group(found).commands)


def _module(command: Command) -> str:
    return f"fastdiffusers_cli.{command.module}"


def _load(command: Command) -> Any:
    if importlib.util.find_spec(_module(command)) is None:
        return None
    holder = typer.Typer(rich_markup_mode=None, add_completion=False)
    importlib.import_module(_module(command)).register(holder)
    return typer.main.get_group(holder).commands[command.name]


app = typer.Typer(
    name="fastdiff",
    cls=LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fastdiffusers import __version__

        print(f"fastdiffusers {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _fastdiff(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fast pictures from diffusion models on PaddlePaddle.

    Start with `fastdiff infer "a red apple"`; `fastdiff COMMAND --help` shows a command's options.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Entry point of ``fastdiff``."""
    app()
