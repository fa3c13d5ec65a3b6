"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.errors import WeightsError

_HERE = Path(__file__).parent

EMBEDDED = {"flux-emoji": "flux_emoji"}
DEFAULT = "flux-emoji"
FROZEN = {"flux-emoji": "d27eb44722a86b608cc448d3470ace02a8ccc98f9f2afd0c74c284c469df9712"}
"""`ModelInfo.sha256` of each embedded model. Adapters, calibrations and golden files hang on it: it never changes."""

OUTLINES = {"flux.1-dev": "flux_1_dev", "flux.1-schnell": "flux_1_schnell"}
"""Models that are known by their configuration alone: they can be explained, not loaded."""


def outline_path(name: str) -> Path | None:
    """The folder of configurations of the model ``name``, or None."""
    folder = OUTLINES.get(name.lower())
    return None if folder is None or Path(name).is_dir() else _HERE / "outlines" / folder


def embedded_path(name: str) -> Path | None:
    """The folder of the embedded model ``name``, or None if no embedded model is called so."""
    folder = EMBEDDED.get(name)
    return None if folder is None else _HERE / folder


def check_frozen(name: str, sha256: str) -> None:
    """Raise `WeightsError` if ``name`` is an embedded model and ``sha256`` is not the hash it was released with."""
    wanted = FROZEN.get(name)
    if wanted is not None and sha256 != wanted:
        raise WeightsError(
            f"the files of {name!r} were changed: their sha256 is {sha256[:12]}…, released was {wanted[:12]}…; "
            "install fastdiffusers anew, or give the folder by its path"
        )


def evaluation_captions(name: str) -> list[str] | None:
    """The 4,000 captions, drawn as in training, that the tables of an embedded model are measured on; else None."""
    if name not in EMBEDDED:
        return None
    return (_HERE / "emoji" / "captions-4000.txt").read_text(encoding="utf-8").splitlines()
