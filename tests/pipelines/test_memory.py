"""What counts as free, and that more than that is refused with both figures."""

from types import SimpleNamespace

import paddle
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.pipelines import memory


def test_more_than_is_free_is_refused_with_both_figures(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * memory.GIB)
    memory.require(3 * memory.GIB, "drawing", "draw less")
    with pytest.raises(InputError, match=r"drawing needs about 4\.0 GiB and 3\.0 GiB are free; draw less"):
        memory.require(4 * memory.GIB, "drawing", "draw less")
    monkeypatch.setenv("FASTDIFFUSERS_MEMORY", "ignore")
    memory.require(4 * memory.GIB, "drawing", "draw less")


def test_a_gpu_has_what_paddle_has_not_allocated(monkeypatch):
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(
        paddle.device.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=80 * memory.GIB)
    )
    monkeypatch.setattr(paddle.device.cuda, "memory_allocated", lambda *_: 30 * memory.GIB)
    assert memory.free_bytes() == 50 * memory.GIB


def test_a_cgroup_limit_leaves_what_is_neither_used_nor_droppable(tmp_path):
    assert memory._cgroup_room(tmp_path) is None
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup_room(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._cgroup_room(tmp_path) == 1000 - 700 + 150


def test_attention_scores_count_on_a_cpu_only(monkeypatch):
    arguments = (1, 8, 8, 4096, 24, 128, 128, "float32")
    cpu = memory.activation_bytes(*arguments)
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    assert cpu - memory.activation_bytes(*arguments) == 2 * 24 * 4096**2 * 4
