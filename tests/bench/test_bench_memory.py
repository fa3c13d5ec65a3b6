"""Peak memory: of each run by itself, or not reported at all."""

import pytest

from fastdiffusers.bench import memory


def test_where_no_mark_can_be_reset_nothing_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    found = memory.peak_memory(on_gpu=False)
    assert found.peak_mb() is None and "not measured" in found.method


def test_a_mark_that_takes_the_reset_but_keeps_growing_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")  # writable, without any effect
    assert memory.peak_memory(on_gpu=False).peak_mb() is None


def test_the_peak_of_an_earlier_run_is_forgotten():
    found = memory.peak_memory(on_gpu=False)
    if found.peak_mb() is None:
        pytest.skip("this system cannot reset the high-water mark")
    found.reset()
    block = bytearray(b"\x01") * (200 * memory.MIB)
    with_block = found.peak_mb()
    del block
    found.reset()
    assert with_block - found.peak_mb() > 150
