"""Golden values for CLIP's text encoder, T5's encoder and their tokenizers, computed by transformers.

Run from the repository's root where torch and transformers (5.x) are installed: ``python tests/golden/make_text.py``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from fastdiffusers.models.tokenizer_training import build_clip_tokenizer, build_t5_tokenizer

HERE = Path(__file__).parent
LENGTH = 24

CAPTIONS = [
    "a red apple on a blue background",
    "A photo of a cat that's sleeping, cartoon style",
    "two hearts, flat icon",
    "the dog doesn't run; it's sitting in the park",
    "an astronaut riding a horse on the moon at night",
    "a bowl of soup with 12 dumplings and 3 spoons",
    "smiling face with sunglasses, line drawing",
    "crème brûlée in a café, naïve painting",
]

PROMPTS = [
    "",
    " ",
    "a red apple on a blue background",
    "A RED Apple",
    "a  red\t apple\n\non   blue",
    "  leading and trailing  ",
    "a cat that's sleeping, we'll see, they've gone, I'd say I'm fine, you're it, don't",
    "the dog's toy; the dogs' toys",
    "12345 67 8.9 1,000",
    "3d render, 4k, 1990s",
    "hello!!! what?! (really) [yes] {no} <maybe>",
    "e-mail: a.b@c.org / path\\to\\file #tag $5 100% a_b x*y=z~",
    "crème brûlée in a café",
    "cre\u0301me bru\u0302le\u0301e",
    "İstanbul ǅ ß ẞ Ω ΣΑΣ",
    "日本語のテキスト",
    "Привет, мир",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "😀",
    "👩\u200d👩\u200d👧 family 🇫🇷 flag 👍🏽",
    "a ❤️ heart",
    "ﬁne ½ ² ㎏ Ⅳ",
    "“quoted” ‘single’ … — –",
    "non\u00a0breaking\u2003spaces\u200bzero\ufeff",
    "control\x00\x01characters\x7f",
    "<|endoftext|>",
    "before <|startoftext|>middle<|endoftext|> after",
    "<|ENDOFTEXT|> upper",
    "</s> <pad> <unk> <extra_id_0>",
    "</w> a</w>",
    "▁under ▁ score",
    "&amp; &lt;b&gt; html",
    "supercalifragilisticexpialidocious",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "a cat " * 40,
    "😀 " * 40,
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen, fifteen.",
    "word\u0301s with combining a\u0308 marks",
    "It's John's: 'SHOUTED' 'Ll 'S",
    "x" * 300,
    "\U0001f9d1\U0001f3fb\u200d\U0001f680 astronaut",
]


def clip_model() -> None:
    """One tiny model; outputs under both rules for the pooled vector and both activations."""
    torch.manual_seed(0)
    # The end-of-text id is not the highest one, so that the two rules give different positions.
    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=20,
        projection_dim=32,
        bos_token_id=60,
        eos_token_id=50,
    )
    model = CLIPTextModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(HERE / "clip_text")
    ids = torch.randint(0, 48, (4, 20))
    ids[:, 0] = 60
    for row, end in enumerate((19, 3, 10, 1)):
        ids[row, end:] = 50
    ids[1, 7] = 63
    out = {"ids": ids}
    with torch.no_grad():
        for name, act, eos in (("first", "quick_gelu", 50), ("highest", "quick_gelu", 2), ("gelu", "gelu", 50)):
            other = CLIPTextModel(CLIPTextConfig(**{**config.to_dict(), "hidden_act": act, "eos_token_id": eos})).eval()
            other.load_state_dict(model.state_dict())
            result = other(ids)
            out[f"{name}.hidden"] = result.last_hidden_state
            out[f"{name}.pooled"] = result.pooler_output
        out["short.hidden"] = model(ids[:, :5]).last_hidden_state
    save_file({key: value.contiguous() for key, value in out.items()}, HERE / "clip_text" / "outputs.safetensors")


def t5_model() -> None:
    """Tiny v1.1 and v1.0 encoders on sequences longer than the last bucket's distance."""
    for kind, projection in (("gated", "gated-gelu"), ("relu", "relu")):
        torch.manual_seed(1)
        config = T5Config(
            vocab_size=64,
            d_model=32,
            d_kv=12,
            d_ff=56,
            num_layers=3,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=24,
            feed_forward_proj=projection,
            is_encoder_decoder=False,
            use_cache=False,
        )
        model = T5EncoderModel(config).eval()
        for name, parameter in model.named_parameters():
            if "relative" in name:
                parameter.data = torch.randn_like(parameter)
            elif "layer_norm" in name:
                parameter.data += 0.2 * torch.randn_like(parameter)
        folder = HERE / f"t5_{kind}"
        model.save_pretrained(folder)
        ids = torch.randint(0, 64, (2, 48))
        ids[1, 20:] = 0
        with torch.no_grad():
            out = {"ids": ids, "hidden": model(ids).last_hidden_state, "short": model(ids[:, :7]).last_hidden_state}
        save_file(out, folder / "outputs.safetensors")
    attention = T5EncoderModel(T5Config(num_layers=1, d_model=8, d_ff=8, num_heads=1, d_kv=8)).encoder.block[0].layer[0]
    offsets = torch.arange(-600, 601)
    buckets = {
        f"{count}.{distance}": attention.SelfAttention._relative_position_bucket(
            offsets, num_buckets=count, max_distance=distance
        ).to(torch.int32)
        for count, distance in ((32, 128), (16, 24), (8, 500))
    }
    save_file(buckets, HERE / "t5_buckets.safetensors")


def manifests() -> None:
    """Names and shapes of the text encoders of FLUX.1, from their configurations, without weights."""
    with torch.device("meta"):
        clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                projection_dim=768,
                num_hidden_layers=12,
                num_attention_heads=12,
                max_position_embeddings=77,
            )
        )
        t5 = T5EncoderModel(
            T5Config(
                vocab_size=32128,
                d_model=4096,
                d_kv=64,
                d_ff=10240,
                num_heads=64,
                num_layers=24,
                feed_forward_proj="gated-gelu",
            )
        )
    for name, model in (("clip_l", clip), ("t5_xxl", t5)):
        shapes = {key: list(value.shape) for key, value in model.named_parameters()}
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in shapes.items())
        (HERE / f"manifest_{name}.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def hub_like_clip(folder: Path) -> None:
    """vocab.json and merges.txt trained here, and tokenizer_config.json in the style of the hub's CLIP folders."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer = normalizers.Lowercase()
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    # The alphabet goes in as special tokens, or the trainer numbers it (and breaks ties) anew in every run.
    alphabet = [*letters, *(x + "</w>" for x in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator([*CAPTIONS, *PROMPTS], trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    tokens = dict.fromkeys([*letters, *(x + "</w>" for x in letters), *(left + right for left, right in merges)])
    vocab = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            "0": {"content": "!", **flags, "normalized": False, "special": True},
            str(len(vocab) - 2): {"content": "<|startoftext|>", **flags, "special": True},
            str(len(vocab) - 1): {"content": "<|endoftext|>", **flags, "special": True},
        },
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "!",
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def legacy_clip(source: Path, folder: Path) -> None:
    """The same vocabulary with the configuration of older hub folders: special tokens as objects, no decoder."""
    folder.mkdir(exist_ok=True)
    entry = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    config = {
        "bos_token": {**entry, "content": "<|startoftext|>"},
        "eos_token": {**entry, "content": "<|endoftext|>"},
        "unk_token": {**entry, "content": "<|endoftext|>"},
        "pad_token": "<|endoftext|>",
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(source / name, folder / name)


def hub_like_t5(folder: Path) -> None:
    """A tokenizer.json as transformers writes it, with sentinels, from a Unigram vocabulary made here."""
    counts = Counter(
        word[begin:end]
        for word in ("▁" + word for caption in CAPTIONS for word in caption.split())
        for begin in range(len(word))
        for end in range(begin + 1, min(begin + 7, len(word)) + 1)
    )
    letters = sorted(piece for piece in counts if len(piece) == 1)
    longer = sorted(
        (piece for piece in counts if len(piece) > 1), key=lambda piece: (-counts[piece] * len(piece), piece)
    )
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, round(math.log(counts[piece] / counts.total()), 4)) for piece in [*letters, *longer[:200]]]
    sentinels = [(f"<extra_id_{index}>", 0.0) for index in reversed(range(10))]
    T5TokenizerFast(vocab=vocab + sentinels, extra_ids=10, model_max_length=LENGTH).save_pretrained(folder)


def tokenizers() -> None:
    """Ids that transformers gives for every prompt; our builders' folders are opened by it as well."""
    root = HERE / "tokenizers"
    root.mkdir(exist_ok=True)
    hub_like_clip(root / "clip")
    legacy_clip(root / "clip", root / "clip_legacy")
    hub_like_t5(root / "t5")
    build_clip_tokenizer(CAPTIONS, 640, LENGTH).save(root / "clip_built")
    build_t5_tokenizer(CAPTIONS, 320, LENGTH).save(root / "t5_built")
    ids = {}
    for folder in sorted(item for item in root.iterdir() if item.is_dir()):
        opener = T5TokenizerFast if folder.name.startswith("t5") else CLIPTokenizer
        tokenizer = opener.from_pretrained(folder)
        for label, length in (("", LENGTH), (".long", 512)):
            out = tokenizer(PROMPTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            found = out["input_ids"].to(torch.int32)
            if label:  # without the padding at the end, which is the same everywhere
                found = found[:, : int(out["attention_mask"].sum(1).max())]
            ids[folder.name + label] = found.contiguous()
    save_file(ids, root / "ids.safetensors")
    texts = {"captions": CAPTIONS, "prompts": PROMPTS}
    (root / "texts.json").write_text(json.dumps(texts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    clip_model()
    t5_model()
    manifests()
    tokenizers()
