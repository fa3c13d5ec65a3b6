"""``fastdiff infer --from apple.png``: the same bytes again from the record inside, or a refusal that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.weights.layout import DTYPES
from fastdiffusers_cli.asking import check_seeds, choose_model
from fastdiffusers_cli.fingerprints import wanted_fingerprints
from fastdiffusers_cli.job import Job, Picture, Start, open_start
from fastdiffusers_cli.picture_record import drawing_versions, plugin_version
from fastdiffusers_cli.places import again_path, check_pictures
from fastdiffusers_cli.settings import check_setting

ALLOWED = ("out", "model", "image")
_TYPES: dict[str, tuple[type, ...]] = {
    "model": (dict,),
    "prompt": (str,),
    "negative_prompt": (str, type(None)),
    "true_cfg_scale": (int, float),
    "seed": (int,),
    "steps": (int,),
    "guidance": (int, float),
    "height": (int,),
    "width": (int,),
    "strength": (int, float, type(None)),
    "image_sha256": (str, type(None)),
    "accelerators": (list,),
    "threads": (int,),
    "mkl": (bool,),
    "versions": (dict,),
}


def job_from_record(source: Path, given: Mapping[str, Any]) -> Job:
    """The job recorded in ``source``. ``given`` may say where to write (``out``) and where the model and the picture
    it started from lie (``model``, ``image``); anything else contradicts a faithful copy and is refused.
    """
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import describe
    from fastdiffusers.plan import make_plan, requests_from_dict
    from fastdiffusers.plugins import registry
    from fastdiffusers.png import read_record

    extra = [_option(name) for name in given if name not in ALLOWED]
    if extra:
        raise InputError(
            f"--from draws the picture again as it was, so {', '.join(extra)} cannot be given beside it; "
            f"valid: {', '.join(_option(name) for name in ALLOWED)}, --json"
        )
    record = read_record(source)
    _check(record, source)
    stored = record["model"]
    model = choose_model(given["model"], "") if "model" in given else _model(stored, source)
    info = describe(model)
    if info.sha256 != stored["sha256"]:
        raise PlanError(
            f"{str(source)!r} was drawn by {stored['name']!r} with sha256 {stored['sha256'][:12]}…, but {info.name!r} "
            f"here has sha256 {info.sha256[:12]}…; the same picture needs the same model (--model)"
        )
    _check_versions(record, source)
    out = given.get("out", again_path(source))
    check_pictures([out], [source, *([given["image"]] if "image" in given else [])])
    setting = Setting(
        steps=record["steps"],
        guidance=record["guidance"],
        height=record["height"],
        width=record["width"],
        strength=record["strength"],
        true_cfg_scale=record["true_cfg_scale"],
    )
    check_setting(setting, info.unit)
    check_seeds(record["seed"], 1)
    plan = make_plan(requests_from_dict(record), registry(), info, setting)
    plan.check()
    return Job(
        info=info,
        model=str(model),
        plan=plan,
        setting=setting,
        pictures=(Picture(record["prompt"], record["seed"], out),),
        dtype=stored["dtype"],
        negative=record["negative_prompt"],
        start=_start(record, given.get("image"), source),
        threads=record["threads"],
        mkl=record["mkl"],
        fingerprints=wanted_fingerprints(record["accelerators"]),
        notes=tuple(_version_notes(record)),
    )


def verdict(source: Path, job: Job, same: bool) -> str:
    """Whether the new picture is the old one, in words."""
    path = job.pictures[0].path
    if same:
        return f"{str(path)!r} has the very bytes of {str(source)!r}"
    return (
        f"{str(path)!r} differs from {str(source)!r}: another processor or version computed it, or the picture was "
        "edited"
    )


def _check(record: Mapping[str, Any], source: Path) -> None:
    if "grid" in record:
        names = ", ".join(map(str, record["grid"][:4]))
        raise InputError(f"{str(source)!r} is a grid of pictures; draw one of them again: {names}…")
    for name, types in _TYPES.items():
        value = record.get(name)
        if name not in record or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InputError(f"the record in {str(source)!r} cannot be used: {name!r} is {value!r}")
    texts = [record["model"].get(key) for key in ("name", "family", "sha256", "dtype")]
    if not all(isinstance(text, str) for text in texts) or texts[3] not in DTYPES:
        raise InputError(f"the record in {str(source)!r} cannot be used: 'model' is {record['model']!r}")


def _model(stored: Mapping[str, str], source: Path) -> str:
    from fastdiffusers.zoo import EMBEDDED

    if stored["name"] in EMBEDDED:
        return stored["name"]
    raise InputError(
        f"{str(source)!r} was drawn by {stored['name']!r} (sha256 {stored['sha256'][:12]}…), which is not an embedded "
        "model; say where its folder is with --model PATH"
    )


def _check_versions(record: Mapping[str, Any], source: Path) -> None:
    from fastdiffusers.plugins import registry

    for entry in record["accelerators"]:
        name = entry.get("name") if isinstance(entry, dict) else None
        spec = registry().accelerators.get(str(name))
        wanted = f"{entry.get('distribution') or 'fastdiffusers'} {entry.get('version')}" if name else "?"
        if name and not isinstance(entry.get("fingerprint"), str | None):
            raise InputError(
                f"the record in {str(source)!r} cannot be used: 'fingerprint' of {name!r} is {entry['fingerprint']!r}"
            )
        if spec is None:
            raise PlanError(f"{str(source)!r} was drawn with the accelerator {name!r} ({wanted}), not installed here")
        present = plugin_version(spec)
        if present != entry.get("version"):
            raise PlanError(
                f"{str(source)!r} was drawn with the accelerator {name!r} of {wanted}; version {present or 'unknown'} "
                "is installed here, which may draw another picture"
            )


def _version_notes(record: Mapping[str, Any]) -> list[str]:
    recorded = record["versions"]
    return [
        f"it was drawn with {name} {recorded[name]}, this is {version}; the bytes may differ"
        for name, version in drawing_versions().items()
        if name in recorded and recorded[name] != version
    ]


def _start(record: Mapping[str, Any], image: Path | None, source: Path) -> Start | None:
    wanted = record["image_sha256"]
    if wanted is None:
        if image is not None:
            raise InputError(f"{str(source)!r} was drawn from its prompt alone; --image cannot be given")
        return None
    if image is None:
        raise InputError(
            f"{str(source)!r} was drawn from a picture with sha256 {wanted[:12]}…; give that picture with --image"
        )
    start = open_start(image)
    if start.sha256 != wanted:
        raise InputError(
            f"{str(source)!r} was drawn from a picture with sha256 {wanted[:12]}…, but {str(image)!r} has "
            f"{start.sha256[:12]}…"
        )
    return start


def _option(name: str) -> str:
    return "a prompt" if name == "prompt" else "--" + name.replace("_", "-")
