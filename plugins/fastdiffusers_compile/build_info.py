"""What the installed Paddle was built with, read from its version file: a plan must not import Paddle to know."""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

INSTALL = (
    "install paddlepaddle-gpu 3.x from Paddle's own index (https://www.paddlepaddle.org.cn/en/install/quick) on a "
    "machine with an NVIDIA GPU, or leave engine out"
)
_LINE = re.compile(r"^(full_version|cuda_version|cinn_version)\s*=\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PaddleBuild:
    """Version, and whether CUDA and CINN were compiled in."""

    version: str
    cuda: bool
    cinn: bool

    def __str__(self) -> str:
        place, has = "CUDA" if self.cuda else "CPUs", "with" if self.cinn else "without"
        return f"Paddle {self.version} for {place}, built {has} CINN"


@functools.cache
def paddle_build() -> PaddleBuild | None:
    """Of the Paddle that an import would find; None without one."""
    spec = importlib.util.find_spec("paddle")
    if spec is None or not spec.origin:
        return None
    file = Path(spec.origin).parent / "version" / "__init__.py"
    try:
        found = {name: value.strip("'\"") for name, value in _LINE.findall(file.read_text(encoding="utf-8"))}
    except OSError:
        return None
    return PaddleBuild(
        found.get("full_version", "?"), _there(found.get("cuda_version")), _there(found.get("cinn_version"))
    )


def _there(version: str | None) -> bool:
    return version not in (None, "False", "None", "0", "")
