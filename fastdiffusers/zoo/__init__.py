"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

EMBEDDED = {"flux-emoji": "flux_emoji"}
DEFAULT = "flux-emoji"


def embedded_path(name: str) -> Path | None:
    """The folder of the embedded model ``name``, or None if no embedded model is called so."""
    folder = EMBEDDED.get(name)
    return None if folder is None else _HERE / folder
