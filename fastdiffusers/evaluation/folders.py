"""The same figures from two folders of pictures and a file of prompts, whoever drew them. No Paddle at the top."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation.backbone import CLIP, INCEPTION, Backbone, few_note
from fastdiffusers.evaluation.meter import Meter
from fastdiffusers.metrics import frechet_distance, kernel_distance, psnr, ssim

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
BATCH = 32
"""Pictures that are in memory at once: thousands of large ones are too many."""
PSNR_MOST = 99.0


def picture_files(folder: Path) -> list[Path]:
    """Every picture of a folder in the order of names (numbers in names count as numbers)."""
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder of pictures")
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES), key=_natural)
    if not files:
        raise InputError(f"{str(folder)!r} holds no pictures ({', '.join(SUFFIXES)})")
    return files


def read_picture(file: Path) -> np.ndarray:
    """uint8 ``[H, W, 3]``."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{str(file)!r} is not a readable picture: {reason}") from None


def compare_folders(
    first: Path,
    second: Path,
    prompts: Sequence[str] | None,
    paired: bool,
    show: bool = True,
    clip: Backbone | None = None,
    inception: Backbone | None = None,
) -> dict[str, Any]:
    """FD, kernel distance, CLIP score (with prompts); with ``paired`` PSNR and SSIM of pictures of the same place.

    With ``clip`` the CLIP score is that network's, and the scorer's is beside it; with ``inception`` FID and KID of its
    features are beside the scorer's distances.
    """
    if clip is not None and prompts is None:
        raise InputError("--clip scores pictures by their prompts; give --prompts FILE, one a picture")
    sides = [picture_files(first), picture_files(second)]
    for files in sides if prompts is not None else ():
        if len(files) != len(prompts or ()):
            raise InputError(f"{len(prompts or ())} prompts for {len(files)} pictures; give one of each")
    if paired and len(sides[0]) != len(sides[1]):
        raise InputError(f"{len(sides[0])} and {len(sides[1])} pictures cannot be paired")
    import fastdiffusers.scorer

    scorer = fastdiffusers.scorer.load()
    texts = None if prompts is None else scorer.embed_texts(list(prompts)).astype(np.float64)
    others = [backbone for backbone in (clip, inception) if backbone is not None]
    backbones = {backbone.kind: backbone.label for backbone in others}  # opened before the long part
    pairs = _paired(*sides) if paired else {}  # before the long part: it finds sizes that differ
    with Meter("judging", sum(map(len, sides)), "pictures", show) as meter:
        seen = [_judge(scorer, files, texts, others, meter) for files in sides]
    kernel = kernel_distance(seen[0].features, seen[1].features)
    report: dict[str, Any] = {
        "first": str(first),
        "second": str(second),
        "n": [len(files) for files in sides],
        "scorer": scorer.sha256,
        "fd": frechet_distance(seen[0].features, seen[1].features),
        "kid": kernel.mean,
        "kid_error": kernel.error,
    }
    if texts is not None:
        report.update({f"clip_{name}": side.clip for name, side in zip(("first", "second"), seen, strict=True)})
    if clip is not None:
        report["clip_network"] = backbones[CLIP]
        vectors = clip.network.embed_texts(list(prompts or ())).astype(np.float64)
        for name, side in zip(("first", "second"), seen, strict=True):
            report[f"clip_scorer_{name}"] = side.clip
            images = side.others[CLIP].astype(np.float64)
            report[f"clip_{name}"] = float(np.einsum("nd,nd->n", images, vectors).mean())
    if inception is not None:
        own, reference = (side.others[INCEPTION] for side in seen)
        kernel = kernel_distance(own, reference)
        report |= {"inception": backbones[INCEPTION], "fid": frechet_distance(own, reference, few=True)}
        report |= {"kid_inception": kernel.mean, "kid_inception_error": kernel.error}
        note = few_note(min(map(len, sides)), own.shape[1])
        report |= {"fid_note": note} if note else {}
    return {**report, **pairs}


@dataclass(frozen=True)
class _Seen:
    """What is said of a folder: the scorer's features ``[N, 64]`` and mean cosine with prompts; by others."""

    features: np.ndarray
    clip: float | None
    others: dict[str, np.ndarray]


def _judge(
    scorer: Any, files: Sequence[Path], texts: np.ndarray | None, others: Sequence[Backbone], meter: Meter
) -> _Seen:
    features: list[np.ndarray] = []
    seen: dict[str, list[np.ndarray]] = {backbone.kind: [] for backbone in others}
    cosines: list[np.ndarray] = []
    for start, some in _batches(files):
        pictures = [Image.fromarray(read_picture(file)) for file in some]
        features.append(scorer.features(pictures))
        for backbone in others:
            seen[backbone.kind].append(backbone.see(pictures))
        if texts is not None:
            images = scorer.embed_images(pictures).astype(np.float64)
            cosines.append(np.einsum("nd,nd->n", images, texts[start : start + len(some)]))
        meter.add(len(some))
    by_others = {kind: np.concatenate(parts) for kind, parts in seen.items()}
    return _Seen(np.concatenate(features), float(np.concatenate(cosines).mean()) if cosines else None, by_others)


def _batches(files: Sequence[Path]) -> Iterator[tuple[int, Sequence[Path]]]:
    return ((start, files[start : start + BATCH]) for start in range(0, len(files), BATCH))


def _paired(first: Sequence[Path], second: Sequence[Path]) -> dict[str, float]:
    noise: list[float] = []
    alike: list[float] = []
    for one, other in zip(first, second, strict=True):
        a, b = read_picture(one), read_picture(other)
        if a.shape != b.shape:
            sizes = f"{a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]}"
            raise InputError(f"{one.name!r} and {other.name!r} are {sizes} and cannot be paired")
        noise.append(min(psnr(a, b), PSNR_MOST))
        alike.append(ssim(a, b))
    return {"psnr": float(np.mean(noise)), "ssim": float(np.mean(alike))}


def _natural(file: Path) -> tuple[tuple[bool, int, str], ...]:
    """``a2`` before ``a10``: numbers by value, the rest by letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", file.name)
    return tuple((False, int(part), part) if part[0] in "0123456789" else (True, 0, part) for part in parts)
