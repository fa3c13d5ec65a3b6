"""What becomes of every flag, as Markdown."""

from __future__ import annotations

from fastdiffusers.distillation.imported import flux_lightning, lcm, lcm_webdataset
from fastdiffusers.distillation.imported.flag import Fate, Flag

HEADINGS = {
    flux_lightning.SCRIPTS: flux_lightning.FLAGS,
    lcm.SCRIPTS: lcm.FLAGS,
    lcm_webdataset.SCRIPTS: tuple(
        {flag.name: flag for name in lcm_webdataset.SCRIPTS for flag in lcm_webdataset.flags_of(name)}.values()
    ),
}


def table() -> str:
    """A heading and a table for each script of the predecessor: flag, what becomes of it, why."""
    parts = []
    for scripts, flags in HEADINGS.items():
        names = ", ".join(f"`{name}`" for name in scripts)
        rows = ["| flag | becomes | note |", "|---|---|---|", *(_row(flag) for flag in _sorted(flags))]
        parts.append(f"#### {names}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _sorted(flags: tuple[Flag, ...]) -> list[Flag]:
    """What is mapped first, then words, what is dropped, what is refused."""
    order = {fate: place for place, fate in enumerate(Fate)}
    return sorted(flags, key=lambda flag: order[flag.fate])


def _row(flag: Flag) -> str:
    keys = [f"`{name}`" for name in flag.becomes.split()]
    becomes = ", ".join(keys) if keys else flag.fate.value
    note = flag.note
    if flag.fate is Fate.REFUSED and flag.only:
        shown = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in flag.only)
        becomes = f"dropped if {shown}, else refused"
    return f"| `--{flag.name}` | {becomes} | {note.replace('|', '/')} |"
