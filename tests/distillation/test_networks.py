"""Roles on one frozen network: static graphs say what eager execution says, and keep apart."""

import numpy as np
import paddle
import pytest
from tiny_roles import BATCH, disturb, gradients, inputs, roles, student_gradients

from fastdiffusers.distillation.networks import CRITIC, STUDENT, TEACHER, Networks
from fastdiffusers.testing import tiny_flux

BLOCKS = (1, 2, 3)
SMALL = {"layers": 1, "single_layers": 2}  # recording takes seconds a block


@pytest.fixture(scope="module")
def pair() -> tuple[Networks, Networks]:
    """The same roles run eagerly and on static graphs."""
    found = roles(**SMALL), roles(**SMALL, compile=True)
    for networks in found:
        disturb(networks.parameters[STUDENT])
        disturb(networks.add_adapter(CRITIC, 3), 8)
    return found


def close(a, b) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_graphs_predict_what_eager_execution_does(pair):
    for role in (TEACHER, STUDENT, CRITIC):
        with paddle.set_grad_enabled(role != TEACHER):
            eager, graph = (n.predict(role, *inputs(n)).numpy() for n in pair)
        close(graph, eager)


def test_roles_are_different_networks(pair):
    for networks in pair:
        found = []
        for role in (TEACHER, STUDENT, CRITIC):
            with paddle.set_grad_enabled(role != TEACHER):
                found.append(networks.predict(role, *inputs(networks)).numpy())
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(found[a] - found[b]).max() > 0.02


def test_graphs_have_the_gradients_of_eager_execution(pair):
    (_, eager), (_, graph) = map(student_gradients, pair)
    assert all(value is not None and value.any() for value in eager.values())
    for name, value in eager.items():
        close(graph[name], value)


def test_features_and_their_gradients_are_the_same_on_graphs(pair):
    found = []
    for networks in pair:
        x, level, told = inputs(networks)
        x.stop_gradient = False
        features = networks.features(x, level, told, BLOCKS)
        assert [f.shape for f in features] == [[BATCH, 16, 32]] * 3
        paddle.add_n([(f * f).mean() for f in features]).backward()
        found.append([*(f.numpy() for f in features), x.grad.numpy()])
        assert not any(g is not None for g in gradients(networks.parameters[STUDENT]).values())
    for eager, graph in zip(*found, strict=True):
        close(graph, eager)
    assert np.abs(found[0][0] - found[0][1]).max() > 0.1


def test_features_are_the_teachers_tokens_after_the_named_blocks(pair):
    """By hand: hooks on the bare network's blocks."""
    networks, plain = pair[0], tiny_flux(**SMALL).transformer
    plain.eval()
    seen = []
    for block in [*plain.transformer_blocks, *plain.single_transformer_blocks]:
        block.register_forward_post_hook(lambda layer, given, out: seen.append(out))
    x, level, told = inputs(networks)
    plain(x, told.text, told.pooled, level, told.rope[:2], told.guidance)
    first, *others = networks.features(x, level, told, BLOCKS)
    np.testing.assert_allclose(first.numpy(), seen[0][0].numpy(), atol=1e-6)  # image and text apart
    for feature, block in zip(others, (1, 2), strict=True):
        np.testing.assert_allclose(feature.numpy(), seen[block].numpy()[:, told.text.shape[1] :], atol=1e-6)


def test_features_with_recomputed_activations_are_the_same():
    found = []
    for recompute in (False, True):
        networks = roles(recompute=recompute)
        x, level, told = inputs(networks)
        constant = networks.features(x, level, told, BLOCKS)
        x.stop_gradient = False
        features = networks.features(x, level, told, BLOCKS)
        assert all(f.stop_gradient for f in constant) and not any(f.stop_gradient for f in features)
        paddle.add_n([(f * f).mean() for f in features]).backward()
        found.append([*(f.numpy() for f in (*constant, *features)), x.grad.numpy()])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-6, atol=1e-7)
    assert np.abs(found[0][-1]).max() > 0


def test_a_graph_first_recorded_without_gradients_poisons_none():
    """Paddle records a graph once: under `no_grad` without its backward part, which it then never has."""
    networks = roles(layers=1, single_layers=1, compile=True)
    disturb(networks.parameters[STUDENT])
    with paddle.no_grad():
        networks.predict(STUDENT, *inputs(networks))
        x, level, told = inputs(networks)
        networks.features(x, level, told, (1,))
    _, found = student_gradients(networks)
    assert all(value is not None and value.any() for value in found.values())
    x, level, told = inputs(networks)
    x.stop_gradient = False
    networks.features(x, level, told, (1,))[-1].mean().backward()
    assert x.grad is not None and x.grad.numpy().any()
    with paddle.no_grad():
        assert networks.predict(STUDENT, *inputs(networks)).stop_gradient


def test_graphs_see_weights_that_change(pair):
    for networks in pair:
        before = networks.predict(STUDENT, *inputs(networks)).numpy()
        parameter = next(iter(networks.parameters[STUDENT].values()))
        kept = parameter.numpy()
        parameter.set_value(paddle.to_tensor(kept + 0.5))
        assert np.abs(networks.predict(STUDENT, *inputs(networks)).numpy() - before).max() > 1e-3
        parameter.set_value(paddle.to_tensor(kept))
        np.testing.assert_array_equal(networks.predict(STUDENT, *inputs(networks)).numpy(), before)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_student_trained_in_full_is_a_copy(recompute):
    networks = roles(lora=False, recompute=recompute)
    assert networks.student is not networks.teacher
    out, found = student_gradients(networks)
    np.testing.assert_array_equal(out, networks.predict(TEACHER, *inputs(networks)).numpy())
    assert all(value is not None for value in found.values())
    with paddle.no_grad():
        networks.student.proj_out.bias.set_value(networks.student.proj_out.bias + 1.0)
    x, level, told = inputs(networks)
    np.testing.assert_array_equal(networks.predict(TEACHER, x, level, told).numpy(), out)
    np.testing.assert_allclose(networks.predict(STUDENT, x, level, told).numpy(), out + 1.0, atol=1e-6)
    assert all(p.stop_gradient for p in networks.teacher.parameters())


def test_full_gradients_with_recomputed_activations_are_the_same():
    plain, again = (student_gradients(roles(lora=False, recompute=recompute))[1] for recompute in (False, True))
    for name, value in plain.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_critic_beside_a_full_student_sits_on_the_teacher():
    networks = roles(lora=False)
    disturb(networks.add_adapter(CRITIC, 2), 8)
    x, level, told = inputs(networks)
    teacher = networks.predict(TEACHER, x, level, told).numpy()
    np.testing.assert_array_equal(networks.predict(STUDENT, x, level, told).numpy(), teacher)
    assert np.abs(networks.predict(CRITIC, x, level, told).numpy() - teacher).max() > 0.05


def test_conditions():
    networks = roles()
    _, _, told = inputs(networks)
    assert told.told(2.5).guidance.numpy().tolist() == [2.5, 2.5]
    assert told.told(paddle.to_tensor([1.0, 2.0])).guidance.numpy().tolist() == [1.0, 2.0]
    empty = told.untexted(paddle.zeros([1, 5, 16]), paddle.zeros([1, 16]))
    assert empty.text.shape == told.text.shape and not empty.text.numpy().any() and not empty.pooled.numpy().any()
    assert empty.guidance is told.guidance
    assert networks.depth == 6 and networks.has_guidance
