"""Fingerprints: short hashes of what decides a picture beside an accelerator's options, such as a calibration.

An accelerator tells its own as ``fingerprint`` in the stats of its effect. A picture's record keeps it, and a picture
is drawn again only where it is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import PlanError

if TYPE_CHECKING:
    from fastdiffusers.record import Record
    from fastdiffusers.session import Session

KEY = "fingerprint"


def fingerprint_of(record: Record) -> str | None:
    """What the accelerator told, or None if it has none (or does not know it before it has run)."""
    value = record.stats.get(KEY)
    return value if isinstance(value, str) and value else None


def wanted_fingerprints(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """By name, those that a picture's record holds."""
    return {entry["name"]: entry[KEY] for entry in entries if entry.get(KEY) is not None}


def check_attached(session: Session, wanted: Mapping[str, str]) -> None:
    """Refuse what is known to differ before anything has been drawn; see `check_drawn`."""
    from fastdiffusers.record import measured_record

    items = [item for item in session.plan.items if item.spec.name in wanted]
    records = [measured_record(item, session.accelerator(item.spec.name)) for item in items]
    check_drawn([record for record in records if fingerprint_of(record) is not None], wanted)


def check_drawn(records: Iterable[Record], wanted: Mapping[str, str]) -> None:
    """Raise `PlanError` for the first accelerator whose fingerprint is not the wanted one."""
    for record in records:
        present = fingerprint_of(record)
        if record.name in wanted and wanted[record.name] != present:
            raise PlanError(
                f"the picture was drawn with {record.name} of fingerprint {wanted[record.name]}, here it has "
                f"{present or 'none'}: its calibration (or whatever else it reads beside its options) is another one"
            )
