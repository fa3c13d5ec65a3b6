"""What is recognised, from names and structure alone; what is said when the extra is missing."""

import dataclasses
import subprocess
import sys
import types

import numpy as np
import pytest
from flux_stand_in import FluxPipeline

import fastdiffusers
from fastdiffusers.errors import InputError, MissingDependency
from fastdiffusers.models.info import describe
from fastdiffusers.plugins import registry
from fastdiffusers_ppdiffusers import register_pipelines, runtime
from fastdiffusers_ppdiffusers.attention_size import attention_size
from fastdiffusers_ppdiffusers.structure import is_flux, is_sd3, is_sd15, is_sdxl


def layer(**parts):
    """Keeps its parts as a Paddle layer does."""
    return types.SimpleNamespace(_parameters={}, _sub_layers={}, _buffers={}, **parts)


class Blocks(list):
    def __init__(self, *blocks):
        super().__init__(blocks)
        self._parameters, self._sub_layers, self._buffers = {}, {}, {}


def sd3_forward(hidden_states, encoder_hidden_states=None, pooled_projections=None, timestep=None):
    return None


def unet_forward(sample, timestep, encoder_hidden_states):
    return None


def flux_forward(hidden_states, encoder_hidden_states, pooled_projections, timestep, img_ids, txt_ids, guidance):
    return None


SCHEDULER = types.SimpleNamespace(step=lambda: None, set_timesteps=lambda: None)
DOUBLE = types.SimpleNamespace(norm1=1, norm1_context=1, attn=1, ff=1)
SINGLE = types.SimpleNamespace(norm=1, attn=1, proj_mlp=1, proj_out=1)


def pipeline(class_name, module="ppdiffusers.pipelines.x", **parts):
    kind = type(class_name, (), {"__call__": lambda self: None, "__module__": module})
    pipe = kind()
    vars(pipe).update(scheduler=SCHEDULER, **parts)
    return pipe


def unet_pipeline(module="ppdiffusers.pipelines.x", **more):
    unet = layer(forward=unet_forward, down_blocks=[1], up_blocks=[1])
    return pipeline("StableDiffusionImg2ImgPipeline", module, unet=unet, **more)


def sd3_pipeline(kind=layer, module="ppdiffusers.pipelines.x"):
    return pipeline(
        "StableDiffusion3Pipeline", module, transformer=kind(forward=sd3_forward, transformer_blocks=Blocks(DOUBLE))
    )


def test_the_plugin_registers_its_families_by_the_hook_anybody_uses():
    families = register_pipelines()
    assert [family.name for family in families] == ["sd15", "sdxl", "sd3", "ppdiffusers-flux"]
    assert all(registry().pipelines[family.name] is family for family in families)


def test_each_kind_is_recognised_as_itself_and_as_nothing_else():
    pipes = {
        is_sd15: unet_pipeline(text_encoder=1),
        is_sdxl: unet_pipeline(text_encoder=1, text_encoder_2=1),
        is_sd3: sd3_pipeline(),
        is_flux: pipeline(
            "AnyName",
            "somewhere",
            transformer=layer(
                forward=flux_forward, transformer_blocks=Blocks(DOUBLE), single_transformer_blocks=Blocks(SINGLE)
            ),
        ),
    }
    for own, pipe in pipes.items():
        assert [check.__name__ for check in pipes if check(pipe)] == [own.__name__]


def test_recognising_imports_neither_paddle_nor_ppdiffusers():
    code = (
        "import sys\nfrom fastdiffusers.plugins import registry\n"
        "print([f.recognise(object()) for f in registry().pipelines.values() if f.recognise])\n"
        "print([m for m in ('paddle', 'ppdiffusers', 'paddlenlp') if m in sys.modules])"
    )
    path = ":".join(entry or "." for entry in sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[False, False, False, False]", "[]"], done.stderr


LOOKALIKES = [
    sd3_pipeline(kind=types.SimpleNamespace),  # torch's modules keep their parts otherwise
    sd3_pipeline(module="diffusers.pipelines.x"),
    unet_pipeline(module="diffusers.pipelines.x"),
    pipeline("StableDiffusion3Pipeline", transformer=layer(forward=unet_forward, transformer_blocks=Blocks(DOUBLE))),
    pipeline("StableDiffusion3Pipeline", transformer=layer(forward=sd3_forward, transformer_blocks=Blocks())),
    pipeline("StableDiffusion3Pipeline", transformer=layer(forward=sd3_forward)),
    object(),
    None,
]


@pytest.mark.parametrize("pipe", LOOKALIKES, ids=range(len(LOOKALIKES)))
def test_what_only_looks_alike_is_refused_in_one_line(pipe):
    assert not any(check(pipe) for check in (is_sd15, is_sdxl, is_sd3, is_flux))
    with pytest.raises(InputError, match=r"^accelerators attach to a pipeline from fastdiffusers\.load .*, got \w+"):
        fastdiffusers.accelerate(pipe, "teacache")


def test_a_broken_pipeline_is_left_as_it_was():
    pipe = FluxPipeline()
    pipe.transformer.config = None
    forward = "forward" in vars(pipe.transformer)
    with pytest.raises(fastdiffusers.errors.PluginError, match="Transformer has no config"):
        fastdiffusers.accelerate(pipe, "teacache")
    assert ("forward" in vars(pipe.transformer)) == forward


def missing(monkeypatch):
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)


def test_a_folder_of_that_name_is_not_the_package(monkeypatch):
    folder = types.SimpleNamespace(origin=None)  # what the import system finds in a clone of PaddleMIX
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: folder)
    assert not runtime.is_installed()


def test_without_the_extra_there_is_one_line_with_the_command(monkeypatch):
    missing(monkeypatch)
    with pytest.raises(MissingDependency) as caught:
        runtime.require((3, 11))
    assert "pip install" in str(caught.value) and "ppdiffusers]" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [(3, 12), (3, 13)])
def test_on_a_newer_python_the_line_says_which_ones_there_are(monkeypatch, version):
    missing(monkeypatch)
    with pytest.raises(MissingDependency, match=rf"for Python 3\.10 and 3\.11 only; this is Python 3\.{version[1]}$"):
        runtime.require(version)


def test_the_command_is_the_clones_or_that_of_an_installed_package(monkeypatch, tmp_path):
    assert runtime.install_command().startswith("pip install -e '")
    monkeypatch.setattr(fastdiffusers, "__file__", str(tmp_path / "fastdiffusers" / "__init__.py"))
    assert runtime.install_command() == "pip install 'fastdiffusers[ppdiffusers]'"


def test_a_folder_is_described_and_planned_without_the_extra(checkpoints):
    info = describe(checkpoints["sd3"])
    assert (info.family, info.unit, info.tokens(32, 32)) == ("sd3", 4, 64)
    assert info.features == {"blocks", "cfg", "img2img", "flow"}
    assert describe(checkpoints["sd15"]).features == {"cfg", "img2img"}
    assert describe(checkpoints["sd15"]).unit == 2
    assert set(info.parameters()) == {"transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"}
    sigmas = registry().pipelines["sd3"].sigmas(info, info.default_setting)
    assert len(sigmas) == 28 and sigmas[0] == 1.0 and np.all(np.diff(sigmas) < 0)


def test_a_model_without_img2img_refuses_a_picture_before_it_is_loaded(checkpoints):
    from fastdiffusers_cli.asking import check_needs

    info = describe(checkpoints["sd3"])
    check_needs({"image": "x.png"}, None, info)
    with pytest.raises(InputError, match=r"^--image: sd3 \(sd3\) draws from text only$"):
        check_needs({"image": "x.png"}, None, dataclasses.replace(info, features=info.features - {"img2img"}))


def test_the_largest_attention_of_the_published_models():
    sd15 = {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
    }
    assert attention_size(sd15, 64 * 64) == (4096, 8, 40)
    sdxl = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
    }
    assert attention_size(sdxl, 128 * 128) == (4096, 10, 64)
    assert attention_size({"num_attention_heads": 24, "attention_head_dim": 64}, 4096) == (4429, 24, 64)


def test_the_command_line_says_it_in_one_line_with_code_2(checkpoints, tmp_path):
    code = (
        "import sys, importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ppdiffusers' else real(name, *a)\n"
        "from fastdiffusers_cli.app import main\n"
        f"sys.argv = ['fastdiff', 'infer', 'x', '--model', {str(checkpoints['sd15'])!r}, '--out', 'x.png']\n"
        "sys.exit(main())"
    )
    path = ":".join(entry or "." for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "ppdiffusers" in done.stderr and "Traceback" not in done.stderr
