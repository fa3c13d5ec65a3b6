"""The predecessor's training scripts that are understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastdiffusers.distillation.imported import flux_lightning, lcm, lcm_webdataset
from fastdiffusers.distillation.imported.draft import Draft
from fastdiffusers.distillation.imported.flag import Flag
from fastdiffusers.distillation.imported.launcher import Launch


@dataclass(frozen=True)
class Script:
    """A training script: its method here, its flags, and the translation of those that are not one key's value."""

    name: str
    method: str
    flags: tuple[Flag, ...]
    translate: Callable[[Draft, Launch, str], None]


SCRIPTS: dict[str, Script] = {
    script.name: script
    for script in (
        *(
            Script(name, flux_lightning.METHOD, flux_lightning.FLAGS, flux_lightning.translate)
            for name in flux_lightning.SCRIPTS
        ),
        *(Script(name, lcm.METHOD, lcm.FLAGS, lcm.translate) for name in lcm.SCRIPTS),
        *(
            Script(name, lcm_webdataset.METHOD, lcm_webdataset.flags_of(name), lcm_webdataset.translate)
            for name in lcm_webdataset.SCRIPTS
        ),
    )
}
