"""Files of Paddle's libraries, buffers in files, and parameters that files may lack."""

import numpy as np
import paddle
import pytest
from paddle import nn
from safetensors.numpy import save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights import load_state
from fastdiffusers.weights.layers import build_lazy

NUMBERS = np.arange(9, dtype=np.float32).reshape(3, 3)  # square, so that only the orientation tells


class Net(nn.Layer):
    def __init__(self, config=None):
        super().__init__()
        self.linear = nn.Linear(3, 3, bias_attr=False)
        self.norm = nn.LayerNorm(3)
        self.register_buffer("table", paddle.zeros([2]))


def saved(tmp_path, weights, kind):
    file = tmp_path / "x.safetensors"
    save_file(weights, file, metadata=None if kind is None else {"format": kind})
    return file


def whole():
    ones = np.ones(3, np.float32)
    return {"linear.weight": NUMBERS, "norm.weight": ones, "norm.bias": ones, "table": np.array([5, 6], np.float32)}


@pytest.mark.parametrize(("kind", "turned"), [("pt", True), (None, True), ("pd", False), ("np", False)])
def test_the_file_says_how_its_linear_weights_lie(tmp_path, kind, turned):
    net = Net()
    load_state(net, [saved(tmp_path, whole(), kind)])
    assert np.array_equal(net.linear.weight.numpy(), NUMBERS.T if turned else NUMBERS)


def test_buffers_are_read_where_the_files_have_them(tmp_path):
    net = Net()
    load_state(net, [saved(tmp_path, whole(), "pt")])
    assert net.table.numpy().tolist() == [5, 6]
    weights = whole()
    del weights["table"]
    other = Net()
    load_state(other, [saved(tmp_path, weights, "pt")])
    assert other.table.numpy().tolist() == [0, 0]


def test_a_constant_may_be_missing_and_is_what_the_layer_was_built_with(tmp_path):
    weights = whole()
    del weights["norm.bias"]
    file = saved(tmp_path, weights, "pt")
    with pytest.raises(WeightsError, match=r"lack 1 weight of Net, the first is 'norm\.bias'"):
        load_state(Net(), [file])
    net = build_lazy(Net, None)
    load_state(net, [file], constant=lambda name: name.endswith("norm.bias"))
    assert net.norm.bias.numpy().tolist() == [0, 0, 0] and net.norm.weight.numpy().tolist() == [1, 1, 1]
