"""AutoencoderKL against diffusers' (tests/golden/make_autoencoder_kl.py), and what it promises besides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import InputError, UserError
from fastdiffusers.models import vae_blocks
from fastdiffusers.models.autoencoder_kl import AutoencoderKL, DiagonalGaussianDistribution
from fastdiffusers.weights import load_layer, save_layer

GOLDEN = Path(__file__).parents[1] / "golden"
VARIANTS = ("flux", "plain")
TOLERANCE = 2e-5


def linear_weights(model: paddle.nn.Layer) -> set[str]:
    """Names of the weights that Paddle stores transposed."""
    return {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, paddle.nn.Linear)}


def golden_model(variant: str) -> tuple[AutoencoderKL, dict[str, paddle.Tensor]]:
    """The tiny model that diffusers saved, read without our weights package, and the arrays it computed."""
    folder = GOLDEN / "autoencoder_kl" / variant
    model = AutoencoderKL(AutoencoderKL.Config.from_dict(json.loads((folder / "config.json").read_text())))
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert set(state) == set(model.state_dict())
    transposed = linear_weights(model)
    model.set_state_dict({name: value.T if name in transposed else value for name, value in state.items()})
    arrays = np.load(folder.with_suffix(".npz"))
    return model, {name: paddle.to_tensor(arrays[name]) for name in arrays.files}


def tiny_config(**changes: object) -> AutoencoderKL.Config:
    values = {"block_out_channels": [4], "norm_num_groups": 2, "latent_channels": 2}
    return AutoencoderKL.Config.from_dict(values | changes)


def close(actual: paddle.Tensor, expected: paddle.Tensor, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_encode_equals_diffusers(variant: str) -> None:
    model, golden = golden_model(variant)
    posterior = model.encode(golden["images"])
    close(paddle.concat([posterior.mean, posterior.logvar], 1), golden["moments"])
    close(posterior.mode(), golden["mode"])
    close(posterior.sample(golden["noise"]), golden["sample"])
    np.testing.assert_allclose(posterior.kl().numpy(), golden["kl"].numpy(), rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_decode_equals_diffusers(variant: str) -> None:
    model, golden = golden_model(variant)
    close(model.decode(golden["mode"]), golden["decoded"])
    close(model(golden["images"]), golden["decoded"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_route_equals_eager_cpu_route(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines and GPUs get plain operators; they must compute the same as the forms chosen for eager CPU."""
    model, golden = golden_model(variant)
    monkeypatch.setattr(vae_blocks, "_eager_on_cpu", lambda x: False)
    close(model.decode(golden["mode"]), golden["decoded"])
    close(model.encode(golden["images"]).mode(), golden["mode"])


def test_flux_manifest() -> None:
    """FLUX.1's configuration gives exactly diffusers' parameter names and shapes."""
    manifest = json.loads((GOLDEN / "manifest_flux_vae.json").read_text())
    with paddle.LazyGuard():
        model = AutoencoderKL(AutoencoderKL.Config.from_dict(manifest["config"]))
    transposed = linear_weights(model)
    shapes = {
        name: list(parameter.shape)[:: -1 if name in transposed else 1] for name, parameter in model.named_parameters()
    }
    assert shapes == manifest["shapes"]
    assert model.vae_scale_factor == 8


def test_config_round_trip() -> None:
    values = json.loads((GOLDEN / "autoencoder_kl" / "flux" / "config.json").read_text())
    written = AutoencoderKL.Config.from_dict(values).to_dict()
    assert written["_class_name"] == "AutoencoderKL"
    assert {key: value for key, value in values.items() if not key.startswith("_")}.items() <= written.items()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_equals_that_of_plain_operators(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every parameter gets a gradient, and the eager CPU forms have the gradients of what they stand for."""
    model, golden = golden_model(variant)

    def gradients() -> dict[str, np.ndarray]:
        posterior = model.encode(golden["images"])
        reconstruction = model.decode(posterior.sample(golden["noise"]))
        loss = (reconstruction - golden["images"]).square().mean() + 0.01 * posterior.kl().mean()
        loss.backward()
        found = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
        model.clear_gradients()
        return found

    fast = gradients()
    monkeypatch.setattr(vae_blocks, "_eager_on_cpu", lambda x: False)
    plain = gradients()
    for name, value in fast.items():
        # A bias in front of softmax over keys has no effect, so the gradient of to_k.bias is rounding noise.
        assert np.abs(value).max() > 0 or name.endswith("to_k.bias"), name
        np.testing.assert_allclose(
            value, plain[name], rtol=0, atol=1e-5 + 1e-4 * np.abs(plain[name]).max(), err_msg=name
        )


def test_attention_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, golden = golden_model("flux")
    monkeypatch.setattr(vae_blocks, "QUERY_CHUNK", 7)
    close(model.decode(golden["mode"]), golden["decoded"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("numbers", [1, 4000])
def test_convolution_in_bands_is_the_same(variant: str, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, golden = golden_model(variant)
    monkeypatch.setattr(vae_blocks, "PATCH_NUMBERS", numbers)
    assert len(vae_blocks._bands(8, 1000)) == 1
    with paddle.no_grad():
        assert len(vae_blocks._bands(8, 1000)) == {1: 8, 4000: 2}[numbers]
        close(model.encode(golden["images"]).mode(), golden["mode"])
        close(model.decode(golden["mode"]), golden["decoded"])


def test_legacy_attention_names(tmp_path: Path) -> None:
    """Autoencoders saved before diffusers renamed the parts of its attention load as well."""
    _, golden = golden_model("flux")
    folder = GOLDEN / "autoencoder_kl" / "flux"
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    for old, new in {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}.items():
        state = {name.replace(f".{new}.", f".{old}."): value for name, value in state.items()}
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in state
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    close(load_layer(AutoencoderKL, tmp_path).decode(golden["mode"]), golden["decoded"])


def test_saved_weights_are_the_file_diffusers_wrote(tmp_path: Path) -> None:
    folder = GOLDEN / "autoencoder_kl" / "flux"
    save_layer(load_layer(AutoencoderKL, folder), tmp_path)
    ours, theirs = (load_file(where / "diffusion_pytorch_model.safetensors") for where in (tmp_path, folder))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_scale_latents_is_shift_then_scale() -> None:
    model = AutoencoderKL(tiny_config(scaling_factor=0.5, shift_factor=3.0))
    latents = paddle.to_tensor([[[[5.0]], [[1.0]]]])
    assert model.scale_latents(latents).flatten().tolist() == [1.0, -1.0]
    close(model.unscale_latents(model.scale_latents(latents)), latents)


def test_scale_latents_by_channel() -> None:
    model = AutoencoderKL(tiny_config(scaling_factor=0.5, latents_mean=[1.0, 2.0], latents_std=[2.0, 4.0]))
    latents = paddle.to_tensor([[[[5.0]], [[10.0]]]])
    assert model.scale_latents(latents).flatten().tolist() == [1.0, 1.0]
    close(model.unscale_latents(model.scale_latents(latents)), latents)


def test_distribution_clamps_log_variance() -> None:
    posterior = DiagonalGaussianDistribution(paddle.to_tensor([0.0, 0.0, -99.0, 99.0]).reshape([1, 4, 1, 1]))
    assert posterior.logvar.flatten().tolist() == [-30.0, 20.0]
    np.testing.assert_allclose(posterior.std.flatten().numpy(), np.exp([-15.0, 10.0]), rtol=1e-5)


def test_upsampling_is_nearest_then_convolution() -> None:
    layer = vae_blocks.Upsample2D(3)
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32))
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.conv.weight, layer.conv.bias, padding=1)
    close(layer(x), expected, 1e-6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("act_fn", "gelu"),
        ("down_block_types", ["AttnDownEncoderBlock2D"]),
        ("up_block_types", ["UpDecoderBlock2D", "UpDecoderBlock2D"]),
        ("block_out_channels", [5]),
        ("block_out_channels", []),
        ("block_out_channels", 4),
        ("layers_per_block", 0),
        ("norm_num_groups", None),
        ("latent_channels", True),
        ("scaling_factor", 0),
        ("scaling_factor", "big"),
        ("shift_factor", "0.1"),
        ("latents_mean", [0.0, 0.0]),
        ("latents_std", [1.0]),
    ],
)
def test_refused_configuration(key: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        AutoencoderKL(tiny_config(**{key: value}))
    message = str(caught.value)
    assert key in message and "valid" in message and "\n" not in message
    shown = tuple(value) if isinstance(value, list) else value
    assert repr(shown) in message


@pytest.mark.parametrize("shape", [[3, 8, 8], [1, 1, 8, 8], [1, 3, 1, 8]])
def test_refused_images(shape: list[int]) -> None:
    model = AutoencoderKL(
        tiny_config(
            block_out_channels=[4, 4],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
        )
    )
    with pytest.raises(InputError, match="valid"):
        model.encode(paddle.zeros(shape))


def test_refused_latents_and_noise() -> None:
    model = AutoencoderKL(tiny_config())
    with pytest.raises(InputError, match="latents have shape"):
        model.decode(paddle.zeros([1, 3, 2, 2]))
    with pytest.raises(InputError, match="noise has shape"):
        model.encode(paddle.zeros([1, 3, 2, 2])).sample(paddle.zeros([1, 2, 2, 1]))
