"""The predecessor's training commands (PaddleMIX's FLUX-Lightning and LCM examples) as recipes.

`import_command` reads a command, or a whole shell script, without running any of it, and says of each flag what became
of it: a recipe key, a word of our command line, dropped since it has no effect on the result, or refused by name with
the reason. `table` is the same knowledge as Markdown. Imports no Paddle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdiffusers.distillation.imported.arguments import Arguments, read_arguments
from fastdiffusers.distillation.imported.draft import KEYS, Draft
from fastdiffusers.distillation.imported.flag import Fate, Flag
from fastdiffusers.distillation.imported.launcher import read_launch
from fastdiffusers.distillation.imported.result import Imported, Outcome
from fastdiffusers.distillation.imported.scripts import SCRIPTS, Script
from fastdiffusers.distillation.imported.shell import Statement, statements
from fastdiffusers.distillation.imported.table import table
from fastdiffusers.errors import InputError, one_of

__all__ = ["COMPAT", "KEYS", "SCRIPTS", "Fate", "Imported", "Outcome", "import_command", "table"]

COMPAT = ("none", "reference")
KEPT = ("CUDA_VISIBLE_DEVICES", "FLAGS_", "GLOG_", "NCCL_", "PADDLE_")  # variables that our line needs too
# The predecessor's own switches among them: a kernel of its library, a work space of its UNet's convolutions.
NOT_KEPT = ("FLAGS_use_fused_rmsnorm",)


def import_command(command: str | Sequence[str], compat: str = "none") -> Imported:
    """The recipe of a training command of the predecessor.

    Args:
        command: a shell command or script as text, with assignments and comments; or words that a shell has cut.
        compat: "none" takes the corrected arithmetic and LoRA scale of FLUX-Lightning; "reference" the predecessor's.

    Raises `InputError`: no known script, or several; an unknown flag (with the closest known one), a wrong value.
    A flag that has no counterpart is no error here: see `Imported.refused`.
    """
    if compat not in COMPAT:
        raise InputError(one_of("value of compat:", compat, COMPAT))
    found = statements(command) if isinstance(command, str) else [Statement(list(command))]
    launches = [
        (statement, launch)
        for statement in found
        if (launch := read_launch(statement.words, tuple(SCRIPTS), statement.environment)) is not None
    ]
    if len(launches) != 1:
        what = f"{len(launches)} training scripts" if launches else "none of the training scripts that are understood"
        raise InputError(f"the command starts {what}; valid is one of {', '.join(SCRIPTS)}")
    statement, launch = launches[0]
    script = SCRIPTS[launch.script]
    arguments = read_arguments(launch.arguments, script.flags)
    draft = Draft(arguments)
    for flag in script.flags:
        if flag.direct and arguments[flag.name] is not None and (flag.always or flag.name in arguments.given):
            draft.set(flag.becomes, arguments[flag.name], flag.name, flag.note)
    script.translate(draft, launch, compat)
    _remark_missing(draft, script)
    environment = {
        name: value for name, value in statement.environment.items() if name.startswith(KEPT) and name not in NOT_KEPT
    }
    _remark_unused(draft, statement, environment)
    outcomes = tuple(_outcome(flag, arguments, draft) for flag in script.flags if flag.name in arguments.given)
    return Imported(script.method, launch, environment, (*outcomes, *_implied(draft)), draft)


def _outcome(flag: Flag, arguments: Arguments, draft: Draft) -> Outcome:
    value: Any = arguments[flag.name]
    shown = "…" if flag.secret else str(value).lower() if isinstance(value, bool) else str(value)
    fate, becomes, note = flag.fate, flag.becomes, flag.note
    if flag.name in draft.refusals:
        fate, becomes, note = Fate.REFUSED, "", draft.refusals[flag.name]
    elif flag.name in draft.dropped:
        fate, becomes, note = Fate.DROPPED, "", draft.dropped[flag.name]
    elif fate is Fate.REFUSED and value in flag.only:
        fate, note = Fate.DROPPED, f"as here: {flag.note}"
    return Outcome(f"--{flag.name}", shown, fate, becomes, note)


def _implied(draft: Draft) -> list[Outcome]:
    """Refusals of flags that were not given: a default of the predecessor's that does not fit."""
    return [
        Outcome(f"--{name}", str(draft.arguments[name]), Fate.REFUSED, "", reason)
        for name, reason in draft.refusals.items()
        if name not in draft.arguments.given
    ]


def _remark_missing(draft: Draft, script: Script) -> None:
    for flag in script.flags:
        needed = flag.becomes in ("model", "data", "file_list") and flag.default is None
        if needed and flag.name not in draft.arguments.given:
            draft.remarks.append(f"The command gives no --{flag.name}: the recipe's own {flag.becomes} stands.")


def _remark_unused(draft: Draft, statement: Statement, kept: dict[str, str]) -> None:
    unused = [name for name in statement.environment if name not in kept and name not in statement.read]
    if unused:
        draft.remarks.append(f"Environment variables that nothing here reads: {', '.join(unused)}.")
