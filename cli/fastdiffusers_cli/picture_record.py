"""The record inside a picture: everything that decides its bytes, and nothing else (no date, no path, no timing)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastdiffusers_cli.fingerprints import fingerprint_of
from fastdiffusers_cli.version import installed_version, paddle_version

if TYPE_CHECKING:
    from fastdiffusers.accelerator import AcceleratorSpec
    from fastdiffusers.environment import Environment
    from fastdiffusers.record import Record
    from fastdiffusers_cli.job import Job, Picture


def picture_record(job: Job, picture: Picture, environment: Environment, records: Sequence[Record]) -> dict[str, Any]:
    """The record of ``picture``, as `fastdiffusers.png.write_png` takes it; ``records`` tell the fingerprints."""
    setting = job.setting
    told = {record.name: fingerprint_of(record) for record in records}
    return {
        "model": model_dict(job),
        "prompt": picture.prompt,
        "negative_prompt": job.negative,
        "true_cfg_scale": setting.true_cfg_scale,
        "seed": picture.seed,
        "steps": setting.steps,
        "guidance": setting.guidance,
        "height": setting.height,
        "width": setting.width,
        "strength": setting.strength,
        "image_sha256": job.start.sha256 if job.start else None,
        "accelerators": [
            {
                "name": item.spec.name,
                "options": item.options,
                "source": item.source,
                "distribution": item.spec.distribution,
                "version": plugin_version(item.spec),
                **({"fingerprint": told[item.spec.name]} if told.get(item.spec.name) else {}),
            }
            for item in job.plan.items
        ],
        "threads": environment.threads,
        "mkl": environment.mkl,
        "versions": drawing_versions(),
    }


def drawing_versions() -> dict[str, str | None]:
    """What computes the pixels (fastdiffusers, Paddle) and what writes them (Pillow: its zlib decides the bytes)."""
    from fastdiffusers import __version__

    return {"fastdiffusers": __version__, "paddle": paddle_version(), "pillow": installed_version("pillow")}


def model_dict(job: Job) -> dict[str, str]:
    """The model as records and JSON name it; ``dtype`` is what it computes in."""
    return {"name": job.info.name, "family": job.info.family, "sha256": job.info.sha256, "dtype": job.dtype}


def plugin_version(spec: AcceleratorSpec) -> str:
    """Version of the distribution that brought an accelerator; ours when it runs from the source tree."""
    from fastdiffusers import __version__
    from fastdiffusers.plugins import registry

    versions = {record.distribution: record.version for record in registry().plugins if record.distribution}
    if spec.distribution:
        return versions.get(spec.distribution, "")
    return __version__ if spec.target.startswith("fastdiffusers") else ""
