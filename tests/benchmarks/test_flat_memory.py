"""benchmarks/memory.py: what counts as flat."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "memory.py"


@pytest.fixture(scope="module")
def verdict():
    spec = importlib.util.spec_from_file_location("memory_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.verdict


@pytest.mark.parametrize(
    ("resident", "tensors", "growth", "flat"),
    [
        ([400.0, 404, 399, 403, 398, 405], [7] * 6, 1.0, True),
        ([400.0, 401, 403, 404, 406, 407], [7] * 6, 6.0, False),
        ([400.0] * 6, [7, 7, 7, 7, 7, 8], 0.0, False),
        ([400.0], [7], 0.0, True),
    ],
)
def test_flat_is_the_same_tensors_and_no_more_than_a_hundredth_of_resident_size(
    verdict, resident, tensors, growth, flat
):
    marks = [{"resident_mib": r, "tensor_bytes": t} for r, t in zip(resident, tensors, strict=True)]
    found = verdict(marks)
    assert found["flat"] is flat and found["resident_growth_mib"] == growth
