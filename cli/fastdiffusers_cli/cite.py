"""``fastdiff cite``: BibTeX for what was used."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.output import print_json

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Reference


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cite")(cite)


def cite(
    names: Annotated[
        list[str] | None, typer.Argument(help="Accelerators or model families.  [default: all that are installed]")
    ] = None,
    accel: Annotated[list[str] | None, typer.Option(help="The words that were given to `infer`.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Print BibTeX for the methods and models you used."""
    entries: dict[str, str] = {}
    for reference in references(names or [], accel):
        key = _key(reference)
        while key in entries:  # two papers of one author, year and first word
            key += "x"
        entries[key] = bibtex(reference, key)
    if json:
        print_json({"entries": [{"key": key, "bibtex": text} for key, text in entries.items()]})
    else:
        print("\n\n".join(entries.values()) or "% nothing to cite")


def references(names: list[str], accel: list[str] | None) -> list[Reference]:
    """What to cite for accelerators and families by name, each reference once; without any, for all installed."""
    from fastdiffusers.errors import PlanError, one_of
    from fastdiffusers.plan import parse
    from fastdiffusers.plugins import registry

    sources: dict[str, Any] = {**registry().accelerators, **registry().pipelines}
    wanted = [*names, *(request.name for words in accel or [] for request in parse(words))]
    for name in wanted:
        if name not in sources:
            raise PlanError(one_of("accelerator or model family", name, sources))
    chosen = wanted if wanted or accel else list(sources)
    return list(dict.fromkeys(reference for name in chosen for reference in sources[name].references))


def bibtex(reference: Reference, key: str) -> str:
    """One BibTeX entry; capital letters of the title are kept by the double braces."""
    fields = {
        "title": f"{{{_escaped(reference.title)}}}",
        "author": _escaped(reference.authors),
        "year": str(reference.year),
        "eprint": reference.arxiv,
        "archiveprefix": "arXiv" if reference.arxiv else "",
        "url": reference.url or (f"https://arxiv.org/abs/{reference.arxiv}" if reference.arxiv else ""),
        "note": _escaped(reference.note),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _key(reference: Reference) -> str:
    family = re.split(r" and |,", reference.authors)[0].split()[-1] if reference.authors.strip() else "anonymous"
    word = next(iter(re.findall(r"[^\W\d_]{4,}", reference.title)), "work")
    plain = unicodedata.normalize("NFKD", f"{family}{reference.year}{word}").encode("ascii", "ignore").decode()
    return re.sub(r"\W", "", plain).lower()


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
