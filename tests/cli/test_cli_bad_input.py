"""Whatever a user gets wrong is one line on stderr, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def truncated(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def corrupt(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04N.")


def lacks_a_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    del state["proj_out.weight"]
    save_file(state, folder / WEIGHTS)


def has_a_weight_nobody_reads(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file(state | {"extra.weight": np.zeros(3, np.float32)}, folder / WEIGHTS)


def wrong_shape(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file(state | {"proj_out.bias": np.zeros(3, np.float32)}, folder / WEIGHTS)


def no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def other_pipeline(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')


def broken_json(folder: Path) -> None:
    (folder / "transformer" / "config.json").write_text("{")


def no_vae(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def weights_of_infinity(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file(state | {"proj_out.bias": np.full_like(state["proj_out.bias"], np.inf)}, folder / WEIGHTS)


MODELS = [
    (truncated, ["diffusion_pytorch_model.safetensors"]),
    (corrupt, ["diffusion_pytorch_model.safetensors"]),
    (pickled, ["diffusion_pytorch_model.bin", "pickle"]),
    (lacks_a_weight, ["proj_out.weight"]),
    (has_a_weight_nobody_reads, ["extra.weight"]),
    (wrong_shape, ["proj_out.bias"]),
    (no_index, ["model_index.json"]),
    (other_pipeline, ["KandinskyPipeline", "FluxPipeline"]),
    (broken_json, ["config.json"]),
    (no_vae, ["vae"]),
    (weights_of_infinity, ["step 1 of 2"]),
]

# words after `infer --model TINY`, and what the line must say
OPTIONS = [
    ("--accel teecache", ["'teecache'", "did you mean 'teacache'"]),
    ("--accel teacache:treshold=1", ["`treshold`", "threshold"]),
    ("--accel teacache:threshold=high", ["threshold must be a number", "'high'"]),
    ("--accel teacache:threshold=-1", ["threshold must be a number ≥ 0"]),
    ("--accel teacache:threshold", ["'threshold'", "teacache:OPTION=VALUE"]),
    ("--accel teacache,", ["empty accelerator name"]),
    ("--accel none,nap", ["'none'"]),
    ("--accel nap,doze", ["slumber"]),
    ("--accel nap,nap", ["named twice"]),
    ("--accel nap --accel doze", ["bench", "a comma composes: --accel nap,doze"]),
    ("--accel dream", ["'rem'"]),
    ("--accel nap:depth=0", ["from 1 to 9"]),
    ("--accel poison --steps 4", ["step 3 of 4"]),
    ("--steps 0", ["--steps 0"]),
    ("--steps -3", ["--steps -3"]),
    ("--steps many", ["--steps", "'many'"]),
    ("--guidance -1", ["--guidance -1"]),
    ("--guidance nan", ["--guidance nan"]),
    ("--size 30x32", ["width 30", "28 or 32"]),
    ("--size 32x0", ["height 0"]),
    ("--size big", ["'big'", "96x96"]),
    ("--size ３２x３２", ["'３２x３２'", "96x96"]),
    ("--n 0", ["--n 0"]),
    ("--seed -1", ["--seed -1"]),
    ("--seed 18446744073709551616", ["--seed"]),
    ("--dtype float8", ["'float8'", "bfloat16"]),
    ("--dtype bfloat16", ["bfloat16", "float32"]),
    ("--threads 0", ["--threads 0"]),
    ("--strength 0.5", ["--image"]),
    ("--image red.png --strength 0", ["--strength 0"]),
    ("--image red.png --strength 1.5", ["--strength 1.5"]),
    ("--image missing.png", ["missing.png"]),
    ("--image notes.txt", ["notes.txt", "not a readable picture"]),
    ("--negative dog", ["--true-cfg"]),
    ("--true-cfg 2", ["--negative"]),
    ("--true-cfg 0.5 --negative dog", ["--true-cfg"]),
    ("--prompts missing.txt", ["missing.txt"]),
    ("--prompts empty.txt", ["empty.txt", "no prompt"]),
    ("--prompts latin.txt", ["latin.txt", "UTF-8"]),
    ("--prompts notes.txt apple", ["'apple'", "use one of them"]),
    ("--plan missing.yaml", ["missing.yaml"]),
    ("--plan notes.txt", ["notes.txt", "not a plan"]),
    ("--plan broken.yaml", ["broken.yaml", "YAML"]),
    ("--plan other.yaml", ["sha256 000000000000"]),
    ("--plan other.yaml --accel nap", ["--plan and --accel"]),
    ("--plan zero.yaml", ["--steps 0"]),
    ("--out apple.jpg", ["'apple.jpg'", ".png"]),
    ("--out .", ["'.'"]),
    ("--out folder.png", ["'folder.png'", "is a folder"]),
    ("--out notes.txt/apple.png", ["notes.txt"]),
    ("--save-plan notes.txt/plan.yaml", ["notes.txt"]),
    ("--save-plan folder.png", ["'folder.png'", "is a folder"]),
    ("--save-plan red.png --image red.png", ["--save-plan 'red.png' would overwrite"]),
    ("--save-plan ./fastdiff.png", ["--save-plan", "is the name of a picture"]),
    (f"--out {'a' * 300}.png", ["--out 'aaa", "too long a name", "at most 241 bytes"]),
    (f"--out {'a' * 240}.png", ["--out 'aaa", "too long a name"]),
    (f"--out {'ä' * 120}.png --n 2", ["--out 'äää", "too long a name"]),
    (f"--out new/{'a' * 300}/b.png", ["--out 'new/aaa", "too long a name"]),
    (f"--out {'new/' * 1100}b.png", ["--out 'new/new", "too long a name"]),
    (f"--save-plan {'a' * 300}.yaml", ["--save-plan 'aaa", "too long a name"]),
    (f"--image {'a' * 300}.png", ["--image 'aaa"]),
    (f"--prompts {'a' * 300}.txt", ["the prompts file 'aaa"]),
    (f"--plan {'a' * 300}.yaml", ["aaa"]),
    (f"--from {'a' * 300}.png", ["aaa"]),
    ("--from missing.png", ["missing.png"]),
    ("--from notes.txt", ["notes.txt", "not a PNG"]),
    ("--from red.png", ["red.png", "no record"]),
    ("--colour red", ["--colour", "fastdiff infer --help"]),
    ("a b", ["b"]),
]

OTHER = [
    ("infre", ["'infre'", "did you mean 'infer'"]),
    ("accel lst", ["lst", "fastdiff accel --help"]),
    ("accel info teecache", ["did you mean 'teacache'"]),
    ("accel info", ["fastdiff accel info --help"]),
    ("infer --model nowhere", ["'nowhere'"]),
    ("explain --model nowhere", ["'nowhere'"]),
    ("models --model nowhere", ["'nowhere'"]),
    ("explain --accel nap,doze --model TINY", ["slumber"]),
    ("explain --accel dream --model TINY", ["'rem'"]),
    ("explain --accel nap --accel doze --model TINY", ["a comma composes"]),
    ("explain --steps 0 --model TINY", ["--steps 0"]),
    ("cite nobody", ["'nobody'"]),
    ("explain --save-plan plan.yaml --model TINY", ["say which with --accel"]),
    (f"explain --accel nap --save-plan {'a' * 300} --model TINY", ["too long a name"]),
    *((f"{command} --model EMPTY", ["--model '' is empty"]) for command in ("infer", "explain", "bench", "models")),
    *((f"{command} --model {'a' * 300}", ["no model 'aaa"]) for command in ("infer", "explain", "bench", "models")),
    ("infer --from red.png --model EMPTY", ["red.png"]),
]


@pytest.fixture
def place(tmp_path):
    """Files that are not what they are taken for."""
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    (tmp_path / "notes.txt").write_text("- just\n- notes\n")
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    (tmp_path / "latin.txt").write_bytes("Häuser".encode("latin-1"))
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "other.yaml").write_text(f"model: {{name: other, sha256: '{'0' * 64}'}}\naccelerators: nap\n")
    (tmp_path / "zero.yaml").write_text("accelerators: none\nsetting: {steps: 0, guidance: 1, height: 32, width: 32}\n")
    (tmp_path / "folder.png").mkdir()
    return sorted(tmp_path.rglob("*"))


def refused(done, says):
    """One line on stderr with all of ``says``, exit code 2."""
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for words in says:
        assert words in line


@pytest.mark.parametrize(("words", "says"), OPTIONS, ids=[words[:60] for words, _ in OPTIONS])
def test_options_of_infer(words, says, fastdiff, tiny, tmp_path, place, nap_plugin):
    done = fastdiff("infer", "--model", tiny, *words.split())
    refused(done, says)
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == place


@pytest.mark.parametrize(("words", "says"), OTHER, ids=[words[:60] for words, _ in OTHER])
def test_other_commands(words, says, fastdiff, tiny, nap_plugin):
    meant = {"TINY": tiny, "EMPTY": ""}
    refused(fastdiff(*(meant.get(word, word) for word in words.split())), says)


def test_an_empty_model_is_no_folder_even_where_one_is(fastdiff, tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    refused(fastdiff("models", "--model", ""), ["--model '' is empty"])


def test_a_picture_that_would_fill_the_memory(fastdiff, tiny, place, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # Pillow refuses twice as many; the picture has 64
    refused(fastdiff("infer", "--model", tiny, "--image", "red.png"), ["--image 'red.png'", "decompression bomb"])


@pytest.mark.parametrize(
    "words",
    [
        "--save-plan plan.yaml --dtype bfloat16",
        "--save-plan plan.yaml --accel poison --steps 4 --threads 0",
        "--out new/dir/a.png --save-plan /proc/x",
        "--out new/dir/a.png --dtype bfloat16",
        "--save-plan new/plan.yaml --out notes.txt/a.png",
    ],
)
def test_a_command_that_fails_leaves_neither_plan_nor_folder(words, fastdiff, tiny, tmp_path, place, nap_plugin):
    refused(fastdiff("infer", "--model", tiny, *words.split()), [])
    assert sorted(tmp_path.rglob("*")) == place


@pytest.mark.parametrize(("damage", "says"), MODELS, ids=[damage.__name__ for damage, _ in MODELS])
def test_broken_models(damage, says, fastdiff, tiny, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    damage(folder)
    refused(fastdiff("infer", "--model", folder, "--steps", 2), says)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_model_that_needs_more_memory_than_is_free(fastdiff, tiny, monkeypatch):
    from fastdiffusers.pipelines import memory

    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    done = fastdiff("infer", "--model", tiny, "--steps", 1)
    refused(done, ["GiB are free", "needs about"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out notes.txt/apple.png", "notes.txt"),
        ("--accel nap,doze", "slumber"),
        ("--size 30x30", "width 30"),
        ("--steps 0", "--steps 0"),
        ("--image notes.txt", "notes.txt"),
        ("--from red.png", "red.png"),
    ],
)
def test_what_can_be_known_before_is_said_before_the_model_is_loaded(
    words, says, fastdiff, tiny, place, nap_plugin, monkeypatch
):
    import fastdiffusers

    monkeypatch.setattr(fastdiffusers, "load", lambda *_: pytest.fail("the model was loaded"))
    refused(fastdiff("infer", "--model", tiny, *words.split()), [says])


def test_json_keeps_stdout_empty_on_an_error(fastdiff, tiny):
    done = fastdiff("infer", "--model", tiny, "--steps", 0, "--json")
    refused(done, ["--steps 0"])
    assert done.stdout == ""


def test_explain_json_lists_refusals_and_exits_2(fastdiff, tiny, nap_plugin):
    done = fastdiff("explain", "--model", tiny, "--accel", "nap,doze", "--json")
    assert done.exit_code == 2
    shown = json.loads(done.stdout)
    assert [item["name"] for item in shown["accelerators"]] == ["nap"]
    assert shown["refusals"][0]["name"] == "doze" and "slumber" in shown["refusals"][0]["reason"]


def test_a_bug_shows_its_traceback(fastdiff, tiny, monkeypatch):
    import fastdiffusers

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fastdiffusers, "load", broken)
    with pytest.raises(ZeroDivisionError):
        fastdiff("infer", "--model", tiny, "--steps", 1)
