"""FID's Inception-v3 at its real widths against torch, on weights by formula, and the files that it is read from."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from inception_weights import inception_weight
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.inception_v3 import InceptionV3
from fastdiffusers.scorer.inception import InceptionFeatures, enlarged, load_inception

GOLDEN = Path(__file__).parents[1] / "golden" / "inception.safetensors"


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return load_file(GOLDEN)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """By the names of pytorch-fid, with what the features do not need."""
    with paddle.LazyGuard():
        names = {name: tuple(p.shape) for name, p in InceptionV3().named_parameters()}
    found = {name: inception_weight(name, shape) for name, shape in names.items()}
    found["fc.weight"], found["fc.bias"] = np.zeros((1008, 2048), np.float32), np.zeros(1008, np.float32)
    found["Mixed_5b.branch1x1.bn.num_batches_tracked"] = np.array(1, np.int64)
    return found


@pytest.fixture(scope="module")
def judge(weights, tmp_path_factory) -> InceptionFeatures:
    file = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(weights, file)
    return load_inception(file)


def test_pictures_are_resized_as_fids_graph_does(expected):
    for name, part in (("small", slice(0, 40)), ("large", slice(-40, None))):
        found = enlarged(expected[name]).transpose(2, 0, 1)
        assert found.shape == (3, 299, 299)
        np.testing.assert_allclose(found[:, part, part], expected[f"{name}.corner"], atol=2e-3)


def test_features_are_those_of_torch(judge, expected):
    assert judge.name == "weights" and len(judge.sha256) == 64
    found = np.concatenate([judge.features([expected[name]]) for name in ("small", "large")])
    size = np.abs(expected["features"]).max()
    assert found.shape == (2, 2048) and size > 0.1
    assert np.abs(found - expected["features"]).max() < 1e-4 * size
    assert np.abs(expected["features"][0] - expected["features"][1]).max() > 0.01 * size


def test_as_many_weights_as_the_published_file(weights):
    """torchvision counts 23,834,568 without the second classifier; the first one has 2,049,000 of them."""
    kernels = [name for name in weights if name.endswith(".conv.weight")]
    assert len(kernels) == 94
    others = ("fc.", "running_mean", "running_var", "num_batches_tracked")
    trained = sum(value.size for name, value in weights.items() if not any(word in name for word in others))
    assert trained == 23_834_568 - 2_049_000


def test_files_that_are_not_fids(tmp_path, weights):
    file = tmp_path / "x.safetensors"
    with pytest.raises(WeightsError, match="is not a file; FID's Inception-v3 as safetensors is needed"):
        load_inception(file)
    with pytest.raises(WeightsError, match="is a pickle"):
        load_inception(tmp_path / "pt_inception.pth")
    file.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="truncated or no safetensors file"):
        load_inception(file)
    save_file({"fc.weight": np.zeros((1000, 2048), np.float32)}, file)
    with pytest.raises(WeightsError, match="classifies 1000 classes and is not FID's Inception-v3, which has 1008"):
        load_inception(file)
    save_file({"Conv2d_1a_3x3.conv.weight": weights["Conv2d_1a_3x3.conv.weight"]}, file)
    with pytest.raises(WeightsError, match="the files lack 469 weights of InceptionV3"):
        load_inception(file)


def test_bad_pictures(judge):
    with pytest.raises(InputError, match="there are no pictures"):
        judge.features([])
    with pytest.raises(InputError, match="a picture of float64"):
        judge.features([np.zeros((4, 4, 3))])
