"""ppdiffusers, imported when a model of it is loaded: the missing extra in one line, a quiet start, what Paddle lacks.

`import ppdiffusers` changes Paddle for the whole process (`paddle.max`, `repeat_interleave`, `randn` and others,
methods of `Layer`). That is its own doing; ours is `supply_missing` alone, which adds a function and changes none.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from fastdiffusers.accelerator import one_line
from fastdiffusers.environment import prepare
from fastdiffusers.errors import MissingDependency

PYTHONS = ((3, 10), (3, 11))


def require(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """`MissingDependency` with the command that installs the extra, or with the Python that it needs."""
    if is_installed():
        return
    if version not in PYTHONS:
        raise MissingDependency(
            "models of Stable Diffusion need the extra `ppdiffusers`, which exists for Python 3.10 and 3.11 only; this "
            f"is Python {'.'.join(map(str, version))}"
        )
    raise MissingDependency(f"models of Stable Diffusion need ppdiffusers, which is not installed: {install_command()}")


def is_installed() -> bool:
    """Whether there is a package ppdiffusers; a mere folder of that name (a clone of PaddleMIX) is none."""
    found = importlib.util.find_spec("ppdiffusers")
    return found is not None and found.origin is not None


def install_command() -> str:
    """The command that installs the extra into this environment, from a clone if this runs from one."""
    import fastdiffusers

    clone = Path(fastdiffusers.__file__).resolve().parent.parent
    if (clone / "pyproject.toml").is_file():
        return f"pip install -e '{clone}[ppdiffusers]'"
    return "pip install 'fastdiffusers[ppdiffusers]'"


@functools.cache
def load_ppdiffusers() -> ModuleType:
    """Import ppdiffusers, with its messages turned down to errors, and supply what Paddle lacks on this device."""
    require()
    prepare()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setuptools is replacing distutils", category=UserWarning)
            import ppdiffusers
            from paddlenlp.utils.log import logger
    except Exception as error:
        raise MissingDependency(
            f"ppdiffusers cannot be imported ({one_line(error)}); its pinned set: {install_command()}"
        ) from error
    ppdiffusers.utils.logging.set_verbosity_error()
    logger.set_level("ERROR")
    supply_missing()
    return ppdiffusers


def supply_missing() -> None:
    """Give Paddle the attention that ppdiffusers calls and defines on GPUs only; nothing happens where it is there."""
    import paddle.nn.functional as functional

    if not hasattr(functional, "scaled_dot_product_attention_"):
        functional.scaled_dot_product_attention_ = _attention  # type: ignore[attr-defined]


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    training: bool = True,
    attention_op: str | None = None,
) -> Any:
    """softmax(q kᵀ · scale) v for [B, S, heads, D], with the signature that ppdiffusers uses; all ways compute this."""
    import paddle.nn.functional as functional

    if scale is not None:  # Paddle's own divides by √D always
        query = query * (scale * query.shape[-1] ** 0.5)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, training)
