"""Reading checkpoints: a wrong file is named in one line, and loading needs little more memory than the weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers.models import FluxTransformer2DModel, T5EncoderModel
from fastdiffusers.models.info import describe
from fastdiffusers.weights import load_layer, save_layer

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_pipeline" / "dev"
NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "model")
    return tmp_path / "model"


def without(weights):
    weights.pop("x_embedder.bias")


def with_more(weights):
    weights["x_embedder.extra"] = np.zeros(3, np.float32)


def misshapen(weights):
    weights["x_embedder.weight"] = weights["x_embedder.weight"].T.copy()


def integers(weights):
    weights["x_embedder.bias"] = weights["x_embedder.bias"].astype(np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, "the files lack 1 weight of FluxTransformer2DModel, the first is 'x_embedder.bias'"),
        (with_more, "holds 'x_embedder.extra', which FluxTransformer2DModel does not have"),
        (misshapen, "'x_embedder.weight' in"),
        (integers, "is I32; weights are F32, F16 or BF16"),
    ],
)
def test_weights_that_do_not_fit(model, change, message):
    file = model / "transformer" / NAME
    weights = load_file(file)
    change(weights)
    save_file(weights, file)
    refused(model, message)


def refused(model, message):
    with pytest.raises(WeightsError) as caught:
        load_layer(FluxTransformer2DModel, model / "transformer")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file(model):
    file = model / "transformer" / NAME
    file.write_bytes(file.read_bytes()[:-100])
    refused(model, "is truncated or no safetensors file")


def test_garbage(model):
    (model / "transformer" / NAME).write_bytes(b"\x00" * 64)
    refused(model, "is truncated or no safetensors file")


def test_pickle_is_refused_by_name(model):
    (model / "transformer" / NAME).rename(model / "transformer" / "pytorch_model.bin")
    refused(model, "is a pickle, which can run code when opened")


def test_no_weights(model):
    (model / "transformer" / NAME).unlink()
    refused(model, "no weights in")


def test_missing_or_broken_configuration(model):
    (model / "transformer" / "config.json").write_text("{")
    refused(model, "is not readable JSON")
    (model / "transformer" / "config.json").unlink()
    refused(model, "does not exist; a model folder of the diffusers layout has it")


def test_shards_that_are_missing_or_point_outside(model, tmp_path):
    folder = model / "transformer"
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    (folder / NAME).rename(folder / "one.safetensors")
    index.write_text(json.dumps({"weight_map": {"x_embedder.bias": "two.safetensors"}}))
    refused(model, "names the shard 'two.safetensors', which the folder lacks")
    index.write_text(json.dumps({"weight_map": {"x_embedder.bias": "../one.safetensors"}}))
    refused(model, "which lies outside its folder")
    index.write_text(json.dumps({}))
    refused(model, "has no weight_map")
    index.write_text(json.dumps({"weight_map": {"x_embedder.bias": "one.safetensors"}}))
    assert load_layer(FluxTransformer2DModel, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: shutil.rmtree(m / "vae"), "lacks the folder 'vae'"),
        (lambda m: (m / "model_index.json").unlink(), "has no model_index.json"),
        (
            lambda m: (m / "model_index.json").write_text('{"_class_name": "KolorsPipeline"}'),
            "unknown pipeline class 'KolorsPipeline'; valid: FluxPipeline",
        ),
        (shutil.rmtree, "; valid: flux-emoji, or a folder of the diffusers layout"),
    ],
)
def test_folders_that_are_no_model(model, change, message):
    change(model)
    with pytest.raises(WeightsError) as caught:
        describe(model)
    assert message in str(caught.value)


def test_the_hash_changes_with_any_deciding_file_and_with_no_other(model):
    before = describe(model).sha256
    (model / "README.md").write_text("words")
    (model / "calibration").mkdir()
    (model / "calibration" / "teacache.json").write_text("{}")
    assert describe(model).sha256 == before
    config = model / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    assert describe(model).sha256 != before


def test_hashes_of_large_files_are_remembered_until_they_change(model, monkeypatch, tmp_path):
    from fastdiffusers.models import info

    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(info, "_REMEMBERED_FROM", 100_000)
    read = []
    monkeypatch.setattr(info, "sha256_file", lambda path, real=info.sha256_file: read.append(path.name) or real(path))
    first = describe(model).sha256
    assert NAME in read
    read.clear()
    assert describe(model).sha256 == first and NAME not in read
    file = model / "transformer" / NAME
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
    assert describe(model).sha256 != first


def test_description_counts_parameters_and_tokens():
    info = describe(GOLDEN)
    layer = load_layer(FluxTransformer2DModel, GOLDEN / "transformer")
    assert info.parameters()["transformer"] == sum(p.size for p in layer.parameters())
    assert (info.family, info.dtype, info.vae_scale_factor) == ("flux", "float32", 2)
    assert info.tokens(32, 32) == 64 and info.tokens(24, 32) == 48
    assert "guidance" in info.features
    assert "guidance" not in describe(GOLDEN.parent / "schnell").features


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("transformer", "num_layers", "four", "FluxTransformer2DModel: num_layers is 'four'; valid: an integer"),
        ("transformer", "axes_dims_rope", 5, "axes_dims_rope is 5; valid: a list"),
        ("transformer", "num_layers", 0, "num_layers is 0; it must be at least 1"),
        ("vae", "sample_size", [32, 32], "sample_size must be an integer"),
        ("vae", "block_out_channels", None, "block_out_channels a list"),
        ("text_encoder", "num_attention_heads", 0, "is no multiple of num_attention_heads 0"),
        ("scheduler", "base_shift", "x", "base_shift is 'x'; valid: a number or null"),
        (".", "prompts", 5, "prompts must be a list of texts"),
    ],
)
def test_configurations_with_values_that_cannot_be(model, part, key, value, message):
    from fastdiffusers.pipelines.flux import FluxPipeline

    names = {"scheduler": "scheduler_config.json", ".": "fastdiff.json"}
    file = model / part / names.get(part, "config.json")
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, key: value}))
    with pytest.raises(WeightsError) as caught:
        FluxPipeline.from_pretrained(describe(model))
    assert message in str(caught.value)


@pytest.mark.parametrize("header", [b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b'{"a": {"shape": 3}}'])
def test_headers_that_are_none(model, header):
    file = model / "transformer" / NAME
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match="is truncated or no safetensors file"):
        describe(model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files_are_read_and_written(tmp_path, dtype):
    layer = load_layer(T5EncoderModel, GOLDEN / "text_encoder_2")
    save_layer(layer, tmp_path, dtype)
    again = load_layer(T5EncoderModel, tmp_path)
    half = load_layer(T5EncoderModel, tmp_path, dtype)
    for name, parameter in layer.named_parameters():
        rounded = parameter.astype(dtype).astype("float32").numpy()
        np.testing.assert_array_equal(dict(again.named_parameters())[name].numpy(), rounded)
        assert dict(half.named_parameters())[name].dtype == getattr(paddle, dtype)


PEAK = """
import sys
from pathlib import Path
import paddle
from fastdiffusers.models import FluxTransformer2DModel
from fastdiffusers.weights import load_layer
def kilobytes(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1])
load_layer(FluxTransformer2DModel, sys.argv[2])
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
layer = load_layer(FluxTransformer2DModel, sys.argv[1])
weights = sum(p.size * 4 for p in layer.parameters()) / 1024
print((kilobytes("VmHWM") - before) / weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_peaks_below_1_3_times_the_weights(tmp_path, dtype):
    from fastdiffusers.models.transformer_flux import FluxTransformerConfig

    paddle.seed(0)
    layer = FluxTransformer2DModel(
        FluxTransformerConfig(
            num_layers=4,
            num_single_layers=8,
            attention_head_dim=64,
            num_attention_heads=12,
            axes_dims_rope=(16, 24, 24),
        )
    )
    save_layer(layer, tmp_path, dtype)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), str(GOLDEN / "transformer")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) < 1.3, result.stdout
