"""Tables of the plugins' READMEs that are made from the code: recipe keys, flags of the predecessor's commands.

``python -m fastdiffusers.distillation.documentation`` writes them anew. In a README, ``<!-- keys: ConsistencyKeys -->``
or ``<!-- flags: train_lcm.py -->`` begins a table and ``<!-- end -->`` ends it. No Paddle.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastdiffusers.distillation import keys
from fastdiffusers.distillation.imported import table
from fastdiffusers.errors import InputError, one_of
from fastdiffusers.files import atomic_write
from fastdiffusers.training.recipe import TrainerConfig

READMES = tuple(
    Path(__file__).resolve().parents[2] / "plugins" / plugin / "README.md"
    for plugin in ("fastdiffusers_consistency", "fastdiffusers_flux_lightning", "fastdiffusers_dmd2")
)
GROUPS = {
    group.__name__: group
    for group in (
        TrainerConfig,
        keys.DistillKeys,
        keys.ConsistencyKeys,
        keys.KdKeys,
        keys.RelationalKeys,
        keys.AdversarialKeys,
        keys.DmdKeys,
        keys.ReflowKeys,
    )
}
_MARKED = re.compile(r"(<!-- (keys|flags): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def key_table(group: type) -> str:
    """The keys that ``group`` declares itself, with default, meaning and limits, as Markdown."""
    rows = ["| key | default | meaning | valid |", "|---|---|---|---|"]
    for item in fields(group):
        if item.name in group.__annotations__:
            words = (f"`{item.name}`", f"`{_shown(item.default)}`", item.metadata["help"], _limits(item.metadata))
            rows.append("| " + " | ".join(word.replace("|", "/") for word in words) + " |")
    return "\n".join(rows) + "\n"


def flag_table(script: str) -> str:
    """What becomes of the flags of one of the predecessor's scripts, as Markdown."""
    parts = {}
    for part in re.split(r"^#### ", table(), flags=re.MULTILINE)[1:]:
        heading, _, rows = part.partition("\n")
        parts.update(dict.fromkeys(re.findall(r"`([^`]+)`", heading), rows.strip() + "\n"))
    if script not in parts:
        raise InputError(one_of("script", script, parts))
    return parts[script]


def renewed(text: str) -> str:
    """A README with its tables as they are today."""

    def table_of(found: re.Match[str]) -> str:
        begin, kind, name, end = found.groups()
        if kind == "keys" and name not in GROUPS:
            raise InputError(one_of("group of keys", name, GROUPS))
        return f"{begin}\n{key_table(GROUPS[name]) if kind == 'keys' else flag_table(name)}\n{end}"

    return _MARKED.sub(table_of, text)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _limits(limits: Any) -> str:
    if "choices" in limits:
        return ", ".join(limits["choices"])
    low, high = (_shown(limits[name]) if name in limits else "" for name in ("min", "max"))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


if __name__ == "__main__":
    for readme in READMES:
        with atomic_write(readme) as temporary:
            temporary.write_text(renewed(readme.read_text(encoding="utf-8")), encoding="utf-8")
