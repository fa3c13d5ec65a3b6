"""What can be known of a model without loading it: its family, configuration, features, size and hash. No Paddle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import WeightsError, one_of
from fastdiffusers.files import atomic_write, cache_dir, sha256_file
from fastdiffusers.models.parts import FLUX_PARTS, Parts
from fastdiffusers.weights.layout import read_config, read_json, weight_files
from fastdiffusers.zoo import EMBEDDED, OUTLINES, embedded_path, outline_path

CARD = "fastdiff.json"


@dataclass(frozen=True)
class ModelInfo:
    """A model of the diffusers layout, described from its JSON files and safetensors headers.

    Attributes:
        name: what the user called it: an embedded model's name, or the folder's.
        family: name of the pipeline family (``flux``).
        path: its folder.
        features: what accelerators may require: those of the family, and ``guidance`` for a guidance embedding.
        dtype: dtype of the transformer's weights on disk.
        transformer, vae: parsed configurations; ``transformer`` is that of whatever is run at every step, a UNet too.
        default_setting: steps, guidance and size that are used when the user gives none.
        card: content of ``fastdiff.json``, ours, if the folder has one (prompts, words, how it was made).
        parts: what the folder consists of, as data of the family.
        note: what every record of an accelerator on this model should say; empty for nothing.
        outline: only its configuration is here, no weights; ``dtype`` is then that of the released ones.
    """

    name: str
    family: str
    path: Path
    features: frozenset[str]
    dtype: str
    transformer: dict[str, Any]
    vae: dict[str, Any]
    default_setting: Setting
    card: dict[str, Any] = field(default_factory=dict)
    parts: Parts = FLUX_PARTS
    note: str = ""
    outline: bool = False

    @cached_property
    def sha256(self) -> str:
        """Hash over every file that decides a picture: weights, configurations, vocabularies.

        SHA-256 over the sorted lines ``<sha256 of file>  <relative path>``. Hashes of large files are remembered by
        size and time of change, so that 30 GB are read once.
        """
        names = sorted(
            item.relative_to(self.path).as_posix()
            for part in self.parts.names
            for item in (self.path / part).glob("*")
            if item.suffix in self.parts.suffixes
        )
        lines = [f"{_file_hash(self.path / name)}  {name}\n" for name in ["model_index.json", *names]]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell on a side."""
        return 2 ** (len(self.vae["block_out_channels"]) - 1)

    @property
    def unit(self) -> int:
        """Pixels on a side of an image token; the sides of a picture are multiples of it."""
        return self.parts.cell * self.vae_scale_factor

    def tokens(self, height: int, width: int) -> int:
        """Number of image tokens of a picture of ``height`` × ``width`` pixels."""
        return (height // self.unit) * (width // self.unit)

    def scheduler(self) -> dict[str, Any]:
        """The parsed configuration of the scheduler."""
        return read_config(self.path / "scheduler")

    def parameters(self) -> dict[str, int]:
        """Number of weights of each part, from the safetensors headers; of an outline from its configuration."""
        if self.outline:
            from fastdiffusers.costs import Shape

            return {self.parts.denoiser: Shape.of(self.transformer).parameters(), **self.card["parameters"]}
        return {
            part: sum(sum(_sizes(file).values()) for file in weight_files(self.path / part))
            for part in self.parts.weighted
            if (self.path / part).is_dir()
        }


def describe(name_or_path: str | Path) -> ModelInfo:
    """Describe an embedded model or a folder of the diffusers layout.

    Errors (`WeightsError`, one line): neither of both, a folder of another layout, a pipeline no plugin brings.
    """
    outline = outline_path(str(name_or_path))
    folder = outline or embedded_path(str(name_or_path)) or Path(name_or_path)
    try:
        found = folder.is_dir()
    except OSError:  # a name longer than the file system allows
        found = False
    if not found:
        raise WeightsError(
            f"no model {str(name_or_path)[:200]!r}; valid: {', '.join(EMBEDDED)}, or a folder of the diffusers layout"
        )
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"{str(folder)!r} has no model_index.json; a model folder of the diffusers layout is needed "
            "(model_index.json beside a folder for each part)"
        )
    index = read_json(folder / "model_index.json")
    family = _family(str(index.get("_class_name")))
    parts = family.parts
    present = parts.of(index)
    lacking = [part for part in present if not (folder / part).is_dir()]
    if lacking:
        raise WeightsError(f"{str(folder)!r} lacks the folder {lacking[0]!r}; it needs {', '.join(present)}")
    denoiser, vae = read_config(folder / parts.denoiser), read_config(folder / "vae")
    if not isinstance(vae.get("block_out_channels"), list):
        raise WeightsError(
            f"{str(folder / 'vae')!r}: sample_size must be an integer and block_out_channels a list of integers"
        )
    guided = bool(denoiser.get("guidance_embeds"))
    card = _card(folder / CARD)
    return ModelInfo(
        name=_name(str(name_or_path), folder),
        family=family.name,
        path=folder,
        features=frozenset(family.features - {"guidance"} | ({"guidance"} if guided else set())),
        dtype="bfloat16" if outline else _dtype(weight_files(folder / parts.denoiser)[0]),
        transformer=denoiser,
        vae=vae,
        default_setting=_setting(parts.setting(denoiser, vae), card, folder / CARD),
        card=card,
        parts=parts,
        outline=outline is not None,
    )


def _setting(usual: Setting, card: dict[str, Any], file: Path) -> Setting:
    """The family's setting, or the steps and guidance that the model's card says (a merged student's)."""
    said = card.get("setting", {})
    valid = isinstance(said, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in said.values()
    )
    if not valid or not set(said) <= {"steps", "guidance"} or not isinstance(said.get("steps", 1), int):
        raise WeightsError(f"{str(file)!r}: setting is {said!r}; valid are steps, a whole number, and guidance")
    return replace(usual, **said)


def _name(given: str, folder: Path) -> str:
    return given if given in EMBEDDED else given.lower() if given.lower() in OUTLINES else folder.resolve().name


def _card(file: Path) -> dict[str, Any]:
    """The content of fastdiff.json; what others rely on has the type they expect."""
    card = read_json(file) if file.is_file() else {}
    for key in ("prompts", "words"):
        values = card.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise WeightsError(f"{str(file)!r}: {key} must be a list of texts")
    return card


def _family(class_name: str) -> Any:
    from fastdiffusers.plugins import registry

    families = {f.model_index_class: f for f in registry().pipelines.values() if f.model_index_class}
    if class_name not in families:
        raise WeightsError(one_of("pipeline class", class_name, families))
    return families[class_name]


def _header(file: Path) -> dict[str, Any]:
    try:
        with open(file, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > 100_000_000:
                raise ValueError("its header length is not plausible")
            header = json.loads(stream.read(size))
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        header.pop("__metadata__", None)
        for entry in header.values():
            if not all(isinstance(axis, int) for axis in entry["shape"]) or not isinstance(entry["dtype"], str):
                raise ValueError("its header has an entry without shape and dtype")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{str(file)!r} is truncated or no safetensors file: {error}") from None
    return header


def _sizes(file: Path) -> dict[str, int]:
    sizes = {}
    for key, entry in _header(file).items():
        count = 1
        for axis in entry["shape"]:
            count *= axis
        sizes[key] = count
    return sizes


def _dtype(file: Path) -> str:
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    kinds = [entry["dtype"] for entry in _header(file).values()]
    return names.get(max(set(kinds), key=kinds.count), "unknown") if kinds else "unknown"


_REMEMBERED_FROM = 50_000_000


def _file_hash(file: Path) -> str:
    stat = file.stat()
    if stat.st_size < _REMEMBERED_FROM:
        return sha256_file(file)
    key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    note = cache_dir() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    if note.is_file():
        return note.read_text().strip()
    value = sha256_file(file)
    with atomic_write(note) as path:
        path.write_text(value)
    return value
