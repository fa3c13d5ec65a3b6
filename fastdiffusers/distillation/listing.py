"""Every adapter that this installation knows: what was trained here, and what comes with the package. No Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastdiffusers.distillation.adapter import CARD, SHIPPED, WEIGHTS, AdapterCard, read_card
from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.files import cache_dir

OWN, WITH_PACKAGE = "own", "shipped"


@dataclass(frozen=True)
class Listed:
    """An adapter's folder: its name, where it comes from, its card, or (``problem``) why it cannot be used."""

    folder: Path
    source: str
    card: AdapterCard | None
    problem: str = ""

    @property
    def name(self) -> str:
        """As it is called on the command line."""
        return self.folder.name


def list_adapters() -> list[Listed]:
    """All of them, one's own first, as inference looks for them; a damaged one is listed with its problem."""
    places = ((OWN, cache_dir() / "adapters"), (WITH_PACKAGE, SHIPPED))
    return [_listed(file.parent, source) for source, place in places for file in sorted(place.glob(f"*/*/{CARD}"))]


def _listed(folder: Path, source: str) -> Listed:
    try:
        card = read_card(folder)
    except WeightsError as error:
        return Listed(folder, source, None, str(error))
    lacking = "" if (folder / WEIGHTS).is_file() else f"{str(folder)!r} holds no {WEIGHTS}"
    return Listed(folder, source, card, lacking)


def usage(adapters: list[Listed], accelerators: Mapping[str, str]) -> dict[Path, str]:
    """How each adapter is asked for with ``--accel``, by its folder; ``accelerators`` by method.

    By its steps, or by its folder where another one of the same method, base and steps is found before it.
    """
    words: dict[Path, str] = {}
    taken: set[tuple[str, str, int]] = set()
    for item in adapters:
        card = item.card
        if card is None or item.problem or card.method not in accelerators:
            continue
        key = (card.method, card.base_sha256, card.steps)
        by_steps = key not in taken and item.name == f"{card.method}-{card.steps}"
        if by_steps:
            taken.add(key)
        option = f"steps={card.steps}" if by_steps else f"adapter={item.folder}"
        words[item.folder] = f"{accelerators[card.method]}:{option}"
    return words


def find_adapter(word: str, base: str | None = None) -> Path:
    """The folder or file that ``word`` means: a path, or a name of `list_adapters` (own before shipped).

    ``base`` is the name of the model, where adapters of several have one name. `InputError` names the valid ones.
    """
    path = Path(word)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # longer than a name may be, or with a null character: no path
        pass
    listed = [item for item in list_adapters() if item.card is not None and not item.problem]
    named = [item for item in listed if item.name == word]
    found = [item for item in named if base is None or (item.card and item.card.base == base)]
    if not found:
        names = {item.name for item in listed}
        raise InputError(one_of("adapter", word[:200], names) + "; or a folder, or a .safetensors file")
    bases = sorted({item.card.base for item in found if item.card})
    if len(bases) > 1:
        raise InputError(f"adapter {word!r} is there for {' and '.join(bases)}; say which with --model")
    return found[0].folder
