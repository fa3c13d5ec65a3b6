"""What diffusers and peft make of LoRA files that this package writes, and files that they write themselves.

Run where torch, diffusers, transformers and peft are installed, after make_flux_pipeline.py (its tiny checkpoint is
the base): ``PYTHONPATH=. python tests/golden/make_lora.py``. The package's side of it needs NumPy and safetensors only.
Writes to ``lora/``:

* ``ours.safetensors``, ``kohya.safetensors``: what `write_lora` and `write_kohya` made of `lora_layers`;
* ``peft.safetensors``: saved by diffusers from an adapter of peft's own;
* ``outputs.npz``: latents and velocities that diffusers computes with each of them;
* ``wide.npz``: what diffusers' converter makes of a kohya file at FLUX.1's width, as projections by layer, and the
  check sums of that file's tensors.
"""

import shutil
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula, ids  # noqa: E402
from lora_layers import in_small_kohya, lora_layers, probes, wide_shapes  # noqa: E402

from fastdiffusers.weights.lora import write_kohya, write_lora  # noqa: E402

BASE = HERE / "flux_pipeline" / "dev"
FOLDER = HERE / "lora"
LENGTH = 24


def open_base():
    pipe = FluxPipeline.from_pretrained(BASE)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def shapes_of(transformer):
    linear = torch.nn.Linear
    return {n: (m.in_features, m.out_features) for n, m in transformer.named_modules() if isinstance(m, linear)}


def latents(pipe):
    with torch.no_grad():
        return pipe(
            "a red apple",
            height=24,
            width=32,
            num_inference_steps=4,
            guidance_scale=3.5,
            generator=torch.Generator("cpu").manual_seed(5),
            max_sequence_length=LENGTH,
            output_type="latent",
        ).images.numpy()


def velocity(pipe):
    config = pipe.transformer.config
    txt_ids, img_ids = (torch.from_numpy(part) for part in ids(5, 2, 3))
    feed = {
        "hidden_states": formula("hidden_states", (1, 6, config.in_channels), 1.0),
        "encoder_hidden_states": formula("encoder_hidden_states", (1, 5, config.joint_attention_dim), 1.0),
        "pooled_projections": formula("pooled_projections", (1, config.pooled_projection_dim), 1.0),
        "timestep": np.array([0.7], np.float32),
        "guidance": np.array([3.5], np.float32),
    }
    with torch.no_grad():
        feed = {key: torch.from_numpy(value) for key, value in feed.items()}
        return pipe.transformer(**feed, txt_ids=txt_ids, img_ids=img_ids, return_dict=False)[0].numpy()


def both(pipe, name, outputs):
    outputs[f"{name}.latents"] = latents(pipe)
    outputs[f"{name}.velocity"] = velocity(pipe)


def ours(outputs):
    pipe = open_base()
    shapes = shapes_of(pipe.transformer)
    both(pipe, "base", outputs)
    file = FOLDER / "ours.safetensors"
    write_lora(file, lora_layers(shapes), {"made_by": "make_lora.py"}, "float32")
    pipe.load_lora_weights(file)
    both(pipe, "ours", outputs)


def both_alphas_are_refused():
    """diffusers takes alphas from tensors or from its own header entry, not from both."""
    pipe = open_base()
    tensors = load_file(FOLDER / "ours.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, f"{folder}/x.safetensors", {"lora_adapter_metadata": '{"transformer.r": 4}'})
        try:
            pipe.load_lora_weights(f"{folder}/x.safetensors")
        except ValueError as error:
            print("as expected:", error)
        else:
            raise SystemExit("diffusers now takes alpha tensors and its header entry together")


def kohya(outputs):
    pipe = open_base()
    shapes = shapes_of(pipe.transformer)
    chosen = {name: layer for name, layer in lora_layers(shapes).items() if in_small_kohya(name)}
    file = FOLDER / "kohya.safetensors"
    write_kohya(file, chosen, shapes, dtype="float32")
    pipe.load_lora_weights(file)
    both(pipe, "kohya", outputs)


def by_peft(outputs):
    pipe = open_base()
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["to_q", "to_k", "to_out.0", "ff.net.2", "proj_mlp", "norm_out.linear"],
        rank_pattern={"to_k": 2},
        alpha_pattern={"to_k": 5, "transformer_blocks.0.ff.net.2": 3},
    )
    pipe.transformer.add_adapter(config)
    with torch.no_grad():
        for name, parameter in pipe.transformer.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.from_numpy(formula(name, tuple(parameter.shape), 0.2)))
    both(pipe, "peft", outputs)
    with tempfile.TemporaryDirectory() as folder:
        FluxPipeline.save_lora_weights(
            folder,
            transformer_lora_layers=get_peft_model_state_dict(pipe.transformer),
            **_collate_lora_metadata({"transformer": pipe.transformer}),
        )
        shutil.copy(f"{folder}/pytorch_lora_weights.safetensors", FOLDER / "peft.safetensors")


def wide():
    """diffusers' converter on a kohya file of all kinds of layers at full width."""
    shapes = wide_shapes()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kohya.safetensors"
        write_kohya(file, lora_layers(shapes), shapes, dtype="float32")
        converted = FluxPipeline.lora_state_dict(file)
        found = {f"crc of {key}": np.array(zlib.crc32(value)) for key, value in load_arrays(file).items()}
    for name, shape in shapes.items():
        # the layers outside of the blocks come without the prefix
        prefix = "transformer." if f"transformer.{name}.lora_A.weight" in converted else ""
        down, up = (converted.pop(f"{prefix}{name}.lora_{key}.weight").double().numpy() for key in "AB")
        left, right = probes(name, shape)
        found[name] = np.einsum("ko,or,ri,ki->k", left, up, down, right)
    if converted:
        raise SystemExit(f"left over: {sorted(converted)}")
    np.savez_compressed(FOLDER / "wide.npz", **found)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    outputs = {}
    ours(outputs)
    both_alphas_are_refused()
    kohya(outputs)
    by_peft(outputs)
    wide()
    np.savez_compressed(FOLDER / "outputs.npz", **outputs)
