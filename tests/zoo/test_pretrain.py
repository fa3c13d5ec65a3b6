"""The stages of the embedded model, tiny, on the packaged sample: each from the one before, and the result draws."""

import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.training.launch import build, load_task, train
from fastdiffusers.training.recipe import config_to_dict, load_recipe
from fastdiffusers.zoo.emoji import SAMPLE, Caption, EmojiDataset
from fastdiffusers.zoo.pretrain import TASKS, latents
from fastdiffusers.zoo.pretrain.assemble import AssembleConfig, assemble
from fastdiffusers.zoo.pretrain.augment import augmented, random_ground
from fastdiffusers.zoo.pretrain.captions import GROUNDS, CaptionSource, build_tokenizers
from fastdiffusers.zoo.pretrain.dataset import stored_size
from fastdiffusers.zoo.pretrain.drawing import euler, recognised
from fastdiffusers.zoo.pretrain.pictures import grid, psnr
from fastdiffusers.zoo.pretrain.places import RECIPES, recipe_file
from fastdiffusers.zoo.pretrain.text import fitting

COMMON = ["steps=2", "batch=6", f"data={SAMPLE}", "log_every=1"]
VAE = ["size=32", "block_out_channels=[8, 8, 8, 8]", "norm_num_groups=4", "latent_channels=4"]
TEXT = ["hidden_size=32", "layers=1", "heads=2"]
FLUX = ["num_layers=1", "num_single_layers=1", "heads=2", "axes_dims_rope=[4, 6, 6]", "t5_width=32", "t5_layers=1"]


def config_of(stage: str, *words: str):
    return load_recipe(load_task(TASKS[stage]).Config, None, [*COMMON, *words])


def run(stage: str, folder: Path, *words: str) -> dict:
    return train(TASKS[stage], config_of(stage, *words), folder)


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    run("vae", folder / "vae", *VAE)
    run("text", folder / "text", *TEXT)
    places = [f"vae={folder / 'vae'}", f"text={folder / 'text'}", "compile=false"]
    run("flux", folder / "flux", *FLUX, *places)
    run("guidance", folder / "guidance", *FLUX, *places, f"base={folder / 'flux'}")
    return folder


def options(folder: Path, **more: str) -> AssembleConfig:
    words = [f"{stage}={folder / stage}" for stage in ("vae", "text", "flux", "guidance")]
    return AssembleConfig.from_words([*words, f"data={SAMPLE}", *(f"{k}={v}" for k, v in more.items())])


def test_the_assembled_model_is_loaded_and_draws(stages, tmp_path):
    import fastdiffusers

    assemble(options(stages), tmp_path / "model")
    pipe = fastdiffusers.load(tmp_path / "model")
    drawn = pipe("a red apple on a blue background", num_inference_steps=2, seed=1)
    assert drawn.images[0].size == (32, 32) and drawn.truncated == (None,)
    assert pipe.info.dtype == "float16"
    assert pipe.tokenizer.max_length == 24 and pipe.tokenizer_2.max_length == 16


def test_the_card_says_how_it_was_made_and_from_what(stages, tmp_path):
    assemble(options(stages, dtype="float32"), tmp_path / "model")
    card = json.loads((tmp_path / "model" / "fastdiff.json").read_text())
    assert card["made"]["vae"]["samples"] == 12 and card["made"]["flux"]["steps"] == 2
    assert "held_out_psnr_db" in card["made"]["vae"] and "recognised" in card["made"]["guidance"]
    assert {"apple", "background", "noto"} <= set(card["words"])
    assert card["prompts"][0] == "a red apple"
    assert str(stages) not in json.dumps(card) and str(SAMPLE) not in json.dumps(card)
    assert {source["licence"] for source in card["training_data"]} >= {"Apache-2.0", "MIT"}
    assert "max_sequence_length=16" in (tmp_path / "model" / "README.md").read_text()


def test_the_trained_transformer_is_in_the_folder_unchanged(stages, tmp_path):
    from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
    from fastdiffusers.weights import load_layer

    assemble(options(stages, dtype="float32"), tmp_path / "model")
    ours = load_layer(FluxTransformer2DModel, tmp_path / "model" / "transformer").state_dict()
    trained = load_layer(FluxTransformer2DModel, stages / "guidance" / "transformer").state_dict()
    for name, value in trained.items():
        np.testing.assert_array_equal(ours[name].numpy(), value.numpy())


def test_assemble_names_what_is_missing(stages, tmp_path):
    with pytest.raises(InputError, match=r"no trained vae in '.*'; `fastdiff pretrain vae` writes it"):
        assemble(AssembleConfig(vae=str(tmp_path), text=str(stages / "text")), tmp_path / "model")
    with pytest.raises(InputError, match=r"unknown recipe key 'vea'; valid: data, dtype"):
        AssembleConfig.from_words(["vea=x"])
    assert not (tmp_path / "model").exists()


def test_the_autoencoder_scales_its_latents_to_unit_size(stages):
    from fastdiffusers.models.autoencoder_kl import AutoencoderKL
    from fastdiffusers.weights import load_layer

    vae = load_layer(AutoencoderKL, stages / "vae" / "vae")
    pictures = EmojiDataset(SAMPLE, size=32).batch(range(22))
    z = vae.scale_latents(vae.encode(paddle.to_tensor(pictures)).mode()).numpy()
    assert abs(z.mean()) < 0.3 and 0.7 < z.std() < 1.3
    assert vae.config.sample_size == 32


def test_the_pooled_vector_has_the_length_sqrt_of_its_width(stages):
    from fastdiffusers.models.clip_text import CLIPTextModel
    from fastdiffusers.models.tokenizers import CLIPTokenizer
    from fastdiffusers.weights import load_layer

    text = load_layer(CLIPTextModel, stages / "text" / "text_encoder")
    assert (text.text_model.final_layer_norm.weight.numpy() == 1).all()
    ids = CLIPTokenizer.from_folder(stages / "text" / "tokenizer")(["a red apple", "pizza on a green background"]).ids
    pooled = text(paddle.to_tensor(ids))[1].numpy()
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), np.sqrt(32), rtol=1e-3)


@pytest.mark.parametrize("stage", list(TASKS))
def test_shipped_recipes_fit_their_tasks(stage):
    config = load_recipe(load_task(TASKS[stage]).Config, recipe_file(stage))
    assert config.workers == 3 or stage in ("text", "scorer")


def test_recipes_by_name_and_by_file(tmp_path):
    assert recipe_file("flux") == RECIPES / "flux.yaml"
    with pytest.raises(InputError, match="unknown recipe 'fluks'; valid: flux, guidance, scorer, text, vae"):
        recipe_file("fluks")
    with pytest.raises(InputError, match=r"no recipe file '.*none.yaml'"):
        recipe_file(str(tmp_path / "none.yaml"))


def test_a_size_that_does_not_halve_is_refused():
    with pytest.raises(InputError, match="recipe key 'size' is 40; valid are multiples of 16"):
        build(TASKS["vae"], {"data": str(SAMPLE), "size": 40, "norm_num_groups": 16})


def altered(folder: Path, **values: object) -> Path:
    """A copy of the sample whose index lines all have ``values``, without its card."""
    shutil.copytree(SAMPLE, folder)
    (folder / "card.json").unlink(missing_ok=True)
    lines = [{**json.loads(line), **values} for line in (folder / "index.jsonl").read_text().splitlines()]
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("stage", "values", "lacking"),
    [
        ("vae", {"split": "held-out"}, "train pictures"),
        ("vae", {"split": "train"}, "held-out pictures"),
        ("text", {"split": "held-out"}, "train pictures of the core list"),
        ("text", {"core": False}, "train pictures of the core list"),
    ],
)
def test_a_split_without_pictures_is_said_before_the_training(tmp_path, stage, values, lacking):
    data = altered(tmp_path / "data", **values)
    with pytest.raises(InputError, match=f"^no {lacking} in '.*'; build them with `fastdiff data emoji`$"):
        build(TASKS[stage], {"data": str(data), "size": 32})


def test_the_stored_size_is_that_of_the_pictures(tmp_path):
    data = altered(tmp_path / "data")
    assert stored_size(data) == 64
    (data / "card.json").write_text("{}")
    task, _ = build(TASKS["vae"], config_to_dict(config_of("vae", *VAE, f"data={data}")))
    assert task.data.size == 64
    np.save(data / "images.npy", np.zeros((2, 40, 40, 4), np.uint8))
    assert stored_size(data) == 40


def test_cached_latents_belong_to_their_pictures_and_a_damaged_cache_is_made_again(stages, tmp_path, monkeypatch):
    from fastdiffusers.models.autoencoder_kl import AutoencoderKL
    from fastdiffusers.weights import load_layer

    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))
    monkeypatch.setattr(latents, "GROUNDS", (None, "blue"))
    vae = load_layer(AutoencoderKL, stages / "vae" / "vae")
    data = EmojiDataset(SAMPLE, size=32)
    first = latents.encode_all(vae, data, stages / "vae" / "vae")
    assert first.shape[:3] == (2, len(data), 2)
    pictures = paddle.to_tensor(data.batch([3], ["blue"])[..., ::-1].copy())
    mirrored = latents.pack(vae.scale_latents(vae.encode(pictures).mode()).numpy())
    np.testing.assert_allclose(first[1, 3, 1], mirrored[0], atol=2e-3)
    (file,) = (tmp_path / "latents").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    np.testing.assert_array_equal(latents.encode_all(vae, data, stages / "vae" / "vae"), first)
    assert file.read_bytes() == whole
    data._pixels = np.zeros_like(data._pixels)
    assert np.abs(latents.encode_all(vae, data, stages / "vae" / "vae") - first).max() > 0


def test_velocity_target_and_mixture_belong_together(stages):
    words = [*FLUX, f"vae={stages / 'vae'}", f"text={stages / 'text'}", "compile=false", "caption_drop=0"]
    task, _ = build(TASKS["flux"], config_to_dict(config_of("flux", *words)))
    batch = task.batch(np.arange(8), np.random.default_rng(0))
    sigma = batch["sigma"].numpy()[:, None, None]
    clean = batch["x"].numpy() - sigma * batch["velocity"].numpy()  # x = x0 + σ(ε - x0)
    known = task.latents[:, :8].astype(np.float32)  # [mirrored, picture, ground, token, channel]
    distance = np.abs(known - clean[:, None]).max(axis=(3, 4))
    assert distance.min(axis=(0, 2)).max() < 1e-4
    assert set(distance.min(axis=2).argmin(axis=0)) == {0, 1}, "both the plain and the mirrored are drawn"
    assert sigma.min() > 0 and sigma.max() < 1


def test_an_empty_caption_has_the_same_target_at_every_guidance(stages):
    words = [*FLUX, f"vae={stages / 'vae'}", f"text={stages / 'text'}", "compile=false", f"base={stages / 'flux'}"]
    task, _ = build(TASKS["guidance"], config_to_dict(config_of("guidance", *words)))
    with paddle.no_grad():  # away from the start, at which the velocity does not depend on the caption
        for value in task.teacher.parameters():
            value.set_value(value + 0.2 * paddle.randn(value.shape))
    batch = task.batch(np.arange(6), np.random.default_rng(0))
    told, untold = (
        task.teacher(batch["x"], batch["sigma"], batch[ids], batch[pooled], batch["base_guidance"], *task.rope).numpy()
        for ids, pooled in (("ids", "pooled"), ("empty_ids", "empty_pooled"))
    )
    scale = batch["guidance"].numpy()[:, None, None]
    assert np.abs(told - untold).mean() > 0.01
    np.testing.assert_allclose(task.target(batch).numpy(), untold + scale * (told - untold), atol=1e-5)
    batch.update(ids=batch["empty_ids"], pooled=batch["empty_pooled"])
    np.testing.assert_allclose(task.target(batch).numpy(), untold, atol=1e-5)


@pytest.mark.slow
def test_the_static_graph_computes_what_the_layers_do(stages):
    words = [*FLUX, f"vae={stages / 'vae'}", f"text={stages / 'text'}"]
    task, groups = build(TASKS["flux"], config_to_dict(config_of("flux", *words)))
    with paddle.no_grad():  # away from the zero start, at which every gradient but the last is zero
        for value in groups[0].parameters.values():
            value.set_value(value + 0.05 * paddle.randn(value.shape))
    batch = task.batch(np.arange(6), np.random.default_rng(0))
    gradients = []
    for forward in (task.forward, task.model.forward):
        task.forward = forward
        task.step(batch, 0).loss.backward()
        gradients.append({name: value.grad.numpy() for name, value in groups[0].parameters.items()})
        for value in groups[0].parameters.values():
            value.clear_gradient(False)
    for name, value in gradients[1].items():
        np.testing.assert_allclose(gradients[0][name], value, atol=1e-5, err_msg=name)


def test_pack_puts_two_by_two_squares_into_channels():
    cells = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    tokens = latents.pack(cells)
    assert tokens.shape == (2, 6, 12)
    np.testing.assert_array_equal(tokens[1, 4].reshape(3, 2, 2), cells[1, :, 2:4, 2:4])
    np.testing.assert_array_equal(latents.unpack(tokens, 4, 6), cells)
    assert latents.image_ids(4, 6)[4].tolist() == [0, 1, 1]


def test_euler_follows_a_straight_flow_exactly():
    clean, noise = np.full((1, 2, 3), 5.0, np.float32), np.ones((1, 2, 3), np.float32)
    np.testing.assert_allclose(euler(lambda x, sigma: noise - clean, noise, 7), clean, atol=1e-5)


def test_recognised_counts_nearest_pictures_of_the_right_concept():
    data = EmojiDataset(SAMPLE, size=16)
    known = np.random.default_rng(0).standard_normal((2, len(data), len(GROUNDS), 4, 8)).astype(np.float16)
    codes = [data.entries[i]["hexcode"] for i in (0, 3)]
    drawn = known[[0, 1], [0, 3], [2, 0]].astype(np.float32) + 0.01
    assert recognised(drawn, codes, known, data) == 1.0
    assert recognised(drawn, codes[::-1], known, data) == 0.0


def test_fitting_knows_concept_ground_and_named_style():
    entries = [{"hexcode": code, "style": style} for code, style in (("A", "noto"), ("A", "fluent"), ("B", "noto"))]
    captions = [Caption("a", None, False), Caption("a, fluent", None, True), Caption("b on blue", "blue", False, True)]
    assert fitting(captions, entries).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    captions[0] = Caption("a", "red", False)  # the ground is kept quiet: true of any picture of it
    assert fitting(captions, entries).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    captions[0] = Caption("a on red", "red", False, True)
    assert fitting(captions, entries).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_tokenizers_give_whole_words_one_token_and_are_reproducible():
    source = CaptionSource(EmojiDataset(SAMPLE, size=16), 0.3)
    clip, t5 = build_tokenizers(source)
    text = "a red apple on a blue background"
    assert len(clip.backend.encode(text).ids) == 9 and len(t5.backend.encode(text).ids) == 8
    again = build_tokenizers(source)
    assert [t.backend.to_str() for t in again] == [t.backend.to_str() for t in (clip, t5)]
    drawn = source.draw(range(22), np.random.default_rng(0))
    assert all(
        caption.background_mentioned == (f"{caption.background or 'white'} background" in caption.text)
        for caption in drawn
    )


def test_augmented_pictures_keep_their_ground_and_range():
    data = EmojiDataset(SAMPLE, size=64)
    plain = augmented(data, np.arange(4), np.random.default_rng(0), 32, coloured=0.0, moved=0.0)
    moved = augmented(data, np.arange(4), np.random.default_rng(0), 32, coloured=0.0, moved=1.0)
    assert plain.shape == moved.shape == (4, 3, 32, 32) and plain.dtype == np.float32
    assert plain.min() >= -1 and plain.max() == 1 and np.abs(plain - moved).mean() > 0.02
    assert (moved[:, :, 0, 0] == 1).all(), "the corners must be white, not black"
    grounds = {random_ground(np.random.default_rng(seed), 1.0) for seed in range(20)}
    assert len(grounds) > 5 and random_ground(np.random.default_rng(0), 0.0) == (255, 255, 255)


def test_psnr_and_grid():
    black, grey = np.full((2, 3, 4, 4), -1, np.float32), np.full((2, 3, 4, 4), -0.8, np.float32)
    assert psnr(black, grey) == pytest.approx(20.0)
    sheet = grid(np.arange(3, dtype=np.uint8).repeat(12).reshape(3, 2, 2, 3), columns=2, gap=1)
    assert sheet.shape == (5, 5, 3) and sheet[3, 0, 0] == 2 and sheet[2, 0, 0] == 128


def test_assembling_over_somebodys_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(InputError, match="holds other files, which would be replaced"):
        assemble(AssembleConfig(), tmp_path)
    assert (tmp_path / "thesis.txt").exists()
