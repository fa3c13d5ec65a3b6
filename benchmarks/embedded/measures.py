"""Numbers for "accept it when": does the model draw what it is told, in as many ways as its data?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from bench_setup import Setup
from wishes import WHITE, Wish, World, label_wish

from fastdiffusers.metrics import ground_colour, pairwise_distance, retrieval
from fastdiffusers.zoo.emoji.captions import PALETTE, background_colour

STEPS = 28
GROUNDS = (*PALETTE, WHITE)
RETRIEVAL_PICTURES, PAIRS, WHITES = 500, 240, 120
DIVERSITY_PROMPTS, DIVERSITY_SEEDS, DATA_DRAWS = 32, 16, 8
GUIDANCES = (1.0, 3.5, 7.0)
GUIDANCE_PICTURES = 192


def nearest_ground(picture: np.ndarray) -> str:
    """The name of the ground that the picture's border is nearest to in RGB: a colour of `PALETTE` or white."""
    found = np.asarray(ground_colour(picture), dtype=np.float64)
    return min(GROUNDS, key=lambda name: float(np.linalg.norm(found - np.asarray(background_colour(name)))))


def told_from_data(setup: Setup, world: World) -> dict[str, Any]:
    """Retrieval among 100 captions of the model's pictures and of real renderings of the same prompts."""
    wishes = world.captions(RETRIEVAL_PICTURES, np.random.default_rng(21))
    prompts = [wish.text for wish in wishes]
    drawn = setup.judge(setup.set(prompts, range(30_000_000, 30_000_000 + len(prompts)), STEPS))[0]
    real = setup.judge_pictures(world.render(wishes, np.random.default_rng(22)), prompts)
    model, data = (retrieval(one.images, one.texts, prompts) for one in (drawn, real))
    return {
        "n": len(prompts),
        "model": model,
        "data": data,
        "ratio": model / data if data else 0.0,
        "clip": float(drawn.clip_scores.mean()),
        "clip_data": float(real.clip_scores.mean()),
    }


def grounds_obeyed(setup: Setup, world: World) -> dict[str, Any]:
    """How often the ground has the colour that the prompt names, for pairs seen in training, never seen, and white."""
    rng = np.random.default_rng(31)
    every = list(world.concepts)
    asked = {
        "seen": world.pairs(False, PAIRS, rng),
        "never_seen": world.pairs(True, None, rng),
        "white": [label_wish(world.entry(every[i]), WHITE) for i in rng.permutation(len(every))[:WHITES]],
    }
    sets = {
        name: setup.set([w.text for w in wishes], range(31_000_000, 31_000_000 + len(wishes)), STEPS)
        for name, wishes in asked.items()
    }
    drawn = dict(zip(asked, setup.draw(*sets.values()), strict=True))
    return {name: obeyed(asked[name], drawn[name]) for name in asked}


def obeyed(wishes: Sequence[Wish], pictures: np.ndarray) -> dict[str, Any]:
    """Share of ``pictures`` on the ground that was asked for, by colour too, and what came instead."""
    found = [nearest_ground(picture) for picture in pictures]
    hits, asked, instead = Counter(), Counter(), Counter()
    wrong = []
    for wish, ground in zip(wishes, found, strict=True):
        asked[wish.ground] += 1
        hits[wish.ground] += ground == wish.ground
        if ground != wish.ground:
            instead[f"{wish.ground} -> {ground}"] += 1
            wrong.append(wish.text)
    return {
        "n": len(wishes),
        "obeyed": sum(hits.values()) / len(wishes),
        "by_colour": {colour: hits[colour] / asked[colour] for colour in GROUNDS if asked[colour]},
        "instead": dict(instead.most_common()),
        "wrong": wrong[:20],
    }


def diversity(setup: Setup, world: World) -> dict[str, Any]:
    """Mean pairwise distance of 16 seeds a label-only prompt, beside 16 data pictures under the same caption."""
    wishes = world.bare(DIVERSITY_PROMPTS)
    count = DIVERSITY_SEEDS
    item = setup.set(
        [wish.text for wish in wishes for _ in range(count)],
        [*range(40_000_000, 40_000_000 + count)] * len(wishes),
        STEPS,
    )
    drawn = setup.draw(item)[0].reshape(len(wishes), count, setup.size, setup.size, 3)
    rng = np.random.default_rng(41)
    rows = []
    for wish, pictures in zip(wishes, drawn, strict=True):
        data = [pairwise_distance(world.render([wish] * count, rng)) for _ in range(DATA_DRAWS)]
        rows.append({"prompt": wish.text, "model": pairwise_distance(pictures), "data": float(np.mean(data))})
    model, data = (float(np.mean([row[key] for row in rows])) for key in ("model", "data"))
    return {
        "prompts": len(wishes),
        "seeds": count,
        "model": model,
        "data": data,
        "ratio": model / data,
        "worst": sorted(({**row, "ratio": row["model"] / row["data"]} for row in rows), key=lambda row: row["ratio"])[
            :5
        ],
    }


def guidance_acts(setup: Setup, world: World) -> list[dict[str, Any]]:
    """What the guidance that is fed in changes: CLIP score and retrieval rise, diversity falls, on the same noise."""
    wishes = world.captions(GUIDANCE_PICTURES, np.random.default_rng(51))
    prompts = [wish.text for wish in wishes]
    seeds = range(50_000_000, 50_000_000 + len(prompts))
    sets = [setup.set(prompts, seeds, STEPS, guidance=value) for value in GUIDANCES]
    pictures = setup.draw(*sets)
    base = pictures[0].astype(np.float64) / 255
    return [
        {
            "guidance": value,
            "clip": float(judgement.clip_scores.mean()),
            "retrieval": retrieval(judgement.images, judgement.texts, prompts),
            "distance_from_1": float(np.sqrt(np.square(drawn / 255.0 - base).mean(axis=(1, 2, 3))).mean()),
        }
        for value, drawn, judgement in zip(GUIDANCES, pictures, setup.judge(*sets), strict=True)
    ]


def held_out_concepts(setup: Setup, trained: World, held_out: World) -> tuple[dict[str, Any], np.ndarray]:
    """Concepts that were never trained on: retrieval of their labels among 99 trained ones; one picture of each."""
    wishes, seeds = held_out.bare(len(held_out.concepts)), 8
    prompts = [wish.text for wish in wishes for _ in range(seeds)]
    item = setup.set(prompts, [*range(60_000_000, 60_000_000 + seeds)] * len(wishes), STEPS)
    drawn = setup.judge(item)[0]
    repeated = [wish for wish in wishes for _ in range(seeds)]
    real = setup.judge_pictures(held_out.render(repeated, np.random.default_rng(61)), prompts)
    rng = np.random.default_rng(62)
    codes = list(trained.concepts)
    others = [label_wish(trained.entry(codes[i])).text for i in rng.permutation(len(codes))[:99]]
    vectors = setup.embed_texts(others)
    result: dict[str, Any] = {"concepts": len(wishes), "seeds": seeds}
    for name, one in (("model", drawn), ("data", real)):
        first = one.clip_scores > (one.images @ vectors.T).max(axis=1)
        by_concept = first.reshape(len(wishes), seeds).mean(axis=1)
        result[name] = float(first.mean())
        result[f"{name}_by_concept"] = dict(zip((wish.text for wish in wishes), by_concept.tolist(), strict=True))
    return result, item.load(setup.root)[::seeds]
