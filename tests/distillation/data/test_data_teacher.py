"""What the teacher draws: the pipeline's own latents and states, by seed and guidance, in any number of processes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastdiffusers.distillation.data import DataOptions, Store, prepare
from fastdiffusers.distillation.data import teacher as teacher_module
from fastdiffusers.distillation.data.plan import make_plan, teacher_levels
from fastdiffusers.distillation.method import teacher_family

WORDS = ("a red apple", "two blue houses by the sea", "a cat on a mat")


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(WORDS))
    return str(tmp_path / "prompts.txt")


def drawn(teacher, tmp_path, prompts, **options):
    given = {"prompts": prompts, "teacher_steps": 8, "guidance_min": 1.0, "guidance_max": 6.0, **options}
    return prepare(teacher, DataOptions(**given), tmp_path / "stores", progress=False, workers=1)


def test_states_on_the_way_are_those_of_a_direct_run(teacher, tmp_path, prompts):
    store = drawn(teacher, tmp_path, prompts, trajectories=True)
    batch = store.examples(np.arange(3), np.random.default_rng(0))
    assert batch.states.shape == (3, 5, 64, 16) and batch.captions == list(WORDS)
    assert len(set(batch.guidance.tolist())) == 3 and 1 <= batch.guidance.min() <= batch.guidance.max() <= 6
    np.testing.assert_array_equal(batch.states[:, 0], batch.noise)
    np.testing.assert_array_equal(batch.states[:, -1], batch.latents)
    for i in range(3):
        states = {}
        result = teacher(
            WORDS[i],
            seed=store.meta["first_seed"] + i,
            num_inference_steps=8,
            guidance_scale=float(batch.guidance[i]),
            output_type="latent",
            callback=lambda step, sigma, x, into=states: into.__setitem__(step, x.numpy()[0]),
        )
        for edge, step in enumerate((1, 3, 5), 1):  # after steps 2, 4, 6 of 8
            np.testing.assert_allclose(batch.states[i, edge], states[step], atol=3e-3)
        np.testing.assert_allclose(batch.latents[i], result.latents[0], atol=3e-3)
    teacher.scheduler.set_image_timesteps(64, 4)
    np.testing.assert_array_equal(store.meta["state_sigmas"], [float(s) for s in teacher.scheduler.sigmas])


def test_without_trajectories_there_are_latents_and_their_noise(teacher, tmp_path, prompts):
    store = drawn(teacher, tmp_path, prompts, examples=4, guidance_max=1.0)
    batch = store.examples(np.arange(4), np.random.default_rng(0))
    assert batch.states is None and batch.noise.shape == (4, 64, 16) and batch.guidance.tolist() == [1.0] * 4
    assert batch.captions[3] == WORDS[0] and not np.allclose(batch.latents[3], batch.latents[0])
    assert not list(store.folder.glob("states-*")) and store.meta["state_sigmas"] is None
    with_states = drawn(teacher, tmp_path, prompts, examples=4, guidance_max=1.0, trajectories=True)
    np.testing.assert_allclose(
        with_states.examples(np.arange(4), np.random.default_rng(0)).latents, batch.latents, atol=2e-3
    )


def test_true_guidance_is_that_of_the_pipeline(teacher, tmp_path, prompts):
    given = {"guidance_min": 2.0, "true_guidance": True, "teacher_guidance": 1.5}
    store = drawn(teacher, tmp_path, prompts, **given)
    batch = store.examples(np.arange(3), np.random.default_rng(0))
    plain = drawn(teacher, tmp_path, prompts, guidance_min=2.0)
    assert store.folder != plain.folder and make_plan(teacher, DataOptions(prompts=prompts, **given)).evaluations == 56
    for i in range(3):
        result = teacher(
            WORDS[i],
            negative_prompt="",
            true_cfg_scale=float(batch.guidance[i]),
            guidance_scale=1.5,
            seed=store.meta["first_seed"] + i,
            num_inference_steps=8,
            output_type="latent",
        )
        np.testing.assert_allclose(batch.latents[i], result.latents[0], atol=5e-3)


def test_chunks_and_batches_change_nothing(teacher, tmp_path, prompts, monkeypatch):
    whole = drawn(teacher, tmp_path / "whole", prompts, examples=5)
    monkeypatch.setattr(teacher_module, "CHUNK", 3)
    monkeypatch.setattr(teacher_module, "BATCH_MOST", 2)
    cut = drawn(teacher, tmp_path / "cut", prompts, examples=5)
    assert len(list(cut.folder.glob("latents-*"))) == 2
    one, other = (store.examples(np.arange(5), np.random.default_rng(0)) for store in (whole, cut))
    for name in ("latents", "noise", "guidance", "text"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=2e-3)


def test_kept_levels_between_the_teachers_levels_become_levels(teacher):
    family = teacher_family(teacher.info)
    options = DataOptions(trajectories=True, teacher_steps=4, state_sigmas=(1.0, 0.8, 0.3, 0.0))
    sigmas, at = teacher_levels(family, (32, 32), options)
    own, none = teacher_levels(family, (32, 32), DataOptions(teacher_steps=4))
    assert len(own) == 5 and none == () and len(sigmas) == 7 and (np.diff(sigmas) < 0).all()
    np.testing.assert_allclose(sigmas[list(at)], [1, 0.8, 0.3, 0])
    assert set(own.tolist()) <= set(sigmas.tolist())
    shifted, at = teacher_levels(family, (32, 32), DataOptions(trajectories=True, shift=3.0))
    np.testing.assert_allclose(shifted[list(at)], [1, 0.9, 0.75, 0.5, 0], atol=1e-6)
    assert len(shifted) == 29 and shifted[14] == pytest.approx(0.75)
    drawn_alone, _ = teacher_levels(family, (32, 32), DataOptions(teacher_steps=4, shift=3.0))
    assert (drawn_alone == own).all()  # without trajectories the teacher draws as it always does
    # 28 steps hold the levels of 4, and not those of 3
    assert len(teacher_levels(family, (32, 32), DataOptions(trajectories=True))[0]) == 29
    assert len(teacher_levels(family, (32, 32), DataOptions(trajectories=True, solver_steps=3))[0]) == 31


@pytest.mark.parametrize(
    "change",
    [
        {"teacher_steps": 7},
        {"guidance_max": 5.0},
        {"seed": 1},
        {"examples": 4},
        {"trajectories": True},
        {"resolution": 16},
    ],
)
def test_whatever_decides_the_latents_is_in_the_name(teacher, prompts, change):
    plan = make_plan(teacher, DataOptions(prompts=prompts, guidance_max=6.0))
    assert make_plan(teacher, DataOptions(**{"prompts": prompts, "guidance_max": 6.0, **change})).name != plan.name
    same = DataOptions(prompts=prompts, guidance_max=6.0, max_unreadable=0.5, buckets=False)
    assert make_plan(teacher, same).name == plan.name


def test_another_seed_gives_other_noise_and_guidance(teacher, prompts):
    plans = [make_plan(teacher, DataOptions(prompts=prompts, guidance_max=6.0, seed=seed)) for seed in (0, 1)]
    assert plans[0].first_seed != plans[1].first_seed and plans[0].guidance[0] != plans[1].guidance[0]
    longer = make_plan(teacher, DataOptions(prompts=prompts, guidance_max=6.0, examples=9))
    np.testing.assert_array_equal(longer.guidance[:3], plans[0].guidance)


def test_the_graph_and_the_plain_transformer_draw_the_same(teacher, tmp_path, prompts, monkeypatch):
    static = drawn(teacher, tmp_path / "static", prompts)
    monkeypatch.setattr(teacher_module, "on_cpu", lambda: False)  # as on a GPU
    plain = drawn(teacher, tmp_path / "plain", prompts)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(
        plain.examples(np.arange(3), rng).latents, static.examples(np.arange(3), rng).latents, atol=2e-3
    )


@pytest.mark.slow
def test_worker_processes_draw_the_same(teacher, tmp_path, prompts, monkeypatch):
    options = DataOptions(prompts=prompts, teacher_steps=2, examples=teacher_module.CHUNK + 2)
    alone = prepare(teacher, options, tmp_path / "alone", progress=False, workers=1)
    shared = prepare(teacher, options, tmp_path / "shared", progress=False, workers=2)
    assert alone.folder.name == shared.folder.name
    rows, rng = np.arange(len(alone)), np.random.default_rng(0)
    np.testing.assert_allclose(alone.examples(rows, rng).latents, shared.examples(rows, rng).latents, atol=2e-3)


SCRIPT = """
import sys
from fastdiffusers.environment import prepare as environment
environment(1)
import fastdiffusers
from fastdiffusers.distillation.data import DataOptions, prepare, teacher
from fastdiffusers.distillation.data import files, preparing, plan
for module in (teacher, files, preparing, plan):
    module.CHUNK = 2
options = DataOptions(prompts=sys.argv[2], teacher_steps=40, examples=40, trajectories=True)
prepare(fastdiffusers.load(sys.argv[1]), options, sys.argv[3], progress=False, workers=1)
"""


@pytest.mark.slow
def test_after_a_kill_it_goes_on_and_ends_the_same(teacher, tmp_path, prompts):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}

    def command(root):
        return [sys.executable, "-c", SCRIPT, str(teacher.info.path), prompts, str(tmp_path / root)]

    subprocess.run(command("whole"), env=environment, check=True)
    with subprocess.Popen(command("killed"), env=environment) as process:
        while not (first := list((tmp_path / "killed").glob("*/chunk-00002.json"))):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    folder = first[0].parent
    assert process.returncode == -signal.SIGKILL and not (folder / "store.json").exists()
    (folder / ".latents-00009-32x32.npy.0.tmp").write_bytes(b"half")
    before = first[0].stat().st_mtime_ns
    subprocess.run(command("killed"), env=environment, check=True)
    whole = Store.open(tmp_path / "whole" / folder.name)
    killed = Store.open(folder)
    assert first[0].stat().st_mtime_ns == before and not list(folder.glob(".*.tmp")) and len(killed) == 40
    rows, rng = np.arange(40), np.random.default_rng(0)
    np.testing.assert_array_equal(killed.examples(rows, rng).states, whole.examples(rows, rng).states)
    np.testing.assert_array_equal(killed.examples(rows, rng).text, whole.examples(rows, rng).text)
