"""Grids that show: the fixed prompts, guidance, image-to-image, true classifier-free guidance, held-out concepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bench_setup import SUITES, Setup, write_picture
from measures import GUIDANCES, STEPS
from PIL import Image
from wishes import Wish, World, label_wish

from fastdiffusers.metrics import psnr
from fastdiffusers.zoo.pretrain.pictures import grid

SHOWN = 8
STRENGTHS = (0.3, 0.6, 0.9)
CHANGED = 16
TRUE_CFG_PROMPTS = 24
TRUE_CFG_SCALES = (1.0, 2.0, 4.0)


def read_prompts(path: Path = SUITES / "grid-64.txt") -> list[str]:
    """The lines of a prompt file without comments and blank ones."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def fixed_grid(setup: Setup, path: Path) -> tuple[list[str], np.ndarray]:
    """The prompts of grid-64.txt as 8 × 8 pictures, prompt i with seed i; the prompts and the pictures.

    These are the seeds of ``fastdiff infer --prompts benchmarks/suites/grid-64.txt --seed 0 --grid``.
    """
    prompts = read_prompts()
    pictures = setup.draw(setup.set(prompts, range(len(prompts)), STEPS))[0]
    write_picture(path, grid(pictures, 8))
    return prompts, pictures


def guidance_grid(setup: Setup, world: World, path: Path) -> None:
    """Rows: guidance 1, 3.5 and 7; columns: prompts, each with the same noise in all rows."""
    prompts = some_prompts(world)
    sets = [setup.set(prompts, [0] * len(prompts), STEPS, guidance=value) for value in GUIDANCES]
    write_picture(path, grid(np.concatenate(setup.draw(*sets)), len(prompts)))


def image_to_image(setup: Setup, world: World, path: Path) -> list[dict[str, Any]]:
    """Real pictures changed towards another concept: first row as given, then by strength. Figures over 16 pairs."""
    rng = np.random.default_rng(71)
    codes = list(world.concepts)
    chosen = rng.permutation(len(codes))[: 2 * CHANGED]
    given = [label_wish(world.entry(codes[i])) for i in chosen[:CHANGED]]
    wanted = [label_wish(world.entry(codes[i])).text for i in chosen[CHANGED:]]
    sources = world.render([Wish(w.text, w.hexcode, None, "white") for w in given], rng)
    images = [Image.fromarray(picture) for picture in sources]
    rows, figures = [sources[:SHOWN]], []
    for strength in STRENGTHS:
        out = plain(setup, wanted, image=images, strength=strength, guidance_scale=setup.options.guidance)
        rows.append(out[:SHOWN])
        judged = setup.judge_pictures(out, wanted)
        figures.append(
            {
                "strength": strength,
                "psnr_to_source": float(np.mean([psnr(a, b) for a, b in zip(out, sources, strict=True)])),
                "clip_to_prompt": float(judged.clip_scores.mean()),
            }
        )
    write_picture(path, grid(np.concatenate(rows), SHOWN))
    return figures


def true_guidance(setup: Setup, world: World, path: Path) -> list[dict[str, Any]]:
    """Rows: true classifier-free guidance off (1), 2 and 4, the embedded guidance being 1 in all of them."""
    prompts = some_prompts(world, TRUE_CFG_PROMPTS)
    rows, figures = [], []
    for scale in TRUE_CFG_SCALES:
        out = plain(setup, prompts, guidance_scale=1.0, negative_prompt="", true_cfg_scale=scale)
        rows.append(out[:SHOWN])
        judged = setup.judge_pictures(out, prompts)
        figures.append({"true_cfg_scale": scale, "clip": float(judged.clip_scores.mean())})
    write_picture(path, grid(np.concatenate(rows), SHOWN))
    return figures


def plain(setup: Setup, prompts: list[str], **arguments: Any) -> np.ndarray:
    """Pictures by plain calls of the pipeline, picture i with seed i: uint8 ``[N, H, W, 3]``."""
    out = setup.pipe(prompts, seed=0, num_inference_steps=STEPS, **arguments)
    return np.stack([np.asarray(image) for image in out.images])


def some_prompts(world: World, count: int = SHOWN) -> list[str]:
    """Labels and labels on a ground, by turns."""
    grounded = world.pairs(False, None, np.random.default_rng(72))
    codes = list(world.concepts)
    spread = np.linspace(0, len(codes) - 1, count).round().astype(int)
    wishes = []
    for i, place in enumerate(spread):
        coloured = [wish for wish in grounded if wish.hexcode == codes[place]]
        wishes.append(coloured[0] if i % 2 and coloured else label_wish(world.entry(codes[place])))
    return [wish.text for wish in wishes]
