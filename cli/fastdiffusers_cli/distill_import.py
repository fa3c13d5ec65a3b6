"""``fastdiff distill import-args``: a training command of the predecessor as a recipe."""

from __future__ import annotations

import sys
from pathlib import Path

STDIN = "-"
LARGEST = 1 << 20  # characters; a shell script is a few thousand


def import_args(words: list[str], out: Path | None = None, json: bool = False) -> None:
    """Print the recipe of the predecessor's command in ``words``, or write it to ``out``.

    ``words``: the command as one quoted word, as several, or ``-`` (from stdin); and ``compat=none|reference``.
    A flag that would change the result and has no counterpart is an `InputError` that lists them all; the recipe is
    printed before, with the refusals as comments, but not written to ``out``.
    """
    from fastdiffusers.distillation.imported import import_command
    from fastdiffusers.errors import InputError

    compat = [item.removeprefix("compat=") for item in words if item.startswith("compat=")]
    command = [item for item in words if not item.startswith("compat=")]
    if not command:
        raise InputError(
            "import-args needs the command: in quotation marks, as in 'train_lcm.py --max_steps 100', or - for stdin"
        )
    text = _stdin() if command == [STDIN] else command[0] if len(command) == 1 else command
    imported = import_command(text, compat[-1] if compat else "none")
    if json:
        from fastdiffusers_cli.output import print_json

        print_json(imported.to_dict())
    if imported.refused:
        if not json and out is None:
            print(imported.yaml(), end="")
        raise InputError(imported.complaint() + ("" if out is None else f"; nothing was written to {str(out)!r}"))
    if out is not None:
        from fastdiffusers.files import atomic_write

        with atomic_write(out) as temporary:
            temporary.write_text(imported.yaml(str(out)), encoding="utf-8")
        if not json:
            print(imported.command(str(out)))
    elif not json:
        print(imported.yaml(), end="")


def _stdin() -> str:
    from fastdiffusers.errors import InputError

    try:
        text = sys.stdin.read(LARGEST + 1)
    except UnicodeDecodeError:
        raise InputError("stdin is not UTF-8 text; valid is a shell command or script") from None
    if len(text) > LARGEST:
        raise InputError(f"stdin holds more than {LARGEST} characters; valid is a shell command or script")
    return text
