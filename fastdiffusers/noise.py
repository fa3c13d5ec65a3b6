"""The starting noise: bit for bit the numbers that PyTorch draws on a CPU for the same seed.

Pictures can be compared with another program's only if both start from the same noise. PyTorch's CPU generator is the
Mersenne twister MT19937 (Matsumoto & Nishimura 1998), which NumPy has too; the rest is how 32-bit words become normal
numbers (Box & Muller 1958), and that depends on how many are asked for:

- 16 or more: float32, in runs of 16, number j paired with number j + 8. On x86 with AVX2 or AVX-512 logarithm, sine
  and cosine are those of the Cephes library (Moshier 1989), evaluated with fused multiply-adds. That is what `randn`
  computes, on every machine. PyTorch's code for CPUs without AVX2 differs from it by about 2e-6 at most.
- fewer than 16: float64, one pair after the other, then rounded.

The noise is that of ``dtype=torch.float32``. PyTorch's bfloat16 and float16 noise is the same, rounded, if the count is
a multiple of 16 (every FLUX latent) or less than 16; its float64 noise is not.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError

Float32 = NDArray[np.float32]

_RUN = 16
_BLOCK = 4096 * _RUN  # numbers per pass: the temporaries stay in the processor's cache

# Cephes, logf.c, sinf.c and cosf.c: polynomial coefficients, ln 2 and pi/4 split into exactly representable parts.
_LOG = np.array(
    [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ],
    np.float32,
)
_LN2_LOW, _LN2_HIGH = np.float32(-2.12194440e-4), np.float32(0.693359375)
_SIN = np.array([-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1], np.float32)
_COS = np.array([2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2], np.float32)
_MINUS_QUARTER_PI = np.array([-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8], np.float32)
_HALF, _ONE, _TWO_PI = np.float32(0.5), np.float32(1.0), np.float32(2.0 * math.pi)


def randn(shape: Sequence[int], seed: int) -> Float32:
    """Standard normal numbers, float32, equal to ``torch.randn(shape, generator=Generator("cpu").manual_seed(seed))``.

    ``seed`` is 0 … 2⁶⁴ − 1. Like PyTorch, only its low 32 bits matter: seeds that differ by 2³² give the same noise.
    Raises `InputError` for a negative size or a seed outside that range.
    """
    sizes = tuple(_integer(size, "size") for size in shape)
    if any(size < 0 for size in sizes):
        raise InputError(f"shape {sizes} has a negative size; every size must be 0 or more")
    twister = np.random.RandomState(check_seed(seed) & 0xFFFFFFFF)
    count = math.prod(sizes)
    return (_few(twister, count) if count < _RUN else _many(twister, count)).reshape(sizes)


def picture_noise(shape: Sequence[int], seeds: Sequence[int]) -> Float32:
    """Noise for a batch [len(seeds), *shape]; ``shape`` is that of one picture, without the batch axis.

    Every picture has a draw of its own, so picture i of a batch started at seed s is the picture of a single run with
    seed s + i, whatever the size of the batch.
    """
    seeds = list(seeds)
    if not seeds:
        raise InputError("no seeds were given; a batch needs one seed per picture")
    return np.concatenate([randn((1, *shape), seed) for seed in seeds])


def check_seed(seed: int) -> int:
    """``seed`` as an int if it is one that PyTorch and we take (0 … 2⁶⁴ − 1); `InputError` otherwise."""
    number = _integer(seed, "seed")
    if not 0 <= number < 2**64:
        raise InputError(f"seed {number} is out of range; a seed is an integer from 0 to 18446744073709551615")
    return number


def _integer(value: object, what: str) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{what} {value!r} is not an integer") from None


def _few(twister: np.random.RandomState, count: int) -> Float32:
    """Fewer than 16: Box-Muller in float64 on 53-bit uniforms, cosine first, its sine kept for the next number."""
    pairs = (count + 1) // 2
    words = _words(twister, 4 * pairs).astype(np.uint64)
    bits = (words[0::2] << np.uint64(32) | words[1::2]) & np.uint64(2**53 - 1)
    uniform = bits.astype(np.float64) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log1p(-uniform[1::2])), 2.0 * math.pi * uniform[0::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:count].astype(np.float32)


def _many(twister: np.random.RandomState, count: int) -> Float32:
    """16 or more: whole runs; if the last is not whole, the last 16 numbers are drawn anew as a run of their own."""
    result = np.empty(count, np.float32)
    whole = count - count % _RUN
    for start in range(0, whole, _BLOCK):
        stop = min(start + _BLOCK, whole)
        result[start:stop] = _runs(_words(twister, stop - start))
    if count != whole:
        _words(twister, count - whole)  # PyTorch draws these for the broken run, then throws them away
        result[-_RUN:] = _runs(_words(twister, _RUN))
    return result


def _words(twister: np.random.RandomState, count: int) -> NDArray[np.uint32]:
    return twister.randint(0, 2**32, size=count, dtype=np.uint32)


def _runs(words: NDArray[np.uint32]) -> Float32:
    """Box-Muller in float32: 24-bit uniforms, within each run of 16 the first eight give radii, the others angles."""
    uniform = ((words & 0xFFFFFF).astype(np.float32) * np.float32(2.0**-24)).reshape(-1, 2, 8)
    radius = np.sqrt(np.float32(-2.0) * _log(_ONE - uniform[:, 0]))
    sine, cosine = _sincos(_TWO_PI * uniform[:, 1])
    normal = np.stack([radius * cosine, radius * sine], axis=1).ravel()
    return normal + np.float32(0.0)  # as PyTorch adds the mean: no negative zeros


def _fma(a: Float32, b: Float32, c: Float32) -> Float32:
    """a·b + c, rounded to float32. The product is exact in float64; the sum is rounded there first, at 2⁻⁵³, which
    showed in none of 7.8·10⁸ numbers compared with PyTorch's."""
    return (a.astype(np.float64) * b + c).astype(np.float32)


def _log(x: Float32) -> Float32:
    """Natural logarithm of 0 < x ≤ 1: x = m·2ᵉ with √½ ≤ m < √2, then a polynomial in m − 1."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < np.float32(math.sqrt(0.5))
    e = (exponent - small).astype(np.float32)
    m = np.where(small, mantissa + mantissa, mantissa) - _ONE
    square = m * m
    p = np.full_like(m, _LOG[0])
    for coefficient in _LOG[1:]:
        p = _fma(p, m, coefficient)
    p = _fma(p * m, square, e * _LN2_LOW) - square * _HALF
    return _fma(e, _LN2_HIGH, m + p)


def _sincos(x: Float32) -> tuple[Float32, Float32]:
    """Sine and cosine of 0 ≤ x ≤ 2π: x less an even multiple of π/4, then a polynomial for each."""
    octant = (x * np.float32(4.0 / math.pi)).astype(np.int32) + 1 & ~1
    rest = x
    for part in _MINUS_QUARTER_PI:
        rest = _fma(octant.astype(np.float32), part, rest)
    square = rest * rest
    s, c = np.full_like(x, _SIN[0]), np.full_like(x, _COS[0])
    for sine_coefficient, cosine_coefficient in zip(_SIN[1:], _COS[1:], strict=True):
        s, c = _fma(s, square, sine_coefficient), _fma(c, square, cosine_coefficient)
    s = _fma(s * square, rest, rest)
    c = _fma(c * square, square, -(square * _HALF)) + _ONE
    odd = (octant & 2) != 0  # in the quadrants around the vertical axis the two change places
    sine, cosine = np.where(odd, c, s), np.where(odd, s, c)
    return np.where(octant & 4, -sine, sine), np.where((octant - 2) & 4, cosine, -cosine)
