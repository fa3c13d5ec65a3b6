"""What goes wrong, as one line on stderr and an exit code; only a bug shows a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from fastdiffusers.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130


class Interrupted(Exception):
    """Ctrl-C; the message says in words what had been done by then."""


def exit_code(call: Callable[[], Any], words: Sequence[str] = ()) -> int:
    """Run a command and return the code to exit with; print its failure, if any, as one line.

    ``words`` is what was typed: the parser's complaint about a value does not always name it.
    """
    try:
        result = call()
    except UserError as error:
        return say_error(str(error))
    except Interrupted as error:
        print(f"interrupted: {error}", file=sys.stderr)
        return INTERRUPTED
    except typer.Abort:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not the parser's: a bug, or a plugin's
            raise
        return say_error(_usage(error, words))
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def say_error(text: str) -> int:
    """Print ``error: text`` as one line; returns the exit code that goes with it."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return USER_ERROR


def _usage(error: Any, words: Sequence[str]) -> str:
    """The parser's own complaint, with the value and with the command whose ``--help`` tells what is valid."""
    text = error.format_message().rstrip(".")
    value = _typed(getattr(error, "param", None), words)
    if value and value not in text:
        text = text.replace("Invalid value", f"Invalid value {value!r}", 1)
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text}; see `{context.command_path} --help`"


def _typed(param: Any, words: Sequence[str]) -> str:
    """What was typed for an option, if it can be found."""
    options = getattr(param, "opts", ())
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in options:
            return following
        if word.partition("=")[0] in options:
            return word.partition("=")[2]
    return ""
