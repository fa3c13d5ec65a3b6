"""Adapters on one frozen network: what they change, where they are, and that they go without a trace."""

import numpy as np
import paddle
import pytest
from paddle import nn
from tiny_roles import disturb, inputs, roles, student_gradients

from fastdiffusers.distillation.lora import LoraBank, LoraLinear
from fastdiffusers.distillation.networks import STUDENT, TEACHER
from fastdiffusers.errors import InputError
from fastdiffusers.testing import tiny_flux


class Small(nn.Layer):
    """A linear layer in a block, one outside."""

    def __init__(self):
        super().__init__()
        paddle.seed(3)
        self.transformer_blocks = nn.LayerList([nn.Linear(5, 4)])
        self.outside = nn.Linear(4, 3)

    def forward(self, x):
        return self.outside(self.transformer_blocks[0](x))


def tree(layer: nn.Layer) -> list[tuple]:
    """Every sub-layer by path and identity, the order of attributes, every parameter by identity."""
    found = [(path, id(part), list(vars(part)), list(part._sub_layers)) for path, part in layer.named_sublayers()]
    return [*found, *((name, id(value)) for name, value in layer.named_parameters())]


def test_an_adapter_is_its_formula():
    """y = x·W + b + (α/r)·x·A·B, by hand in float64."""
    network, x = Small(), np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    bank = LoraBank(network)
    disturb(bank.add("student", rank=3, alpha=1.5), size=1.0)
    weight, bias = (p.numpy().astype(np.float64) for p in bank.layers["transformer_blocks.0"].base.parameters())
    a, b = (value.numpy().astype(np.float64) for value in bank.parameters("student").values())
    assert a.shape == (5, 3) and b.shape == (3, 4)
    with bank.using("student"):
        found = bank.layers["transformer_blocks.0"](paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(found, x @ weight + bias + 0.5 * (x @ a @ b), rtol=1e-5, atol=1e-5)


def test_a_new_adapter_changes_no_bit_and_starts_within_its_bound():
    networks = roles(rank=4)
    x, level, told = inputs(networks)
    teacher = networks.predict(TEACHER, x, level, told).numpy()
    np.testing.assert_array_equal(networks.predict(STUDENT, x, level, told).numpy(), teacher)
    plain = tiny_flux().transformer
    plain.eval()
    bare = plain(x, told.text, told.pooled, level, told.rope[:2], told.guidance).numpy()
    np.testing.assert_array_equal(teacher, bare)  # and the wrapped network none of the bare one's
    for name, value in networks.parameters[STUDENT].items():
        if name.endswith("lora_A"):
            bound = 1 / np.sqrt(value.shape[0])
            assert 0.8 * bound < np.abs(value.numpy()).max() <= bound
        else:
            assert not value.numpy().any()


def test_merged_equals_adapter():
    networks = roles(rank=3)
    disturb(networks.parameters[STUDENT])
    x, level, told = inputs(networks)
    student = networks.predict(STUDENT, x, level, told).numpy()
    teacher = networks.predict(TEACHER, x, level, told).numpy()
    for path, delta in networks.bank.deltas(STUDENT).items():
        weight = networks.bank.layers[path].base.weight
        weight.set_value(weight + paddle.to_tensor(delta))
    merged = networks.predict(TEACHER, x, level, told).numpy()
    np.testing.assert_allclose(merged, student, atol=2e-5)
    assert np.abs(student - teacher).max() > 0.05


def test_rank_and_alpha():
    bank = LoraBank(Small())
    shapes = [value.shape for value in bank.add("a", rank=2).values()]
    assert shapes == [[5, 2], [2, 4]]
    bank.add("b", rank=4, alpha=8.0)
    (layer,) = bank.layers.values()
    assert layer.scales == {"a": 1.0, "b": 2.0}  # α = rank unless given
    for name in "ab":
        disturb(bank.parameters(name), size=1.0)
    a, b = (value.numpy() for value in bank.parameters("b").values())
    np.testing.assert_allclose(bank.deltas("b")["transformer_blocks.0"], 2.0 * a @ b, rtol=1e-5)


def test_the_start_depends_on_the_seed_and_layers_differ():
    starts = [roles(seed=seed).parameters[STUDENT] for seed in (0, 0, 1)]
    first = [next(iter(start.values())).numpy() for start in starts]
    np.testing.assert_array_equal(first[0], first[1])
    assert (first[0] != first[2]).all()
    same_shape = [v.numpy() for n, v in starts[0].items() if n.endswith("lora_A") and v.shape == [32, 2]]
    assert len({part.tobytes() for part in same_shape}) == len(same_shape)


def test_using_nests_and_comes_back_after_an_error():
    bank = LoraBank(Small())
    for name in ("a", "b"):
        bank.add(name, 1)
    assert bank.active is None
    with bank.using("a"):
        with bank.using("b"):
            assert bank.active == "b"
            with bank.using(None):
                assert bank.active is None
            assert bank.active == "b"
        assert bank.active == "a"
        with pytest.raises(ZeroDivisionError), bank.using("b"):
            raise ZeroDivisionError
        assert bank.active == "a"
    assert bank.active is None


def test_adapters_do_not_touch_each_other():
    network = Small()
    bank = LoraBank(network)
    for seed, name in enumerate(("a", "b")):
        bank.add(name, 2)
        disturb(bank.parameters(name), seed, 1.0)
    x = paddle.ones([1, 5])
    before = {}
    for name in (None, "a", "b"):
        with bank.using(name):
            before[name] = network(x).numpy()
    disturb(bank.parameters("b"), 9, 1.0)
    for name, same in ((None, True), ("a", True), ("b", False)):
        with bank.using(name):
            assert (network(x).numpy() == before[name]).all() == same
    with bank.using("a"):
        network(x).sum().backward()
    assert all(value.grad is not None for value in bank.parameters("a").values())
    assert all(value.grad is None for value in bank.parameters("b").values())
    assert all(p.stop_gradient and p.grad is None for p in (network.outside.weight, network.outside.bias))


def test_remove_puts_every_layer_back_and_leaves_no_trace():
    network = tiny_flux().transformer
    before = tree(network)
    bank = LoraBank(network)
    bank.add("student", 2)
    assert tree(network) != before
    bank.remove()
    assert tree(network) == before
    assert not any(isinstance(part, LoraLinear) for part in network.sublayers())


@pytest.mark.parametrize(
    ("targets", "present", "absent"),
    [
        (("attention",), [".attn.to_q", ".attn.add_k_proj", ".attn.to_out.0"], [".ff.", ".norm1.", "proj_mlp"]),
        (("mlp",), [".ff.net.2", ".ff_context.net.0.proj", ".proj_mlp"], [".attn.", ".norm", "proj_out"]),
        (
            ("modulation",),
            [".norm1.linear", ".norm1_context.linear", ".norm.linear", "norm_out.linear"],
            [".attn.", ".ff"],
        ),
        (("projection",), ["single_transformer_blocks.0.proj_out"], [".attn.", ".ff", ".norm", "proj_mlp"]),
        (("attention", "mlp"), [".attn.to_k", ".ff.net.2"], [".norm", "proj_out"]),
        (("all",), [".attn.to_q", ".ff.net.2", ".norm1.linear", "norm_out.linear", ".proj_out", ".proj_mlp"], []),
    ],
)
def test_targets(targets, present, absent):
    bank = LoraBank(tiny_flux().transformer, targets)
    for part in present:
        assert any(part in f".{path}" for path in bank.layers), part
    for part in absent:
        assert not any(part in f".{path}" for path in bank.layers), part
    # never the embedders and the last projection, which all pictures go through unchanged
    assert all(
        path.startswith(("transformer_blocks.", "single_transformer_blocks.", "norm_out.")) for path in bank.layers
    )


def test_the_four_words_are_all_layers_and_overlap_nowhere():
    words = ("attention", "mlp", "modulation", "projection")
    found = [set(LoraBank(tiny_flux().transformer, (word,)).layers) for word in words]
    assert set().union(*found) == set(LoraBank(tiny_flux().transformer).layers)
    assert sum(map(len, found)) == len(set().union(*found))


def test_bad_targets_are_refused():
    with pytest.raises(InputError, match=r"target"):
        LoraBank(Small(), ("attn",))
    with pytest.raises(InputError, match=r"^targets mlp match no linear layer of Small$"):
        LoraBank(Small(), ("mlp",))


def test_gradients_with_recomputed_activations_are_the_same():
    results = []
    for recompute in (False, True):
        networks = roles(recompute=recompute)
        disturb(networks.parameters[STUDENT])
        results.append(student_gradients(networks))
    (out, plain), (again, recomputed) = results
    np.testing.assert_array_equal(again, out)
    assert all(value is not None and value.any() for value in plain.values())
    for name, value in plain.items():
        np.testing.assert_allclose(recomputed[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


def test_recomputing_uses_the_adapter_of_then():
    """The backward pass runs outside of any role; another adapter is active in between."""
    networks = roles(recompute=True)
    disturb(networks.parameters[STUDENT])
    disturb(networks.add_adapter("critic", 2), 8)
    _, expected = student_gradients(networks)
    x, level, told = inputs(networks)
    out = networks.predict(STUDENT, x, level, told)
    weights = np.random.default_rng(5).standard_normal(out.shape).astype(np.float32)
    with networks.bank.using("critic"):
        (out * paddle.to_tensor(weights)).sum().backward()
    for name, value in networks.parameters[STUDENT].items():
        np.testing.assert_allclose(value.grad.numpy(), expected[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert all(value.grad is None for value in networks.parameters["critic"].values())
