"""Folders that ppdiffusers wrote, folders of diffusers, and what is wrong with others."""

import json
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastdiffusers
from fastdiffusers.errors import WeightsError

CALL = {"prompt": "a cat", "seed": 2, "num_inference_steps": 3, "height": 24, "width": 32, "output_type": "latent"}


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_a_folder_that_ppdiffusers_saved_gives_the_same_latents(pipelines, checkpoints, family, tmp_path):
    pipe = pipelines(family)
    place = tmp_path / "saved"
    for part in pipe.info.parts.weighted:
        layer = getattr(pipe.pipe, part)
        layer.save_pretrained(str(place / part), safe_serialization=True)
        for pickle in (place / part).glob("*.pdparams"):
            pickle.unlink()
    for name in [name for name in pipe.info.parts.names if name not in pipe.info.parts.weighted]:
        shutil.copytree(checkpoints[family] / name, place / name)
    shutil.copy(checkpoints[family] / "model_index.json", place)
    names = [path.name for path in place.rglob("*.safetensors")]
    assert "diffusion_paddle_model.safetensors" in names
    with safe_open(str(place / "text_encoder" / "model.safetensors"), "np") as file:
        assert file.metadata()["format"] in ("pd", "np")  # the weights lie as Paddle keeps them
    again = fastdiffusers.load(place)
    assert np.array_equal(again(**CALL).latents, pipe(**CALL).latents)


def test_text_encoders_of_a_newer_transformers_have_no_prefix(checkpoints, pipelines, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(checkpoints["sd15"], place)
    file = place / "text_encoder" / "model.safetensors"
    weights = {name.removeprefix("text_model."): value for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    assert np.array_equal(fastdiffusers.load(place)(**CALL).latents, pipelines("sd15")(**CALL).latents)


def test_sd3_without_t5(checkpoints, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(checkpoints["sd3"], place)
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(place / part)
    with pytest.raises(WeightsError, match="lacks the folder 'text_encoder_3'"):
        fastdiffusers.load(place)
    index = json.loads((place / "model_index.json").read_text())
    nothing = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (place / "model_index.json").write_text(json.dumps({**index, **nothing}))
    assert np.isfinite(fastdiffusers.load(place)(**CALL).latents).all()


def changed(folder, path, **values):
    file = folder / path
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def pickled(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "model_state.pdparams").write_bytes(b"\x80")


def lacking(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file, metadata={"format": "pt"})


WRONG = [
    (
        "sd3",
        lambda f: changed(f, "transformer/config.json", qk_norm="rms_norm"),
        "qk_norm='rms_norm', which ppdiffusers",
    ),
    ("sd3", lambda f: changed(f, "scheduler/scheduler_config.json", use_karras_sigmas=True), "use_karras_sigmas=True"),
    ("sd15", lambda f: changed(f, "scheduler/scheduler_config.json", _class_name="NoScheduler"), "unknown scheduler"),
    ("sd15", lambda f: changed(f, "unet/config.json", _class_name="OtherModel"), "unknown class 'OtherModel'"),
    ("sd15", pickled, "is a pickle, which can run code when opened"),
    ("sd15", lacking, "the files lack 1 weight of UNet2DConditionModel, the first is 'conv_in.weight'"),
]


@pytest.mark.parametrize(("family", "damage", "words"), WRONG, ids=[words[:30] for *_, words in WRONG])
def test_what_cannot_be_computed_rightly_is_refused_in_one_line(checkpoints, tmp_path, family, damage, words):
    place = tmp_path / "model"
    shutil.copytree(checkpoints[family], place)
    damage(place)
    with pytest.raises(WeightsError) as caught:
        fastdiffusers.load(place)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_loading_writes_nothing_into_the_folder(checkpoints, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(checkpoints["sd15"], place)
    before = sorted(path.relative_to(place) for path in place.rglob("*"))
    fastdiffusers.load(place)
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before


def test_flux_draws_the_same_bits_whether_ppdiffusers_is_imported_or_not(pipelines):
    import os
    import subprocess
    import sys

    code = (
        "import hashlib, sys\nfrom fastdiffusers.environment import prepare\nprepare()\n"
        "if sys.argv[1] == 'with':\n    from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers\n"
        "    load_ppdiffusers()\n"
        "from fastdiffusers.testing import tiny_flux\n"
        "pipe = tiny_flux()\n"
        "out = pipe('a cat', num_inference_steps=3, seed=1, num_images_per_prompt=2, output_type='np')\n"
        "print(hashlib.sha256(out.latents.tobytes() + out.images.tobytes()).hexdigest())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}
    found = [
        subprocess.run([sys.executable, "-c", code, how], env=env, capture_output=True, text=True)
        for how in ("with", "without")
    ]
    assert all(done.returncode == 0 for done in found), found[0].stderr + found[1].stderr
    assert found[0].stdout.split()[-1] == found[1].stdout.split()[-1]
