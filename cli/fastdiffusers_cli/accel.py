"""``fastdiff accel``: the accelerators there are, and one of them in full."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.matrix import show_matrix
from fastdiffusers_cli.output import print_json, print_pairs, print_table

if TYPE_CHECKING:
    from fastdiffusers.accelerator import AcceleratorSpec

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_WORDS = ("claims", "requires", "tags", "conflicts", "before", "after")


def register(app: typer.Typer) -> None:
    """Add the group with its commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(accelerators)
    group.command("list")(list_accelerators)
    group.command("info")(show_accelerator)
    group.command("matrix")(show_matrix)
    app.add_typer(group, name="accel")


def accelerators(context: typer.Context) -> None:
    """List accelerators, or show one with its options. Without a command it lists them."""
    if context.invoked_subcommand is None:
        list_accelerators(json=False)


def list_accelerators(json: Json = False) -> None:
    """List the installed accelerators.

    fidelity: exact = the same bits, numeric = within 1e-4, lossy = the picture may move. claims: two accelerators with
    the same claim do not go together.
    """
    from fastdiffusers.plugins import registry

    specs = list(registry().accelerators.values())
    if json:
        print_json({"accelerators": [as_dict(spec) for spec in specs]})
        return
    print_table(
        ["name", "kind", "fidelity", "claims", "summary"],
        [[spec.name, spec.kind.value, spec.fidelity.value, spec.claims, spec.summary] for spec in specs],
        wrap=["claims", "summary"],
    )
    broken = [record.name for record in registry().plugins if record.status == "broken"]
    if broken:
        print(f"not loaded because they are broken: {', '.join(broken)} (see `fastdiff plugins`)")


def show_accelerator(
    name: Annotated[str, typer.Argument(help="An accelerator from `fastdiff accel list`.")], json: Json = False
) -> None:
    """Show one accelerator in full.

    Its options with defaults and valid values, what it claims and needs, what to cite.
    """
    from fastdiffusers.errors import PlanError
    from fastdiffusers.options import did_you_mean
    from fastdiffusers.plugins import registry

    found = registry().accelerators
    if name not in found:
        raise PlanError(
            f"unknown accelerator {name!r}{did_you_mean(name, list(found))}; "
            f"installed: {', '.join(sorted(found)) or '(none)'}"
        )
    spec = found[name]
    if json:
        print_json(as_dict(spec))
        return
    print(f"{spec.name}: {spec.summary}\n")
    print_pairs(
        [
            ("kind", spec.kind.value),
            ("fidelity", spec.fidelity.value),
            *((word, getattr(spec, word)) for word in _WORDS if getattr(spec, word)),
            *([("from", spec.distribution)] if spec.distribution else []),
            *(("tuned", f"{t['option']} from {t['low']:g} to {t['high']:g}") for t in as_dict(spec)["tunable"]),
            *(("cite", f"{ref.authors} ({ref.year}): {ref.title}") for ref in spec.references),
        ]
    )
    options = as_dict(spec)["options"]
    if options:
        print()
        print_table(
            ["option", "default", "valid", "meaning"],
            [[o["name"], o["default"], o["valid"], o["help"]] for o in options],
            wrap=["valid", "meaning"],
        )
        example = options[0]
        print(f"\nwritten {spec.name}:{example['name']}={_word(example['default'])}, several options with more colons")
    else:
        print("\nno options")


def as_dict(spec: AcceleratorSpec) -> dict[str, Any]:
    """A specification as JSON can hold it; importing its implementation is not needed for that."""
    from fastdiffusers.options import options_of, plain_options

    defaults = plain_options(spec.config())
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "summary": spec.summary,
        "fidelity": spec.fidelity.value,
        "options": [
            {"name": name, "default": defaults[name], "valid": option.expects, "help": option.help}
            for name, option in options_of(spec.config).items()
        ],
        "tunable": [
            {"option": name, "low": option.tunable.low, "high": option.tunable.high}
            for name, option in options_of(spec.config).items()
            if option.tunable
        ],
        **{word: sorted(getattr(spec, word)) for word in _WORDS},
        "distribution": spec.distribution,
        "references": [asdict(reference) for reference in spec.references],
    }


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(_word(item) for item in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
