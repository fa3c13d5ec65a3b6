"""Which prompts to draw, and what the model makes of their words."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.errors import InputError
from fastdiffusers_cli.places import shown

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo

FALLBACK = ("a red apple", "a blue fish", "a smiling face")  # for a model that names no prompts of its own


def built_in_prompts(info: ModelInfo) -> tuple[str, ...]:
    """The prompts that the model's card names, or some that suit any model."""
    return tuple(info.card.get("prompts") or FALLBACK)


def choose_prompts(prompt: str | None, file: Path | None, info: ModelInfo) -> list[str]:
    """The prompt given, or those of ``file``, or the model's first built-in one. An empty prompt is valid."""
    if prompt is not None and file is not None:
        raise InputError(f"both a prompt ({prompt!r}) and --prompts {str(file)!r} were given; use one of them")
    if file is not None:
        return read_prompts(file)
    if prompt is not None:
        return [prompt]
    return [built_in_prompts(info)[0]]


def read_prompts(file: Path) -> list[str]:
    """One prompt a line; empty lines and lines that start with ``#`` are passed over."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the prompts file {str(file)!r} is not UTF-8 text (byte {error.object[error.start]:#04x} at "
            f"{error.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the prompts file {shown(file)}: {reason}") from None
    prompts = [line.strip() for line in text.splitlines()]
    prompts = [line for line in prompts if line and not line.startswith("#")]
    if not prompts:
        raise InputError(f"the prompts file {str(file)!r} holds no prompt; write one a line")
    return prompts


def unknown_words(prompts: list[str], info: ModelInfo) -> str | None:
    """A sentence about words that a model with a closed vocabulary (``words`` in its card) was never shown, or None."""
    known = {str(word).lower() for word in info.card.get("words") or ()}
    if not known:
        return None
    asked = dict.fromkeys(word for prompt in prompts for word in re.findall(r"[^\W\d_]+", prompt.lower()))
    strange = [word for word in asked if word not in known]
    if not strange:
        return None
    near = [f"{word}: {', '.join(close)}" for word in strange if (close := difflib.get_close_matches(word, known, 3))]
    hint = f"; close to {'; '.join(near)}" if near else ""
    return (
        f"{info.name} was trained on {len(known)} words and has never seen {', '.join(map(repr, strange))}{hint} "
        "(`fastdiff models --json` lists its words)"
    )
