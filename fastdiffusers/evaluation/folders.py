"""The same figures from two folders of pictures and a file of prompts, whoever drew them. No Paddle at the top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import frechet_distance, kernel_distance, psnr, ssim

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def read_folder(folder: Path) -> list[np.ndarray]:
    """Every picture of a folder in the order of names (numbers in names count as numbers): uint8 ``[H, W, 3]`` each."""
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder of pictures")
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES), key=_natural)
    if not files:
        raise InputError(f"{str(folder)!r} holds no pictures ({', '.join(SUFFIXES)})")
    found = []
    for file in files:
        try:
            with Image.open(file) as image:
                found.append(np.asarray(image.convert("RGB")))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(f"{str(file)!r} is not a readable picture: {str(error)[:200]}") from None
    return found


def compare_folders(first: Path, second: Path, prompts: Sequence[str] | None, paired: bool) -> dict[str, Any]:
    """FD, kernel distance, CLIP score (with prompts); with ``paired`` PSNR and SSIM of pictures of the same place."""
    import fastdiffusers.scorer

    scorer = fastdiffusers.scorer.load()
    sides = [read_folder(first), read_folder(second)]
    features = [scorer.features([Image.fromarray(picture) for picture in side]) for side in sides]
    kernel = kernel_distance(*features)
    report: dict[str, Any] = {
        "first": str(first),
        "second": str(second),
        "n": [len(side) for side in sides],
        "scorer": scorer.sha256,
        "fd": frechet_distance(*features),
        "kid": kernel.mean,
        "kid_error": kernel.error,
    }
    if prompts is not None:
        for name, side in zip(("clip_first", "clip_second"), sides, strict=True):
            if len(side) != len(prompts):
                raise InputError(f"{len(prompts)} prompts for {len(side)} pictures; give one of each")
            texts = scorer.embed_texts(list(prompts)).astype(np.float64)
            images = scorer.embed_images([Image.fromarray(picture) for picture in side]).astype(np.float64)
            report[name] = float(np.einsum("nd,nd->n", images, texts).mean())
    if paired:
        if len(sides[0]) != len(sides[1]):
            raise InputError(f"{len(sides[0])} and {len(sides[1])} pictures cannot be paired")
        pairs = list(zip(*sides, strict=True))
        for a, b in pairs:
            if a.shape != b.shape:
                raise InputError(
                    f"pictures of {a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]} cannot be paired"
                )
        report["psnr"] = float(np.mean([min(psnr(a, b), 99.0) for a, b in pairs]))
        report["ssim"] = float(np.mean([ssim(a, b) for a, b in pairs]))
    return report


def _natural(file: Path) -> tuple[Any, ...]:
    digits = "".join(c if c.isdigit() else " " for c in file.stem).split()
    return (*map(int, digits), file.name)
