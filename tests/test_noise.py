"""`fastdiffusers.noise` against numbers drawn by PyTorch (tests/golden/make_noise.py)."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.noise import check_seed, picture_noise, randn

ROOT = Path(__file__).parents[1]
GOLDEN = np.load(ROOT / "tests" / "golden" / "noise.npz")
WHOLE = [key for key in GOLDEN.files if key.count("|") == 1]
HASHED = [key.removesuffix("|sha256") for key in GOLDEN.files if key.endswith("|sha256")]


def parse(key: str) -> tuple[tuple[int, ...], int]:
    seed, shape = key.split("|")
    return tuple(int(size) for size in shape.split(",") if size), int(seed)


@pytest.mark.parametrize("key", WHOLE)
def test_same_bits_as_torch(key):
    shape, seed = parse(key)
    ours = randn(shape, seed)
    assert ours.dtype == np.float32 and ours.shape == shape
    np.testing.assert_array_equal(ours, GOLDEN[key])


@pytest.mark.parametrize("key", HASHED)
def test_same_bits_as_torch_for_many_numbers(key):
    shape, seed = parse(key)
    ours = randn(shape, seed)
    np.testing.assert_array_equal(np.concatenate([ours.ravel()[:32], ours.ravel()[-32:]]), GOLDEN[f"{key}|ends"])
    assert hashlib.sha256(ours.tobytes()).hexdigest() == str(GOLDEN[f"{key}|sha256"])


def test_golden_covers_both_paths_and_redrawn_tails():
    counts = {int(np.prod(parse(key)[0])) for key in WHOLE + HASHED}
    assert min(counts) < 16 and max(counts) >= 2**18
    assert any(count > 16 and count % 16 for count in counts)


def test_only_the_low_32_bits_of_a_seed_matter():
    np.testing.assert_array_equal(randn((20,), 2**40 + 3), randn((20,), 3))
    assert not np.array_equal(randn((20,), 3), randn((20,), 4))


def test_numbers_are_standard_normal():
    numbers = randn((1, 16, 128, 128), 3).astype(np.float64)
    assert abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01 and abs((numbers**4).mean() - 3) < 0.1
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("shape", [(4, 6, 6), (3,)])
def test_picture_of_a_batch_equals_a_single_run(shape):
    batch = picture_noise(shape, [7, 8, 9])
    assert batch.shape == (3, *shape) and batch.dtype == np.float32
    for i in range(3):
        np.testing.assert_array_equal(batch[i : i + 1], randn((1, *shape), 7 + i))
        np.testing.assert_array_equal(batch[i : i + 1], picture_noise(shape, [7 + i]))


def test_global_random_state_is_left_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    randn((100,), 1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_empty_and_numpy_seed():
    assert randn((0, 3), 1).shape == (0, 3)
    np.testing.assert_array_equal(randn((4,), np.uint64(2**64 - 1)), randn((4,), 2**64 - 1))
    assert check_seed(np.int32(5)) == 5


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "3", None, True])
def test_bad_seed_is_one_line_with_the_value(seed):
    with pytest.raises(InputError) as error:
        randn((4,), seed)
    assert "\n" not in str(error.value) and (repr(seed) in str(error.value) or str(seed) in str(error.value))


def test_bad_shape_and_no_seeds():
    with pytest.raises(InputError, match="negative"):
        randn((4, -1), 0)
    with pytest.raises(InputError, match=r"2\.5"):
        randn((4, 2.5), 0)
    with pytest.raises(InputError, match="no seeds"):
        picture_noise((4,), [])


def test_does_not_import_paddle():
    code = "import sys, fastdiffusers.noise; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_no_negative_zeros():
    from fastdiffusers.noise import _runs

    words = np.zeros(16, np.uint32)  # radius 0 …
    words[8:] = np.arange(8) << 21  # … at angles all around the circle
    numbers = _runs(words)
    assert (numbers == 0).all() and not np.signbit(numbers).any()
