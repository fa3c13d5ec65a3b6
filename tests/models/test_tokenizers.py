"""Tokenizers against transformers' ids, their errors, and the ones built from captions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.tokenizer_training import build_clip_tokenizer, build_t5_tokenizer
from fastdiffusers.models.tokenizers import CLIPTokenizer, T5Tokenizer

ROOT = Path(__file__).parents[1] / "golden" / "tokenizers"
TEXTS = json.loads((ROOT / "texts.json").read_text(encoding="utf-8"))
CAPTIONS, PROMPTS = TEXTS["captions"], TEXTS["prompts"]
FOLDERS = ["clip", "clip_built", "clip_legacy", "t5", "t5_built"]
CLASSES = {"clip": CLIPTokenizer, "t5": T5Tokenizer}


def opened(folder: Path) -> CLIPTokenizer | T5Tokenizer:
    return CLASSES[folder.name.split("_")[0]].from_folder(folder)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return load_file(ROOT / "ids.safetensors")


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_equal_transformers(name, expected):
    tokens = opened(ROOT / name)(PROMPTS)
    assert tokens.ids.dtype == np.int64
    assert tokens.ids.shape == (len(PROMPTS), 24)
    wrong = [p for p, ours, theirs in zip(PROMPTS, tokens.ids, expected[name], strict=True) if (ours != theirs).any()]
    assert wrong == []


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_without_truncation_equal_transformers(name, expected):
    tokenizer = opened(ROOT / name)
    theirs = expected[f"{name}.long"]
    tokenizer.max_length = 512
    tokens = tokenizer(PROMPTS)
    assert (tokens.ids[:, : theirs.shape[1]] == theirs).all()
    assert (tokens.ids[:, theirs.shape[1] :] == tokenizer.pad_id).all()
    assert set(tokens.truncated) == {None}


@pytest.mark.parametrize("name", FOLDERS)
def test_saved_folder_gives_the_same_ids(name, expected, tmp_path):
    folder = tmp_path / name
    opened(ROOT / name).save(folder)
    assert (opened(folder)(PROMPTS).ids == expected[name]).all()


def test_a_clip_folder_with_tokenizer_json_only(expected, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(opened(ROOT / "clip").backend.to_str(), encoding="utf-8")
    shutil.copy(ROOT / "clip" / "tokenizer_config.json", folder)
    tokenizer = opened(folder)
    assert (tokenizer(PROMPTS).ids == expected["clip"]).all()
    tokenizer.save(tmp_path / "again" / "clip")
    assert (opened(tmp_path / "again" / "clip")(PROMPTS).ids == expected["clip"]).all()


@pytest.mark.parametrize("name", ["clip", "t5"])
def test_what_did_not_fit_is_returned(name):
    tokenizer = opened(ROOT / name)
    text = "a red apple, " * 8 + "and the very last Words"
    tokens = tokenizer(["a red apple", text, ""])
    assert tokens.truncated[0] is None
    assert tokens.truncated[2] is None
    rest = tokens.truncated[1]
    assert rest
    assert text.endswith(rest)
    kept = text[: len(text) - len(rest)]
    assert tokenizer([kept]).truncated == [None]
    assert (tokenizer([kept]).ids[0] == tokens.ids[1]).all()


def test_a_text_that_fits_exactly_is_not_truncated():
    tokenizer = opened(ROOT / "clip_built")
    assert tokenizer(["a " * 22]).truncated == [None]
    assert tokenizer(["a " * 23]).truncated == ["a"]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_empty_prompt(name):
    tokenizer = opened(ROOT / name)
    tokens = tokenizer([""])
    special = 2 if name.startswith("clip") else 1
    assert (tokens.ids[0, special:] == tokenizer.pad_id).all()
    assert tokens.truncated == [None]
    assert tokenizer([]).ids.shape == (0, 24)


def test_unknown_words():
    t5 = opened(ROOT / "t5_built")
    assert t5.unknown_words("a red apple, (日本) and 😀 żuk, 😀!") == ["日本", "😀", "żuk"]
    assert t5.unknown_words("") == []
    assert t5.unknown_words("zebra crossing") == []
    assert t5.unknown_words("<unk>") == []
    assert opened(ROOT / "clip_built").unknown_words("日本 😀 \x00 <|endoftext|>") == []


@pytest.mark.parametrize("length", [1e30, None])
def test_no_stated_length_means_the_models_own(length, tmp_path):
    for name, default in (("clip", 77), ("t5", 512)):
        folder = shutil.copytree(ROOT / name, tmp_path / name)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["model_max_length"] = length
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        assert opened(folder).max_length == default


@pytest.mark.parametrize(
    ("name", "file", "content", "words"),
    [
        ("clip", "vocab.json", None, "is missing"),
        ("clip", "merges.txt", None, "is missing"),
        ("clip", "vocab.json", "{", "is damaged"),
        ("clip", "vocab.json", "[1]", "must map tokens to integers"),
        ("clip", "vocab.json", '{"a": 0}', "vocab.json"),
        ("clip", "merges.txt", "#version: 0.2\nonly\n", "line 2 'only'"),
        ("clip", "merges.txt", "#version: 0.2\nqq zz\n", "does not fit vocab.json"),
        ("clip", "tokenizer_config.json", "nonsense", "is damaged"),
        ("clip", "tokenizer_config.json", '{"model_max_length": 2}', "model_max_length 2"),
        ("clip", "tokenizer_config.json", '{"model_max_length": "x"}', "model_max_length 'x'"),
        ("clip", "tokenizer_config.json", '{"pad_token": "<p>"}', "pad_token '<p>' is not in the vocabulary"),
        ("clip", "tokenizer_config.json", '{"added_tokens_decoder": {"0": {}}}', "added_tokens_decoder"),
        ("clip", "tokenizer_config.json", '{"added_tokens_decoder": {"x": {"content": "a"}}}', "added_tokens_decoder"),
        (
            "clip",
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"7": {"content": "!"}}}',
            "'!' has the id 7, but 0",
        ),
        ("t5", "tokenizer.json", None, "is missing"),
        ("t5", "tokenizer.json", "{}", "is damaged"),
        ("t5", "tokenizer.json", "\x00", "is damaged"),
        ("t5", "tokenizer_config.json", '{"pad_token": "<p>"}', "pad_token '<p>' is not in the vocabulary"),
    ],
)
def test_a_missing_or_damaged_file_is_named(name, file, content, words, tmp_path):
    folder = shutil.copytree(ROOT / name, tmp_path / name)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError) as caught:
        opened(folder)
    message = str(caught.value)
    assert words in message
    assert str(folder) in message
    assert "\n" not in message


def test_truncation_and_padding_stored_in_tokenizer_json_do_not_count(expected, tmp_path):
    folder = shutil.copytree(ROOT / "t5", tmp_path / "t5")
    stored = opened(folder).backend
    stored.enable_truncation(5)
    stored.enable_padding(length=9, pad_id=7)
    (folder / "tokenizer.json").write_text(stored.to_str(), encoding="utf-8")
    assert (opened(folder)(PROMPTS).ids == expected["t5"]).all()


def test_a_token_added_beyond_the_vocabulary(tmp_path):
    folder = shutil.copytree(ROOT / "clip", tmp_path / "clip")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    size = opened(folder).backend.get_vocab_size()
    config["added_tokens_decoder"][str(size)] = {"content": "<my-cat>", "special": False, "normalized": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert opened(folder)(["a <my-cat> sleeps"]).ids[0, 2] == size
    opened(folder).save(tmp_path / "again" / "clip")
    assert opened(tmp_path / "again" / "clip")(["a <my-cat> sleeps"]).ids[0, 2] == size


def test_a_sentencepiece_model_alone_is_explained(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"tokenizer\.json is missing \(spiece\.model alone"):
        T5Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("texts", ["one string", [1], [None], ["bad \udcff surrogate"]])
def test_bad_prompts(texts):
    with pytest.raises(InputError) as caught:
        opened(ROOT / "clip")(texts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "size", "name"), [(build_clip_tokenizer, 640, "clip_built"), (build_t5_tokenizer, 320, "t5_built")]
)
def test_building_again_gives_the_same_files(build, size, name, tmp_path):
    build(iter(CAPTIONS), size, 24).save(tmp_path)
    for file in (ROOT / name).iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("build", [build_clip_tokenizer, build_t5_tokenizer])
def test_words_are_single_tokens_when_there_is_room(build):
    tokenizer = build(CAPTIONS, 2000, 77)
    words = {word for caption in CAPTIONS for word in caption.lower().replace(",", "").split() if word.isalpha()}
    sizes = {word: len(tokenizer.backend.encode(word, add_special_tokens=False).ids) for word in sorted(words)}
    assert {word: size for word, size in sizes.items() if size > 1} == {}


def test_a_small_vocabulary_keeps_the_most_frequent_words():
    captions = ["common word"] * 50 + [f"rare{letter} thing" for letter in "abcdefghijklmnop"]
    tokenizer = build_t5_tokenizer(captions, 80, 32)
    assert tokenizer.backend.get_vocab_size() <= 80
    encode = tokenizer.backend.encode
    assert encode("common word", add_special_tokens=False).tokens == ["▁common", "▁word"]
    assert len(encode("rarep", add_special_tokens=False).tokens) > 1
    assert build_clip_tokenizer(captions, 530, 32).backend.get_vocab_size() == 530


def test_a_rare_word_does_not_fall_into_two_frequent_ones():
    tokenizer = build_t5_tokenizer([*["rain to-bow up-rain"] * 10_000, "rainbow uprain"], 300)
    assert tokenizer.backend.encode("rainbow uprain").tokens == ["▁rainbow", "▁uprain", "</s>"]
    assert tokenizer.backend.encode("to-bow").tokens == ["▁to", "-", "bow", "</s>"]


def test_upper_case_means_the_same():
    for tokenizer in (build_clip_tokenizer(CAPTIONS, 600), build_t5_tokenizer(CAPTIONS, 600)):
        lower, upper = tokenizer(["a red apple, zebra", "A RED Apple, ZEBRA"]).ids
        assert (lower == upper).all()


def test_clip_puts_its_end_token_last():
    tokenizer = build_clip_tokenizer(CAPTIONS, 600)
    size = tokenizer.backend.get_vocab_size()
    assert tokenizer(["a"]).ids[0, [0, 2]].tolist() == [size - 2, size - 1]


@pytest.mark.parametrize("build", [build_clip_tokenizer, build_t5_tokenizer])
def test_a_vocabulary_too_small_for_its_characters(build):
    with pytest.raises(InputError, match="vocab_size 50 is too small"):
        build(CAPTIONS, 50)
