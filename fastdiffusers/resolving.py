"""Options that a plan sets by itself: ``profile=auto``, and defaults on a quantised model. No Paddle.

Both work for every accelerator that declares a tunable option (see `fastdiffusers.tunable`), in this one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import AcceleratorSpec, Kind, Setting
from fastdiffusers.errors import PlanError
from fastdiffusers.options import Option, build_config, options_of, plain_options
from fastdiffusers.profiles import Key, Profile, find_profile, read_profiles
from fastdiffusers.request import Request, format_requests

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry

PROFILE = "profile"
AUTO = "auto"


class NoProfile(PlanError):
    """There is no profile for exactly this setting: nothing wrong in itself, so a plan refuses the accelerator."""


def wants_profile(spec: AcceleratorSpec, options: Mapping[str, Any]) -> bool:
    """Whether ``profile=…`` was asked for, and is not an option of the accelerator's own."""
    return PROFILE in options and PROFILE not in options_of(spec.config)


def tuned_option(spec: AcceleratorSpec, fixed: Mapping[str, Any]) -> Option | None:
    """The option that is tuned beside those given: the first tunable one that they leave a meaning. None without one.

    Raises `PlanError` for options that are wrong in themselves.
    """
    given = _own(spec, fixed)
    build_config(spec.name, spec.config, given)
    for option in options_of(spec.config).values():
        if option.tunable is None:
            continue
        try:
            build_config(spec.name, spec.config, {**given, option.name: option.type(option.tunable.mild)})
        except PlanError:
            continue
        return option
    return None


def tunable_names(registry: Registry) -> list[str]:
    """The accelerators that have a tunable option."""
    return sorted(
        name for name, spec in registry.accelerators.items() if any(o.tunable for o in options_of(spec.config).values())
    )


def require_tunable(spec: AcceleratorSpec, given: Mapping[str, Any], registry: Registry, what: str) -> Option:
    """The option to tune; a `PlanError` where there is none, or where it was given a value beside ``what``."""
    option = tuned_option(spec, given)
    if option is None:
        have = ", ".join(tunable_names(registry)) or "(none)"
        words = format_requests([Request(spec.name, _own(spec, given))])
        raise PlanError(f"{words} has no option that can be tuned, which {what} needs; these have one: {have}")
    if option.name in given:
        raise PlanError(f"{spec.name}: {what} chooses {option.name}; leave {option.name}={given[option.name]} out")
    return option


def key_of(
    spec: AcceleratorSpec,
    option: Option,
    fixed: Mapping[str, Any],
    beside: Mapping[str, Any],
    setting: Setting,
    dtype: str,
) -> Key:
    """The key for tuning ``option`` beside the options ``fixed`` and the configs ``beside`` (by accelerator)."""
    options = plain_options(build_config(spec.name, spec.config, _own(spec, fixed)))
    del options[option.name]
    others = tuple({"name": name, "options": plain_options(beside[name])} for name in sorted(beside))
    return Key(spec.name, option.name, options, others, setting.steps, setting.height, setting.width, dtype)


def from_profile(
    request: Request,
    beside: Sequence[Request],
    registry: Registry,
    info: ModelInfo,
    setting: Setting,
    dtype: str,
) -> tuple[dict[str, Any], str]:
    """The options of a request with ``profile=auto`` resolved, and a note that says where the value comes from.

    Raises `PlanError` for what is wrong in itself, `NoProfile` where nothing was tuned for exactly this.
    """
    spec = registry.accelerators[request.name]
    option = require_tunable(spec, request.options, registry, "profile=auto")
    if request.options[PROFILE] != AUTO:
        raise PlanError(f"{spec.name}: profile must be {AUTO}, got {str(request.options[PROFILE])!r}")
    for other in beside:
        if wants_profile(registry.accelerators[other.name], other.options):
            raise PlanError(f"{spec.name} and {other.name} both have profile=auto; tune one of them at a time")
    if setting.strength is not None or setting.true_cfg_scale > 1:
        raise NoProfile(
            f"profiles are tuned for text-to-image without true guidance; give {option.name}=… in place of profile=auto"
        )
    configs = {o.name: build_config(o.name, registry.accelerators[o.name].config, o.options) for o in beside}
    key = key_of(spec, option, request.options, configs, setting, dtype)
    profile = find_profile(info, key)
    if profile is None:
        raise NoProfile(_none_for(request, beside, key, spec, info))
    note = told(profile)
    guidance = profile.measured.get("guidance", setting.guidance)
    if guidance != setting.guidance:
        note += f"; it was tuned at guidance {guidance:g}"
    return {**_own(spec, request.options), option.name: profile.value}, note


def told(profile: Profile) -> str:
    """A profile in one sentence."""
    wanted = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in profile.target.items())
    seen = profile.measured
    figures = [
        *([f"distance {seen['distance']:.3g}"] if "distance" in seen else []),
        *([f"{seen['speedup']:.2f}×"] if "speedup" in seen else []),
    ]
    when = f" on {profile.made['date']}" if "date" in profile.made else ""
    measured = f": {', '.join(figures)}" if figures else ""
    return f"{profile.key.option}={profile.value:g} is from the profile tuned{when} for {wanted}{measured}"


def place_of(key: Key, spec: AcceleratorSpec | None) -> str:
    """Steps, size, precision and whatever is not a default, in words."""
    defaults = {} if spec is None else plain_options(spec.config())
    fixed = [f"{name}={value}" for name, value in key.fixed.items() if name not in defaults or defaults[name] != value]
    others = [f"beside {other['name']}" for other in key.beside]
    return ", ".join([f"{key.steps} steps at {key.width}x{key.height} in {key.dtype}", *fixed, *others])


def quantized_default(
    spec: AcceleratorSpec, config: Any, given: Mapping[str, Any], standing: Sequence[AcceleratorSpec]
) -> tuple[Any, str]:
    """The config with its tunable default raised beside an accelerator of kind quantize, and the note; or no change.

    Quantised weights move every signal that a threshold is compared with. A value that the user gave is kept.
    """
    quantisers = [other.name for other in standing if other.kind is Kind.QUANTIZE and other.name != spec.name]
    option = tuned_option(spec, given) if quantisers else None
    if option is None or option.tunable is None or option.tunable.quantized == 1 or option.name in given:
        return config, ""
    default = getattr(config, option.name)
    if not default:
        return config, ""
    most = float("inf") if option.maximum is None else option.maximum
    raised = option.type(min(float(f"{default * option.tunable.quantized:.6g}"), most))
    note = (
        f"{option.name} is {option.tunable.quantized:g} times its default {default:g} because {quantisers[0]} "
        "quantises the model; a value that you give is kept"
    )
    return build_config(spec.name, spec.config, {**given, option.name: raised}), note


def _none_for(request: Request, beside: Sequence[Request], key: Key, spec: AcceleratorSpec, info: ModelInfo) -> str:
    own = [one.key for one in read_profiles(info) if one.key.accelerator == spec.name]
    have = "; ".join(place_of(other, spec) for other in own) or "(none)"
    return (
        f"there is no profile of {spec.name} on {info.name} for {place_of(key, spec)}; there are: {have}; "
        f"run `{tune_command(spec, request, beside, key, info)} --max-distance 0.1` (or another target) once"
    )


def tune_command(spec: AcceleratorSpec, request: Request, beside: Sequence[Request], key: Key, info: ModelInfo) -> str:
    """What to type to tune for this key, without the target."""
    from fastdiffusers.zoo import DEFAULT, EMBEDDED

    bare = Request(request.name, _own(spec, request.options))
    default = info.default_setting
    words = ["fastdiff tune --accel", format_requests([*beside, bare])]
    if info.name != DEFAULT:
        words += ["--model", info.name if info.name in EMBEDDED else str(info.path)]
    if key.steps != default.steps:
        words += ["--steps", str(key.steps)]
    if (key.height, key.width) != (default.height, default.width):
        words += ["--size", f"{key.width}x{key.height}"]
    if key.dtype != "float32":
        words += ["--dtype", key.dtype]
    return " ".join(words)


def _own(spec: AcceleratorSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without ``profile``, unless the accelerator has one of that name itself."""
    return {k: v for k, v in options.items() if k != PROFILE or PROFILE in options_of(spec.config)}
