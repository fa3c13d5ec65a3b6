"""A student that goes on from an adapter is that adapter at first."""

import numpy as np
import pytest
from adapters import make_adapter

from fastdiffusers.caching.stack import stack_of
from fastdiffusers.distillation import starting
from fastdiffusers.distillation.flux import FluxTeachers
from fastdiffusers.distillation.networks import STUDENT, Networks
from fastdiffusers.distillation.starting import made_for, start_from
from fastdiffusers.errors import InputError
from fastdiffusers.testing import tiny_flux
from fastdiffusers.weights.lora import read_lora


@pytest.fixture
def pipe():
    return tiny_flux()


def networks(pipe, rank=2, alpha=None, targets=("attention",)):
    return Networks(pipe.transformer, stack_of("flux"), (rank, alpha, targets))


@pytest.mark.parametrize("alpha", [None, 8.0])
def test_adds_what_the_file_adds_whatever_the_alpha(tmp_path, pipe, alpha):
    folder = make_adapter(tmp_path / "adapter", pipe)
    roles = networks(pipe, alpha=alpha)
    start_from(roles, folder, FluxTeachers(pipe.info))
    shapes = {path: tuple(layer.base.weight.shape) for path, layer in roles.bank.layers.items()}
    wanted = read_lora(folder / "adapter.safetensors", shapes).layers
    found = roles.bank.deltas(STUDENT)
    assert found.keys() == wanted.keys()
    for path, delta in found.items():
        np.testing.assert_allclose(delta, wanted[path].delta().T, atol=1e-6)


def test_refuses_another_rank_and_other_layers(tmp_path, pipe):
    folder = make_adapter(tmp_path / "adapter", pipe)
    with pytest.raises(InputError, match="has rank 2, the student 3"):
        start_from(networks(tiny_flux(), rank=3), folder, FluxTeachers(pipe.info))
    with pytest.raises(InputError, match=r"lacks .* of the student's layers"):
        start_from(networks(tiny_flux(), targets=("attention", "mlp")), folder, FluxTeachers(pipe.info))


def test_a_method_means_its_adapter_of_the_nearest_number_of_steps(tmp_path, pipe, monkeypatch):
    info = pipe.info
    found = {2: tmp_path / "two", 4: tmp_path / "four"}
    monkeypatch.setattr(starting, "find_adapters", lambda model, method: found if method == "pcm" else {})
    for steps, name in ((1, "two"), (2, "two"), (3, "four"), (4, "four"), (8, "four")):
        assert starting.start_folder("pcm", info, steps) == tmp_path / name
    (tmp_path / "mine").mkdir()
    assert starting.start_folder(str(tmp_path / "mine"), info, 4) == tmp_path / "mine"
    with pytest.raises(
        InputError, match=r"^start=lcm, but there is no lcm adapter for .*distill lcm\), give start=FOL"
    ):
        starting.start_folder("lcm", info, 4)
    with pytest.raises(
        InputError, match=r"unknown value of recipe key 'start': 'pcmm'; valid: .*pcm.*, or an adapter's"
    ):
        starting.start_folder("pcmm", info, 4)


def test_what_it_was_made_for_is_told_where_it_says_so(tmp_path, pipe):
    assert made_for(make_adapter(tmp_path / "shifted", pipe, steps=4, shift=3.0)) == (
        "made for 4 steps, levels shifted by 3"
    )
    plain = make_adapter(tmp_path / "plain", pipe, steps=1)
    assert made_for(plain) == "made for 1 step" and made_for(plain / "adapter.safetensors") == ""
