import subprocess
import sys

import pytest

from fastdiffusers.errors import PluginError
from fastdiffusers.pipelines.family import FLUX, PipelineFamily, register_pipelines


def test_flux_registers_itself_by_the_hook_anybody_uses():
    assert register_pipelines() == [FLUX]
    assert FLUX.model_index_class == "FluxPipeline" and {"blocks", "guidance", "true_cfg", "img2img"} <= FLUX.features


def test_the_class_is_imported_only_when_asked_for():
    code = "import sys, fastdiffusers.pipelines.family as f; print('paddle' in sys.modules)"
    path = ":".join(entry or "." for entry in sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    assert FLUX.load().__name__ == "FluxPipeline"


def test_a_class_that_is_not_there_is_one_line():
    with pytest.raises(PluginError, match=r"^pipeline family 'x': cannot load 'no_such_module:X': ModuleNotFound"):
        PipelineFamily("x", "X", "no_such_module:X").load()
