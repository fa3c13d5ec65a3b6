"""A distilled adapter on disk: ``adapter.safetensors``, and in ``fastdiff.json`` all that inference has to know.

Where ``fastdiff infer`` looks for one that is asked for by method and steps: what was trained here, in the cache,
before what comes with the package. No Paddle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.counting import counted
from fastdiffusers.distillation.samplers import SAMPLERS, SHIFTS
from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.files import atomic_write, cache_dir

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo

WEIGHTS, CARD = "adapter.safetensors", "fastdiff.json"
FORMAT = 1
SHIPPED = Path(__file__).resolve().parents[1] / "zoo" / "adapters"


@dataclass(frozen=True)
class AdapterCard:
    """What a distilled adapter is and how it is to be used.

    Attributes:
        method: the recipe that made it (``flux-lightning``).
        base, base_sha256: name and hash of the model it belongs to.
        steps: network evaluations of a picture.
        sampler: one of `SAMPLERS`; ``euler``: deterministic steps at the scheduler's levels for that number of steps.
        guidance_min, guidance_max: the guidance it was trained for.
        shift: of those levels, s in σ → s·σ/(1 + (s − 1)·σ), the same for every size; None: the model's own rule.
        rank, alpha, scale: of the adapter; ``scale`` is what it is to be multiplied with, 1 as trained.
        metrics: measured figures.
        training: how it was made.
    """

    method: str
    base: str
    base_sha256: str
    steps: int
    sampler: str = "euler"
    guidance_min: float = 3.5
    guidance_max: float = 3.5
    shift: float | None = None
    rank: int = 0
    alpha: float = 0.0
    scale: float = 1.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def span(self) -> str:
        """Its guidance in words: ``3.5``, ``1 to 7``."""
        low, high = f"{self.guidance_min:g}", f"{self.guidance_max:g}"
        return low if low == high else f"{low} to {high}"

    @property
    def drawing(self) -> str:
        """How it draws, in words: ``4 steps, levels shifted by 3``."""
        levels = "" if self.shift is None else f", levels shifted by {self.shift:g}"
        return f"{counted(self.steps, 'step')}{levels}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": FORMAT, "kind": "adapter", **asdict(self)}


def use_of(card: AdapterCard | None) -> dict[str, Any]:
    """How an adapter is drawn with, for reports; None where it does not say."""
    if card is None:
        return dict.fromkeys(("steps", "sampler", "guidance", "shift"))
    guidance = [card.guidance_min, card.guidance_max]
    return {"steps": card.steps, "sampler": card.sampler, "guidance": guidance, "shift": card.shift}


def read_card(folder: Path) -> AdapterCard:
    """The card of an adapter's folder; a `WeightsError` says what is wrong with it."""
    file = folder / CARD
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{str(folder)!r} has no {CARD}; a folder that `fastdiff distill` wrote has it") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{str(file)!r} is not readable JSON: {error}") from None
    if not isinstance(values, dict) or values.get("kind") != "adapter":
        raise WeightsError(f"{str(file)!r} does not describe an adapter")
    if values.get("format") != FORMAT:
        raise WeightsError(f"{str(file)!r} has format {values.get('format')!r}; this version reads {FORMAT}")
    return AdapterCard(**_checked(values, file))


def _checked(values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "method": str,
        "base": str,
        "base_sha256": str,
        "steps": int,
        "sampler": str,
        "guidance_min": (int, float),
        "guidance_max": (int, float),
        "shift": (int, float, type(None)),
        "rank": int,
        "alpha": (int, float),
        "scale": (int, float),
        "metrics": dict,
        "training": dict,
    }
    found = {}
    for name, kind in kinds.items():
        if name not in values and name in ("method", "base", "base_sha256", "steps"):
            raise WeightsError(f"{str(file)!r} lacks {name!r}")
        if name in values:
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise WeightsError(f"{str(file)!r}: {name} is {values[name]!r}, which is of the wrong kind")
            found[name] = values[name]
    if found["steps"] < 1:
        raise WeightsError(f"{str(file)!r}: steps is {found['steps']}; it must be at least 1")
    if found.get("shift") is not None and not SHIFTS[0] <= found["shift"] <= SHIFTS[1]:
        raise WeightsError(f"{str(file)!r}: shift is {found['shift']}; valid are {SHIFTS[0]:g} to {SHIFTS[1]:g}")
    if found.get("sampler", SAMPLERS[0]) not in SAMPLERS:
        raise WeightsError(f"{str(file)!r}: sampler is {found['sampler']!r}; valid: {', '.join(SAMPLERS)}")
    return found


def own_folder(base: str, base_sha256: str, method: str, steps: int) -> Path:
    """Where ``fastdiff distill`` puts an adapter unless it is told another place."""
    return cache_dir() / "adapters" / f"{base}-{base_sha256[:12]}" / f"{method}-{steps}"


def find_adapters(info: ModelInfo, method: str) -> dict[int, Path]:
    """Folders of the adapters of ``method`` for a model, by their number of steps; one's own before shipped ones."""
    found: dict[int, Path] = {}
    own = own_folder(info.name, info.sha256, method, 1).parent
    for place in (SHIPPED / info.name, own):
        for card_file in sorted(place.glob(f"{method}-*/{CARD}")):
            card = read_card(card_file.parent)
            if card.method == method and card.base_sha256 == info.sha256 and (card_file.parent / WEIGHTS).is_file():
                found[card.steps] = card_file.parent
    return dict(sorted(found.items()))


def choose_adapter(info: ModelInfo, method: str, steps: int | None, default: int) -> Path:
    """The adapter of ``method`` with ``steps`` steps, by default with ``default`` if there is one, else the most."""
    found = find_adapters(info, method)
    if not found:
        raise InputError(
            f"there is no {method} adapter for {info.name}; train one (fastdiff distill {method}), or give one with "
            "adapter=FOLDER"
        )
    if steps is None:
        steps = default if default in found else max(found)
    if steps not in found:
        known = ", ".join(map(str, found))
        raise InputError(
            f"there is no {method} adapter of {steps} steps for {info.name}; valid: {known}, or train one (fastdiff "
            f"distill {method} phases={steps} --dry-run says what that takes)"
        )
    return found[steps]


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write ``fastdiff.json``."""
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
