"""The contract kit: the sample package, installed, passes it; each way of breaking the contract is caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_accelerators as bad
import pytest
from fake_pipe import FakePipe

from fastdiffusers.accelerator import Fidelity
from fastdiffusers.environment import prepare
from fastdiffusers.errors import PlanError
from fastdiffusers.testing import ContractViolation, check_accelerator

SAMPLE = Path(__file__).parent / "sample_plugin"


def test_a_well_behaved_cache_passes():
    report = check_accelerator(bad.spec(), FakePipe(), {"every": 3})
    assert report.record.engaged and report.record.options == {"every": 3}
    assert "branches do not mix" in report.checks and len(report.checks) == 7


def test_without_options_it_is_tried_with_those_of_its_specification():
    assert check_accelerator(bad.spec(trial="every=4"), FakePipe()).record.options == {"every": 4}
    assert check_accelerator(bad.spec(trial="every=4"), FakePipe(), {}).record.options == {"every": 2}


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        (bad.LeaksAttribute, "after the detach, pipe.scheduler.vars() has the new entries 'left_behind'"),
        (bad.ChangesWeights, "pipe.transformer.transformer_blocks[0].weight has other bits"),
        (bad.LeavesTraceWhenItFails, "pipe.scheduler.shift changed from 1.0 to 2.0"),
        (bad.KeepsState, "keep the state of a picture in recorder.state"),
        (bad.SurvivesInterruption, "after an interrupted generation"),
        (bad.MixesBranches, "the branches of true CFG mix"),
        (bad.RaisesAfterPatching, "attach raised: accelerator 'interval' failed to attach: KeyError: 'no such block'"),
        (bad.PatchesClass, "changed what all pipelines share: class fake_pipe.FakeBlock.__call__"),
        (bad.HoldsItself, "something still holds the accelerator after the detach"),
        (bad.FailsToDetach, "detach raised: while detaching, interval: ZeroDivisionError"),
        (bad.NotJson, "its record cannot be written as JSON"),
        (bad.NoEffect, "had no effect on the test pipeline"),
    ],
)
def test_each_breach_is_caught(accelerator, words):
    pipe = FakePipe()
    with pytest.raises(ContractViolation) as caught:
        check_accelerator(bad.spec(accelerator), pipe)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_process_wide_flag_that_stays_is_caught():
    prepare()
    import paddle

    before = paddle.get_flags("FLAGS_check_nan_inf")
    try:
        with pytest.raises(ContractViolation, match="flag FLAGS_check_nan_inf changed from False to True"):
            check_accelerator(bad.spec(bad.LeavesFlag), FakePipe())
    finally:
        paddle.set_flags(before)


@pytest.mark.parametrize(("fidelity", "words"), [(Fidelity.EXACT, "other bits"), (Fidelity.NUMERIC, "within|1e-4")])
def test_a_picture_that_moves_further_than_declared_is_caught(fidelity, words):
    with pytest.raises(ContractViolation, match=words):
        check_accelerator(bad.spec(fidelity=fidelity), FakePipe())


def test_no_effect_may_be_allowed():
    report = check_accelerator(bad.spec(bad.NoEffect, fidelity=Fidelity.EXACT), FakePipe(), require_effect=False)
    assert not report.record.engaged


def test_options_in_a_module_that_imports_paddle_are_caught(tmp_path, monkeypatch):
    (tmp_path / "heavy_options.py").write_text(
        "from dataclasses import dataclass\n"
        "import sys, types\n"
        "sys.modules.setdefault('paddle', types.ModuleType('paddle'))\n"
        "@dataclass(frozen=True)\nclass Config:\n    every: int = 2\n"
    )
    code = (
        "import fake_accelerators as bad, fake_pipe, heavy_options, sys\n"
        "from fastdiffusers.testing import check_accelerator\n"
        "sys.modules.pop('paddle')\n"
        "try:\n"
        "    check_accelerator(bad.spec(config=heavy_options.Config), fake_pipe.FakePipe())\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )
    done = python(code, str(tmp_path), str(Path(__file__).parent))
    assert "importing heavy_options imports Paddle" in done.stdout, done.stderr


def test_a_specification_that_is_not_well_formed_or_not_installed_is_caught():
    with pytest.raises(ContractViolation, match="claims must be a frozenset"):
        check_accelerator(bad.spec(claims={"blocks"}), FakePipe())
    with pytest.raises(ContractViolation, match="no accelerator 'nobody' is installed; installed: "):
        check_accelerator("nobody", FakePipe())


def test_wrong_options_are_the_callers_error():
    with pytest.raises(PlanError, match="has no option `evry`"):
        check_accelerator(bad.spec(), FakePipe(), {"evry": 3})


def python(code, *folders):
    path = os.pathsep.join([*folders, *(entry or os.getcwd() for entry in sys.path)])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The sample package, installed by pip into a folder of its own."""
    source = shutil.copytree(SAMPLE, tmp_path_factory.mktemp("source") / "sample")
    target = tmp_path_factory.mktemp("site")
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return target


def test_the_installed_sample_is_discovered_through_its_entry_point(installed):
    code = (
        "import sys\n"
        "from fastdiffusers.plugins import registry\n"
        "record = next(p for p in registry().plugins if p.name == 'haste')\n"
        "print(record.status, record.distribution, record.version, record.reason)\n"
        "print(registry().accelerators['haste'].distribution, 'paddle' in sys.modules)\n"
    )
    done = python(code, str(installed))
    assert done.stdout.splitlines() == ["ok fastdiff-sample-haste 0.1.0 ", "fastdiff-sample-haste False"], done.stderr


@pytest.mark.slow
def test_the_installed_sample_passes_on_a_small_flux(installed):
    code = (
        "from fastdiffusers.testing import check_accelerator\n"
        "report = check_accelerator('haste', options={'skip': 0.5})\n"
        "print(report.record.effect, len(report.checks))\n"
    )
    done = python(code, str(installed))
    assert done.stdout.strip() == "left out 2 of 4 single blocks in 5 of 10 transformer calls 7", done.stderr
