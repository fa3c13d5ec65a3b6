"""One step of latent consistency training on a UNet, part by part, against torch's (golden/make_lcm_unet.py)."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from formula_weights import formula

from fastdiffusers.distillation.grid import ddim_grid
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.networks import STUDENT, TARGET
from fastdiffusers.distillation.process import LatentConsistency, scaled_linear
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.task import DistillTask
from fastdiffusers.distillation.terms.consistency import Consistency, phase_target
from fastdiffusers.training.adamw import AdamW
from fastdiffusers_ppdiffusers.roles import EMBEDDING, UNetConditions, UNetNetworks

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "lcm_unet.npz")


def close(found, expected: np.ndarray, atol: float, rtol: float = 0.0, name: str = "") -> None:
    """`numpy.testing` does not work beside ppdiffusers, which changes ``numpy.bool``."""
    found = found.numpy() if hasattr(found, "numpy") else found
    excess = np.abs(found.astype(np.float64) - expected) - atol - rtol * np.abs(expected)
    assert found.shape == expected.shape and excess.max(initial=0.0) <= 0, (name, excess.max())


def torchwise(name: str, value: np.ndarray, like: paddle.Tensor) -> np.ndarray:
    """Paddle's linear weights are [in, out]."""
    linear = name.endswith("weight") and value.ndim == 2
    assert tuple(like.shape) == (value.T if linear else value).shape, name
    return value.T if linear else value


@pytest.fixture(scope="module")
def step(pipelines):
    """The roles, the scene of the golden batch, and the term."""
    networks = UNetNetworks(pipelines("sd15").pipe.unet, None, width=8)
    weight = networks.parameters[STUDENT][f"{STUDENT}.{EMBEDDING}"]
    weight.set_value(formula(f"unet.{EMBEDDING}", tuple(weight.shape)[::-1]).T)
    networks.copy_student(TARGET)
    tensor = lambda name: paddle.to_tensor(GOLDEN[name])  # noqa: E731
    told = UNetConditions(tensor("text"))
    scene = Scene(
        networks,
        LatentConsistency(scaled_linear()),
        ddim_grid(50),
        tensor("latents"),
        tensor("noise"),
        49 - GOLDEN["index"],
        told,
        UNetConditions(tensor("text"), tensor("w") + 1.0),  # the common scale: of ε(∅) + g·(ε(c) − ε(∅))
        told.untexted(tensor("empty")),
        tensor("w") + 1.0,
        np.random.default_rng(0),
    )
    config = DistillConfig(solver_steps=50, phases=1, form="x", loss="huber", huber_c=1e-3)
    return networks, scene, Consistency(config, networks)


def test_levels_are_those_of_the_solver(step):
    _, scene, _ = step
    assert scene.sigma.numpy().tolist() == [19, 359, 999]
    assert scene.level(scene.n + 1).numpy().tolist() == [0, 339, 979]
    assert scene.end.numpy().tolist() == [0, 0, 0]
    close(scene.x, GOLDEN["x"], 1e-5)


def test_both_jumps_and_the_guided_solver_between_them(step):
    _, scene, _ = step
    close(scene.landing, GOLDEN["made"], 2e-3, 2e-3)
    with paddle.no_grad():
        guided = scene.by_teacher(scene.x, scene.sigma)
        nearer = scene.process.step(scene.x, guided, scene.sigma, scene.level(scene.n + 1))
    close(nearer, GOLDEN["nearer"], 1e-3, 1e-3)
    close(phase_target(scene), GOLDEN["goal"], 3e-3, 2e-3)
    # at timestep 0 the jump is the identity
    close(phase_target(scene)[0], nearer[0].numpy(), 1e-6)


def test_loss_gradients_weights_and_average_are_torchs(step):
    networks, scene, term = step
    loss, _ = term.loss(scene)
    loss.backward()
    assert float(loss.item()) == pytest.approx(float(GOLDEN["loss"]), rel=1e-4)
    parameters = networks.parameters[STUDENT]
    names = [name.removeprefix("gradient/") for name in GOLDEN.files if name.startswith("gradient/")]
    assert {f"{STUDENT}.{name}" for name in names} == parameters.keys() and len(names) > 100
    found = {name: parameters[f"{STUDENT}.{name}"].grad for name in names}
    norm = float(np.sqrt(sum(float((value.numpy().astype(np.float64) ** 2).sum()) for value in found.values())))
    assert norm == pytest.approx(float(GOLDEN["norm"]), rel=1e-3)
    for name in names:
        expected = torchwise(name, GOLDEN[f"gradient/{name}"], found[name])
        scale = np.abs(expected).max()
        close(found[name], expected, 3e-3 * scale + 1e-7, name=name)

    factor = 1.0 / (norm + 1e-6)  # clipped at 1
    gradients = {f"{STUDENT}.{name}": value * factor for name, value in found.items()}
    with paddle.no_grad():
        AdamW(beta2=0.999).update(parameters, gradients, 1e-3, 0.0)
    task = DistillTask(DistillConfig(target_ema=0.95))
    task.networks = networks
    task.updated(0, frozenset({STUDENT}))
    for name in names:
        own = parameters[f"{STUDENT}.{name}"]
        gradient = np.abs(torchwise(name, GOLDEN[f"gradient/{name}"], own))
        expected = torchwise(name, GOLDEN[f"weight/{name}"], own)
        clear = gradient > 0.02 * gradient.max()  # AdamW's first step is the gradient's sign, which must be certain
        close(own.numpy()[clear], expected[clear], 2e-5, name=name)
    for name in (name for name in GOLDEN.files if name.startswith("average/")):
        average = networks.parameters[TARGET][f"{TARGET}.{name.removeprefix('average/')}"]
        close(average, GOLDEN[name], 1.1e-4, name=name)
