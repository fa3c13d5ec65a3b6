"""The tests of ppdiffusers' pipelines need the extra; those of the rest of the plugin do not."""

import sys
from pathlib import Path

import pytest
from ppdiffusers_checkpoint import write

from fastdiffusers_ppdiffusers.runtime import is_installed

sys.path.insert(0, str(Path(__file__).parents[1] / "distillation"))  # the documents' commands

NEEDS_EXTRA = (
    "test_pipelines.py",
    "test_caches.py",
    "test_held_sd.py",
    "test_layouts.py",
    "test_commands.py",
    "test_lcm_step.py",
    "test_few_steps.py",
    "test_unet_students.py",
    "test_unet_training.py",
)


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="needs the extra `ppdiffusers` (Python 3.10 or 3.11)")
    for item in items:
        if item.path.parent.name == "ppdiffusers" and item.path.name in NEEDS_EXTRA and not is_installed():
            item.add_marker(skip)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Folders of the tiny models, by family."""
    place = tmp_path_factory.mktemp("checkpoints")
    return {name: write(name, place) for name in ("sd15", "sdxl", "sd3")}


@pytest.fixture(scope="session")
def pipelines(checkpoints):
    """``pipelines(family)``: the tiny model, loaded once."""
    import fastdiffusers

    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = fastdiffusers.load(checkpoints[name])
        return loaded[name]

    return get
