"""FLUX's transformer against diffusers on the same weights."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from formula_weights import formula, ids
from safetensors.numpy import load_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models import FluxTransformer2DModel
from fastdiffusers.models.embeddings import apply_rope, rope_table
from fastdiffusers.models.flux_blocks import FluxSingleTransformerBlock, FluxTransformerBlock
from fastdiffusers.models.transformer_flux import FluxTransformerConfig
from fastdiffusers.weights import load_layer, save_layer
from fastdiffusers.weights.layers import build_lazy, linear_weights

GOLDEN = Path(__file__).parents[1] / "golden"


def run(model, case):
    feed = {key: paddle.to_tensor(value) for key, value in case.items() if key != "output"}
    with paddle.no_grad():
        return model(**feed, image_rotary_emb=model.rope(*ids(5, 4, 6))).numpy()


@pytest.mark.parametrize("name", ["guidance", "plain"])
def test_output_equals_diffusers(name):
    folder = GOLDEN / "flux_transformer" / name
    case = load_file(folder / "case.safetensors")
    np.testing.assert_allclose(run(load_layer(FluxTransformer2DModel, folder), case), case["output"], atol=2e-5)


def test_saved_again_is_the_same_file_content(tmp_path):
    folder = GOLDEN / "flux_transformer" / "guidance"
    model = load_layer(FluxTransformer2DModel, folder)
    save_layer(model, tmp_path, max_shard_bytes=50_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = load_layer(FluxTransformer2DModel, tmp_path)
    original = load_file(folder / "diffusion_pytorch_model.safetensors")
    written = {k: v for path in tmp_path.glob("*.safetensors") for k, v in load_file(path).items()}
    assert written.keys() == original.keys()
    for key, value in original.items():
        np.testing.assert_array_equal(written[key], value)
    case = load_file(folder / "case.safetensors")
    np.testing.assert_array_equal(run(again, case), run(model, case))


@pytest.mark.parametrize(("name", "guidance"), [("dev", True), ("schnell", False)])
def test_full_configuration_has_diffusers_names_and_shapes(name, guidance):
    expected = json.loads((GOLDEN / f"manifest_flux_{name}.json").read_text())
    model = build_lazy(FluxTransformer2DModel, FluxTransformerConfig(guidance_embeds=guidance))
    turned = linear_weights(model)
    ours = {k: list(p.shape)[::-1] if k in turned else list(p.shape) for k, p in model.named_parameters()}
    assert ours == expected


def fill(layer, prefix):
    turned = linear_weights(layer)
    for name, parameter in layer.named_parameters():
        shape = tuple(parameter.shape)
        value = formula(prefix + name, shape[::-1] if name in turned else shape)
        owner, _, own = name.rpartition(".")
        part = dict(layer.named_sublayers(include_self=True))[owner]
        tensor = paddle.to_tensor(np.ascontiguousarray(value.T) if name in turned else value)
        part._parameters[own] = paddle.base.framework.EagerParamBase.from_tensor(tensor)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["double", "single"])
def test_blocks_at_full_width_equal_diffusers(kind):
    golden = load_file(GOLDEN / "flux_wide.safetensors")
    cls = FluxTransformerBlock if kind == "double" else FluxSingleTransformerBlock
    with paddle.LazyGuard():
        block = cls(3072, 24, 128)
    fill(block, f"{kind}.")
    cos, sin = rope_table(np.concatenate(ids(7, 3, 5)), (16, 56, 56))
    rope = tuple(paddle.to_tensor(part[None, :, None, :]) for part in (cos, sin))
    image, text, temb = (
        paddle.to_tensor(formula(f"wide.{name}", shape, 1.0))
        for name, shape in (("image", (1, 15, 3072)), ("text", (1, 7, 3072)), ("temb", (1, 3072)))
    )
    with paddle.no_grad():
        if kind == "double":
            image, text = block(image, text, temb, rope)
        else:
            joint = block(paddle.concat([text, image], axis=1), temb, rope)
            text, image = joint[:, :7], joint[:, 7:]
    np.testing.assert_allclose(text.numpy(), golden[f"{kind}.text"], atol=1e-4)
    np.testing.assert_allclose(image.numpy(), golden[f"{kind}.image"], atol=1e-4)


def test_rope_is_a_rotation_of_neighbouring_pairs():
    cos, sin = rope_table(np.array([[0.0], [1.0]], np.float32), [4])
    rope = tuple(paddle.to_tensor(part[None, :, None, :]) for part in (cos, sin))
    x = paddle.to_tensor(np.tile(np.array([1.0, 0.0, 0.0, 1.0], np.float32), (1, 2, 1, 1)).reshape(1, 2, 1, 4))
    out = apply_rope(x, rope).numpy()[0, :, 0]
    np.testing.assert_allclose(out[0], [1, 0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(out[1], [np.cos(1), np.sin(1), -np.sin(0.01), np.cos(0.01)], atol=1e-6)


def test_guidance_is_asked_for_exactly_where_it_exists():
    case = load_file(GOLDEN / "flux_transformer" / "guidance" / "case.safetensors")
    case.pop("guidance")
    with pytest.raises(InputError, match="has a guidance embedding"):
        run(load_layer(FluxTransformer2DModel, GOLDEN / "flux_transformer" / "guidance"), case)


def test_rope_axes_must_fill_a_head():
    with pytest.raises(WeightsError, match="axes_dims_rope"):
        FluxTransformerConfig(axes_dims_rope=(4, 4), attention_head_dim=16)
