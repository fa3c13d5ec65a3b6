"""What will engage, in which order, what is refused and why: decided before anything is loaded or touched.

Compatibility is decided by claims, required features, tags and conflicts, never by lists of names, so that accelerators
by strangers are checked as well. No Paddle here, and no model: only its description.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Prediction, Setting, one_line
from fastdiffusers.errors import PlanError, UserError
from fastdiffusers.options import build_config, did_you_mean, plain_options
from fastdiffusers.ordering import order
from fastdiffusers.request import ASKED, AUTOMATIC, NONE, Request, parse
from fastdiffusers.resolving import NoProfile, from_profile, quantized_default, wants_profile

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry

__all__ = ["Plan", "PlanItem", "Refusal", "Request", "make_plan", "parse", "requests_from_dict", "setting_from_dict"]

FORMAT = 1
SETTING_KEYS = tuple(field.name for field in dataclasses.fields(Setting) if field.name != "shift")
"""What of a setting is asked for, and kept with a plan; the shift is for accelerators to set."""
CLAIM, CONFLICT, REQUIRES, PREDICTION, PROFILE = "claim", "conflict", "requires", "prediction", "profile"
PLAN_KEYS = frozenset({"fastdiff_plan", "model", "setting", "accelerators", "refusals"})


@dataclass(frozen=True)
class PlanItem:
    """An accelerator that stands: its configuration, what is expected of it, and why it sits where it does.

    ``given`` are the names of the options that the user set; all others are defaults. ``notes`` are sentences about
    options that the plan set: from a profile, or because of another accelerator.
    """

    spec: AcceleratorSpec
    config: Any
    prediction: Prediction
    order_reason: str
    source: str = ASKED
    given: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its value, as JSON can hold it."""
        return plain_options(self.config)

    @property
    def fidelity(self) -> Fidelity:
        """What it may do to the picture with these options."""
        return self.prediction.fidelity or self.spec.fidelity

    def to_dict(self) -> dict[str, Any]:
        """The item for JSON and YAML; ``name`` and ``options`` are what is read back."""
        return {
            "name": self.spec.name,
            "options": self.options,
            "kind": self.spec.kind.value,
            "fidelity": self.fidelity.value,
            "claims": sorted(self.spec.claims),
            "source": self.source,
            "engages": self.prediction.engages,
            "reason": self.prediction.reason,
            "effect": self.prediction.effect,
            "order": self.order_reason,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Refusal:
    """An accelerator that was asked for and cannot be had here, with the reason in one line.

    ``cause`` is what refused it, for tables: ``"claim blocks"``, ``"conflict fused-loop"``, ``"requires guidance"``,
    ``"profile"`` where none was stored, or ``"prediction"``, the accelerator's own view of this model and setting.
    """

    name: str
    reason: str
    cause: str = ""

    def __str__(self) -> str:
        """One sentence; a reason that begins with the name is one already."""
        return self.reason if self.reason.startswith(f"{self.name} ") else f"{self.name} is refused: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """Accelerators from the inside out, refusals, and the model and setting that this was decided for."""

    items: tuple[PlanItem, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    info: ModelInfo | None = None
    setting: Setting | None = None

    @property
    def effective(self) -> Setting | None:
        """The setting that is drawn with: ``setting`` as the accelerators change it (a distilled adapter has its own
        number of steps)."""
        changed = [item.prediction.setting for item in self.items if item.prediction.setting is not None]
        return changed[-1] if changed else self.setting

    @property
    def model(self) -> str:
        """Name of the model that the plan was made for; empty when it was made for none."""
        return "" if self.info is None else self.info.name

    @property
    def sha256(self) -> str:
        """Hash of that model. Reads the weights' files when nobody has yet, so it is asked for only when needed."""
        return "" if self.info is None else self.info.sha256

    def check(self) -> None:
        """Raise the first refusal as a `PlanError`; return quietly when there is none."""
        for refusal in self.refusals:
            raise PlanError(str(refusal))

    def to_dict(self) -> dict[str, Any]:
        """The plan for JSON and YAML; `from_dict` reads it back."""
        return {
            "fastdiff_plan": FORMAT,
            "model": {"name": self.model, "sha256": self.sha256},
            "setting": None if self.setting is None else {name: getattr(self.setting, name) for name in SETTING_KEYS},
            "accelerators": [item.to_dict() for item in self.items],
            "refusals": [dataclasses.asdict(refusal) for refusal in self.refusals],
        }

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        registry: Registry,
        info: ModelInfo,
        setting: Setting | None = None,
        dtype: str = "float32",
    ) -> Plan:
        """Decide anew what ``data`` (from `to_dict`, or written by hand) asks for.

        ``setting`` overrides the one in ``data``; without either, the model's default holds. Raises `PlanError` when
        ``data`` is no plan or was made for a model with another hash.
        """
        requests = requests_from_dict(data)
        stored = data.get("model") or {}
        wanted = stored.get("sha256") if isinstance(stored, Mapping) else None
        if wanted and wanted != info.sha256:
            raise PlanError(other_model(str(stored.get("name")), str(wanted), info.name, info.sha256))
        return make_plan(requests, registry, info, setting or setting_from_dict(data) or info.default_setting, dtype)


def make_plan(
    requests: Sequence[Request], registry: Registry, info: ModelInfo, setting: Setting, dtype: str = "float32"
) -> Plan:
    """Decide which requests stand, in which order, and what to expect of each.

    ``dtype`` is what the model will compute in; a profile is looked up for it.

    Raises `PlanError` for what is wrong in itself (unknown name, option or value, a name given twice, a circle of
    before/after wishes); what merely cannot be had together, or on this model, becomes a `Refusal`.
    """
    asked: dict[str, Request] = {}
    configs: dict[str, Any] = {}
    notes: dict[str, list[str]] = {}
    refusals: list[Refusal] = []
    for request in requests:
        if request.name in asked:
            raise PlanError(f"accelerator {request.name!r} is named twice; name it once, with all its options")
        _lookup(request.name, registry)
        asked[request.name] = request
    for name, request in asked.items():
        options, notes[name] = request.options, []
        if wants_profile(registry.accelerators[name], options):
            others = [other for other in asked.values() if other is not request]
            try:
                options, note = from_profile(request, others, registry, info, setting, dtype)
            except NoProfile as error:
                refusals.append(Refusal(name, str(error), PROFILE))
                continue
            notes[name].append(note)
        configs[name] = build_config(name, registry.accelerators[name].config, options)

    standing: list[AcceleratorSpec] = []
    for name in configs:
        spec = registry.accelerators[name]
        refusal = _lacks(spec, info) or next((r for other in standing if (r := _clash(spec, other))), None)
        if refusal:
            refusals.append(refusal)
        else:
            standing.append(spec)

    items: list[PlanItem] = []
    inner = setting
    for spec, order_reason in order(standing):
        if not notes[spec.name]:
            given = asked[spec.name].options
            configs[spec.name], note = quantized_default(spec, configs[spec.name], given, standing)
            notes[spec.name] += [note] if note else []
        try:
            prediction = _predict(spec, configs[spec.name], info, inner)
        except UserError as error:
            refusals.append(Refusal(spec.name, str(error), PREDICTION))
            continue
        inner = prediction.setting or inner
        items.append(
            PlanItem(
                spec,
                configs[spec.name],
                prediction,
                order_reason,
                asked[spec.name].source,
                frozenset(asked[spec.name].options),
                tuple(notes[spec.name]),
            )
        )
    return Plan(tuple(items), tuple(refusals), info, setting)


def requests_from_dict(data: Any) -> list[Request]:
    """The requests in a plan as data: ``accelerators`` is words, or a list of words or of ``{name, options}``."""
    if not isinstance(data, Mapping) or "accelerators" not in data:
        raise PlanError("not a plan: it must be a mapping with the key 'accelerators'")
    if data.get("fastdiff_plan", FORMAT) != FORMAT:
        raise PlanError(f"a plan of format {data['fastdiff_plan']!r} cannot be read; valid: {FORMAT}")
    entries = data["accelerators"]
    if entries is None or isinstance(entries, str):
        return parse(entries)
    if not isinstance(entries, list):
        raise PlanError(f"'accelerators' in a plan must be a list, got {type(entries).__name__}")
    requests: list[Request] = []
    for entry in entries:
        requests.extend(parse(entry) if isinstance(entry, str) else [_request_from_dict(entry)])
    return requests


def setting_from_dict(data: Mapping[str, Any]) -> Setting | None:
    """The setting in a plan as data, or None when it holds none. Raises `PlanError` for unknown or ill-typed keys."""
    stored = data.get("setting")
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or not set(stored) <= set(SETTING_KEYS):
        raise PlanError(f"'setting' in a plan must be a mapping of {', '.join(SETTING_KEYS)}; got {stored!r}")
    for name, value in stored.items():
        whole = name in ("steps", "height", "width", "batch")
        valid = int if whole else int | float | None if name == "strength" else int | float
        if isinstance(value, bool) or not isinstance(value, valid):
            kind = "an integer" if whole else "a number"
            raise PlanError(f"'setting' in a plan: {name} must be {kind}, got {value!r}")
    missing = [name for name in ("steps", "guidance", "height", "width") if name not in stored]
    if missing:
        raise PlanError(f"'setting' in a plan lacks {', '.join(missing)}")
    return Setting(**stored)


def other_model(name: str, sha256: str, present: str, present_sha256: str) -> str:
    """The sentence for a plan that meets another model than the one it was made for."""
    return (
        f"the plan was made for model {name!r} (sha256 {sha256[:12]}…), this is {present!r} "
        f"(sha256 {present_sha256[:12]}…); make the plan anew for this model"
    )


def _request_from_dict(entry: Any) -> Request:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise PlanError(f"an accelerator in a plan is words or a mapping with 'name' and 'options', got {entry!r}")
    options = entry.get("options") or {}
    if not isinstance(options, Mapping):
        raise PlanError(f"{entry['name']}: 'options' in a plan must be a mapping, got {options!r}")
    source = entry.get("source", ASKED)
    if source not in (ASKED, AUTOMATIC):
        raise PlanError(f"{entry['name']}: unknown source {source!r} in a plan; valid: {ASKED}, {AUTOMATIC}")
    return Request(entry["name"], dict(options), source)


def _lookup(name: str, registry: Registry) -> AcceleratorSpec:
    if name in registry.accelerators:
        return registry.accelerators[name]
    if name == NONE:
        raise PlanError("'none' means no accelerator and does not compose")
    valid = sorted(registry.accelerators)
    broken = [record.name for record in registry.plugins if record.status != "ok"]
    hint = f"; not loaded: {', '.join(broken)} (see `fastdiff plugins`)" if broken else ""
    raise PlanError(
        f"unknown accelerator {name!r}{did_you_mean(name, valid)}; installed: {', '.join(valid) or '(none)'}{hint}"
    )


def _lacks(spec: AcceleratorSpec, info: ModelInfo) -> Refusal | None:
    missing = sorted(spec.requires - info.features)
    if not missing:
        return None
    has = ", ".join(sorted(info.features)) or "none"
    reason = f"it needs {', '.join(map(repr, missing))}, which {info.name} does not offer (it offers: {has})"
    return Refusal(spec.name, reason, f"{REQUIRES} {missing[0]}")


def _clash(spec: AcceleratorSpec, other: AcceleratorSpec) -> Refusal | None:
    for claim in sorted(spec.claims & other.claims):
        reason = f"both {other.name} and {spec.name} claim {claim!r}, which only one can have; use one of them"
        return Refusal(spec.name, reason, f"{CLAIM} {claim}")
    for one, two in ((spec, other), (other, spec)):
        for word in sorted(one.conflicts & (two.claims | two.tags | {two.kind.value})):
            reason = f"{one.name} does not go together with {word!r}, which {two.name} is or claims"
            return Refusal(spec.name, reason, f"{CONFLICT} {word}")
    return None


def _predict(spec: AcceleratorSpec, config: Any, info: ModelInfo, setting: Setting) -> Prediction:
    if spec.predict is None:
        return Prediction(True, "engages whenever it is attached")
    try:
        prediction = spec.predict(config, info, setting)
    except UserError:
        raise
    except Exception as error:
        raise PlanError(f"its prediction failed: {one_line(error)}") from error
    if not isinstance(prediction, Prediction):
        raise PlanError(f"its predict returned {type(prediction).__name__} instead of a Prediction")
    return prediction
