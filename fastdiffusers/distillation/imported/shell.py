"""A shell script as words: statements, assignments and variables, read with `shlex` and never run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from fastdiffusers.errors import InputError

DOLLAR = "\ue000"  # stands for a dollar sign that single quotes or a backslash protect
SEPARATORS = frozenset("\n;&|")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")

# What must be known before the text is cut into words, in the order in which the shell would see it.
_PIECES = re.compile(
    r"""
      (?P<continued>\\[ \t]*\r?\n)
    | (?P<escaped>\\.)
    | (?P<single>'[^']*')
    | (?P<double>"(?:\\.|[^"\\])*")
    | (?P<comment>(?:(?<=\s)|(?<![\s\S]))\#[^\n]*)
    | (?P<redirection>(?:(?<=\s)[0-9])?&?>>?[ \t]*(?:&[0-9]|[^\s;|&]+))
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass
class Statement:
    """One command: its words, and the variables that hold while it runs."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)  # exported, or written in front of the command
    read: set[str] = field(default_factory=set)  # names of variables that any statement up to here used


def statements(text: str) -> list[Statement]:
    """The commands of a script in their order; assignments are carried out, nothing else is.

    Raises `InputError` for an unclosed quotation mark, a substitution that would have to be run, and a variable
    without a value.
    """
    plain: dict[str, str] = {}
    exported: dict[str, str] = {}
    read: set[str] = set()
    found = []
    for words in _cut(_prepared(text)):
        words = list(words)
        front: dict[str, str] = {}
        while words and (match := ASSIGNMENT.fullmatch(words[0])):
            front[match[1]] = _expanded(match[2], {**plain, **exported, **front}, read)
            words.pop(0)
        if not words:
            for name, value in front.items():
                (exported if name in exported else plain)[name] = value
        elif words[0] == "export":
            for item in words[1:]:
                name, equals, value = item.partition("=")
                exported[name] = _expanded(value, {**plain, **exported}, read) if equals else plain.pop(name, "")
        else:
            known = {**plain, **exported}
            found.append(
                Statement([_expanded(item, known, read) for item in words], {**exported, **front}, read | set(plain))
            )
    return found


def _prepared(text: str) -> str:
    """Continued lines joined, comments and redirections removed, protected dollar signs replaced."""

    def replace(match: re.Match[str]) -> str:
        if match["continued"] or match["comment"] or match["redirection"]:
            return " "
        if match["single"]:
            return match[0].replace("$", DOLLAR)
        if match["double"]:
            return re.sub(r"\\\r?\n", "", match[0]).replace("\\$", DOLLAR)
        return DOLLAR if match[0] == "\\$" else match[0]

    joined = _PIECES.sub(replace, text)
    if "`" in joined or "$(" in joined:
        raise InputError("the command holds a substitution, `…` or $(…), which is not run; write its result instead")
    return joined


def _cut(text: str) -> list[list[str]]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n;&|")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    found: list[list[str]] = [[]]
    try:
        for item in lexer:
            if item and set(item) <= SEPARATORS:
                found.append([])
            else:
                found[-1].append(item)
    except ValueError:
        raise InputError("the command has a quotation mark that is not closed") from None
    return [words for words in found if words]


def _expanded(word: str, known: dict[str, str], read: set[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in known:
            raise InputError(f"the command uses ${name}, which has no value in it; put {name}=… in front")
        read.add(name)
        return known[name]

    return VARIABLE.sub(replace, word).replace(DOLLAR, "$")
