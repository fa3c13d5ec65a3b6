"""Plans as YAML files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import PlanError
from fastdiffusers.files import atomic_write
from fastdiffusers.plan import PLAN_KEYS, Plan

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write ``plan`` as YAML, whole or not at all."""
    import yaml

    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(plan.to_dict(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def load_plan_data(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a plan file (for `requests_from_dict`). Raises `PlanError` when it is missing or not YAML."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"cannot read the plan {str(path)!r}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or "accelerators" not in data:
        raise PlanError(f"{str(path)!r} is not a plan: it must be a mapping with the key 'accelerators'")
    unknown = sorted(set(map(str, data)) - PLAN_KEYS)
    if unknown:
        raise PlanError(f"{str(path)!r}: a plan has no key {unknown[0]!r}; it has: {', '.join(sorted(PLAN_KEYS))}")
    return data


def read_plan(
    path: str | os.PathLike[str], registry: Registry, info: ModelInfo, setting: Setting | None = None
) -> Plan:
    """The plan in a YAML file, decided anew for ``info``; see `Plan.from_dict`."""
    return Plan.from_dict(load_plan_data(path), registry, info, setting)
