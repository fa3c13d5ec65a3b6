"""Makes noise.npz: numbers drawn by PyTorch's CPU generator. Needs torch and numpy; run from anywhere.

Whole arrays for small sizes, and for large ones the SHA-256 of the bytes with the first and last 32 numbers, so that
the file stays small. Made on a CPU with AVX-512 (the AVX2 numbers are the same ones).
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

SMALL = [
    (),
    (1,),
    (2,),
    (3,),
    (7,),
    (15,),
    (16,),
    (17,),
    (30,),
    (31,),
    (32,),
    (33,),
    (5, 7),
    (1, 2, 3, 4),
    (1, 16, 4, 6),
]
LARGE = [(1, 16, 32, 32), (65536,), (65537,), (131071,), (1, 16, 128, 128)]
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63, 2**64 - 1]


def draw(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """``torch.randn`` on the CPU with a generator of its own."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).numpy()


def main() -> None:
    arrays = {}
    for seed in SEEDS:
        for shape in SMALL:
            arrays[f"{seed}|{','.join(map(str, shape))}"] = draw(shape, seed)
    for seed in (0, 2**32 - 1):
        for shape in LARGE:
            numbers = draw(shape, seed)
            key = f"{seed}|{','.join(map(str, shape))}"
            arrays[f"{key}|sha256"] = np.array(hashlib.sha256(numbers.tobytes()).hexdigest())
            arrays[f"{key}|ends"] = np.concatenate([numbers.ravel()[:32], numbers.ravel()[-32:]])
    np.savez_compressed(Path(__file__).with_name("noise.npz"), **arrays)


if __name__ == "__main__":
    main()
