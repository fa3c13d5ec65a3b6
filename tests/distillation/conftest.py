import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    from fastdiffusers.testing import tiny_flux

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_flux(folder, layers=1, single_layers=2)
    return str(folder)


@pytest.fixture
def make(model, monkeypatch):
    """A built task: ``make(guidance of the store's, **recipe)``."""

    from fake_store import FakeStore

    import fastdiffusers.distillation.task as task_module
    from fastdiffusers.distillation.keys import DistillConfig

    def build(stored: bool = False, **changes):
        monkeypatch.setattr(task_module, "prepare", lambda pipe, options: FakeStore(stored, options.trajectories))
        values = {"model": model, "rank": 2, "phases": 2, "solver_steps": 6, "batch": 3, "compile": False, "steps": 10}
        task = task_module.DistillTask(
            DistillConfig(**{**values, "warmup_steps": 0, "lr": 1e-3, "ema": 0.0, **changes})
        )
        return task, task.build()

    return build
