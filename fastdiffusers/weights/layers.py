"""Between safetensors files and Paddle layers.

Parameter names are the same on both sides; only `Linear` weights turn: torch keeps [out, in], Paddle [in, out]. Files
that Paddle's libraries wrote keep them as Paddle does, and say so: their metadata has the format ``pd`` or ``np``.
A network is built without memory (`paddle.LazyGuard`) and filled tensor by tensor, so that loading needs the weights in
the dtype they are computed in and one tensor more.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import paddle
from paddle import nn
from safetensors import SafetensorError, safe_open
from safetensors.paddle import save_file

from fastdiffusers.counting import counted
from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.files import atomic_write
from fastdiffusers.weights.layout import DTYPES, read_config, weight_files

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_PORTION = 64 << 20
_PADDLE_SIDE = {"pd", "np"}
_FLOATS = {"F64", "F32", "F16", "BF16"}

L = TypeVar("L", bound=nn.Layer)
Rename = Callable[[str], "str | None"]


def linear_weights(layer: nn.Layer) -> set[str]:
    """Names of the parameters that torch stores transposed."""
    return {
        f"{name}.weight".lstrip(".")
        for name, part in layer.named_sublayers(include_self=True)
        if isinstance(part, nn.Linear)
    }


def load_layer(cls: type[L], folder: str | Path, dtype: str = "float32") -> L:
    """Build ``cls`` from ``folder``'s config.json and fill it with the folder's weights, computed in ``dtype``."""
    folder = Path(folder)
    config = cls.Config.from_dict(read_config(folder))
    files = weight_files(folder)
    layer = build_lazy(cls, config)
    load_state(layer, files, dtype, rename=getattr(cls, "rename", None))
    layer.eval()
    return layer


def build_lazy(cls: type[L], config: Any) -> L:
    """``cls(config)`` with parameters that have names and shapes but no memory yet."""
    with paddle.LazyGuard():
        return cls(config)


def load_state(
    layer: nn.Layer,
    files: Iterable[str | Path],
    dtype: str = "float32",
    rename: Rename | None = None,
    constant: Callable[[str], bool] = lambda name: False,
) -> None:
    """Fill every parameter of ``layer`` from ``files``, converted to ``dtype``; buffers too, where the files have them.

    ``rename`` maps a name in the file to the layer's; ``None`` says that the weight is known and not needed.
    ``constant`` says which parameters the files may lack, because what they are built with is right. Errors, one line
    each: a truncated or corrupt file, a weight that the files lack or that nobody reads, a wrong shape, a
    dtype that is not a float.
    """
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    owners = {
        f"{prefix}.{name}".lstrip("."): (entries, name)
        for prefix, part in layer.named_sublayers(include_self=True)
        for entries in (part._parameters, part._buffers)
        for name in entries
        if entries[name] is not None
    }
    turned = linear_weights(layer)
    loaded: set[str] = set()
    for path in map(Path, files):
        for keys in _portions(path):
            with _opened(path) as reader:
                paddle_side = (reader.metadata() or {}).get("format") in _PADDLE_SIDE
                for key in keys:
                    name = rename(key) if rename else key
                    if name is None:
                        continue
                    if name not in owners:
                        raise WeightsError(f"{str(path)!r} holds {key!r}, which {type(layer).__name__} does not have")
                    if name in loaded:
                        raise WeightsError(f"{key!r} comes twice in the files of {type(layer).__name__}")
                    entries, own = owners[name]
                    turn = name in turned and not paddle_side
                    entries[own] = _read(reader, key, path, entries[own], turn, dtype)
                    loaded.add(name)
    missing = set()
    for name in {name for name, _ in layer.named_parameters()} - loaded:
        if not constant(name):
            missing.add(name)
        elif not owners[name][0][owners[name][1]]._is_initialized():
            owners[name][0][owners[name][1]].initialize()
    if missing:
        first = sorted(missing)[0]
        raise WeightsError(
            f"the files lack {counted(len(missing), 'weight')} of {type(layer).__name__}, the first is {first!r}"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(str(path), framework="paddle") as reader:
            yield reader
    except FileNotFoundError:
        raise WeightsError(f"{str(path)!r} does not exist") from None
    except (SafetensorError, OSError, struct.error) as error:
        raise WeightsError(f"{str(path)!r} is truncated or no safetensors file: {error}") from None


def _portions(path: Path) -> Iterator[list[str]]:
    """The names in the file, in groups of about 64 MiB.

    A file is mapped into memory, and what was read of it stays resident until it is closed: opening it once per portion
    keeps a second copy of the weights from building up.
    """
    with _opened(path) as reader:
        keys = list(reader.keys())
        sizes = [math.prod(reader.get_slice(key).get_shape()) * 4 for key in keys]
    portion: list[str] = []
    filled = 0
    for key, size in zip(keys, sizes, strict=True):
        portion.append(key)
        filled += size
        if filled >= _PORTION:
            yield portion
            portion, filled = [], 0
    if portion:
        yield portion


def _read(reader: Any, key: str, path: Path, parameter: Any, turn: bool, dtype: str) -> Any:
    part = reader.get_slice(key)
    shape = list(part.get_shape())
    wanted = list(parameter.shape)[::-1] if turn else list(parameter.shape)
    if shape != wanted:
        raise WeightsError(f"{key!r} in {str(path)!r} has the shape {shape}, the configuration asks for {wanted}")
    if part.get_dtype() not in _FLOATS:
        raise WeightsError(f"{key!r} in {str(path)!r} is {part.get_dtype()}; weights are F32, F16 or BF16")
    tensor = reader.get_tensor(key)
    # what comes out must own its memory: a tensor that is neither turned nor converted would still be the mapped file
    if turn:
        tensor = tensor.astype(dtype).transpose([1, 0]).contiguous()
    elif tensor.dtype == getattr(paddle, dtype):
        tensor = tensor.clone()
    else:
        tensor = tensor.astype(dtype)
    if not isinstance(parameter, paddle.base.framework.EagerParamBase):  # a buffer
        return tensor
    made = paddle.base.framework.EagerParamBase.from_tensor(tensor, name=parameter.name)
    made.stop_gradient = parameter.stop_gradient
    return made


def save_layer(layer: nn.Layer, folder: str | Path, dtype: str = "float32", **options: Any) -> None:
    """Write ``config.json`` and the weights of one network so that diffusers or transformers opens the folder.

    ``options`` go to `save_state`. transformers' classes read ``model.safetensors``: a network says so in
    ``WEIGHTS_NAME``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options.setdefault("weights_name", getattr(layer, "WEIGHTS_NAME", WEIGHTS_NAME))
    save_state(layer, folder, dtype=dtype, **options)
    with atomic_write(folder / "config.json") as path:
        path.write_text(json.dumps(layer.config.to_dict(), indent=2) + "\n", encoding="utf-8")


WEIGHTS_NAME = "diffusion_pytorch_model"


def save_state(
    layer: nn.Layer,
    folder: str | Path,
    weights_name: str = WEIGHTS_NAME,
    dtype: str = "float32",
    max_shard_bytes: int = 10_000_000_000,
) -> list[Path]:
    """Write the parameters in torch's orientation; more than ``max_shard_bytes`` become shards with an index."""
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    folder = Path(folder)
    turned = linear_weights(layer)
    parameters = dict(layer.named_parameters())
    groups = _group({name: p.size * _BYTES[dtype] for name, p in parameters.items()}, max_shard_bytes)
    written: list[Path] = []
    index: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        shard = "" if len(groups) == 1 else f"-{number:05d}-of-{len(groups):05d}"
        target = folder / f"{weights_name}{shard}.safetensors"
        tensors = {name: _torch_side(parameters[name], name in turned, dtype) for name in names}
        with atomic_write(target) as path:
            save_file(tensors, str(path), metadata={"format": "pt"})
        index.update(dict.fromkeys(names, target.name))
        written.append(target)
    if len(groups) > 1:
        total = sum(p.size * _BYTES[dtype] for p in parameters.values())
        with atomic_write(folder / f"{weights_name}.safetensors.index.json") as path:
            path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n")
    return written


def _torch_side(parameter: paddle.Tensor, turn: bool, dtype: str) -> paddle.Tensor:
    tensor = parameter.detach().astype(dtype)
    return tensor.transpose([1, 0]).contiguous() if turn else tensor


def _group(sizes: dict[str, int], limit: int) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups
