"""Tokenizers made from captions, for models that are trained from scratch; transformers opens what they save.

A small model learns words faster than pieces, so both give a token to every word while there is room; pieces and
single characters (CLIP: bytes) stay in the vocabulary for words that were not in the captions.
"""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import Unigram

from fastdiffusers.errors import InputError
from fastdiffusers.models.tokenizers import (
    CLIP_END,
    CLIP_SPECIAL,
    CLIP_START,
    T5_SPECIAL,
    CLIPTokenizer,
    T5Tokenizer,
    clip_backend,
    end_with,
)

SPACE = "▁"
# Added to the log-probability of a piece: far enough that a known word never loses to its pieces.
PIECE_PENALTY = -20.0
# Of the room left beside specials and characters, the part for pieces. They only spell words that the captions lack, so
# their embeddings are never trained: more of them would make a larger model and not a better one.
PIECE_SHARE = 0.125
LONGEST_PIECE = 8
PRINTABLE = [chr(code) for code in range(33, 127) if not chr(code).isupper()]


def build_clip_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int = 77) -> CLIPTokenizer:
    """Train CLIP's byte-level BPE on ``texts``; ids as in CLIP: bytes, bytes that end a word, merges, start, end.

    ``vocab_size`` is an upper bound (fewer merges may exist); below 514 it is an `InputError`.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*letters, *(letter + "</w>" for letter in letters)])}
    if vocab_size < len(vocab) + 2:
        raise InputError(f"vocab_size {vocab_size} is too small for CLIP's tokenizer; valid: {len(vocab) + 2} or more")
    learner = clip_backend({CLIP_START: 0, CLIP_END: 1}, [], {}, CLIP_SPECIAL, Path("CLIP tokenizer"))
    # All of the alphabet as "special" tokens: the trainer breaks ties by id, and would number the letters it meets
    # in an order that changes from run to run.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(vocab), end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges: list[tuple[str, str]] = []
    for left, right in json.loads(learner.to_str())["model"]["merges"]:
        if left + right not in vocab:
            if len(vocab) + 2 == vocab_size:
                break
            vocab[left + right] = len(vocab)
        merges.append((left, right))
    for token in (CLIP_START, CLIP_END):
        vocab[token] = len(vocab)
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        **CLIP_SPECIAL,
        "model_max_length": max_length,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
    backend = clip_backend(vocab, merges, settings, CLIP_SPECIAL, Path("CLIP tokenizer"))
    return CLIPTokenizer(backend, settings, dict(CLIP_SPECIAL), "CLIP tokenizer")


def build_t5_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int = 512) -> T5Tokenizer:
    """Make a Unigram tokenizer (SentencePiece's model, Kudo 2018) of whole words and fall-back pieces from ``texts``.

    Ids: ``<pad>`` 0, ``</s>`` 1, ``<unk>`` 2 as in T5, then characters, words by frequency, pieces. ASCII is
    lower-cased. ``vocab_size`` is an upper bound; too small a one for the characters is an `InputError`.
    """
    words: Counter[str] = Counter()
    for text in texts:
        for chunk in _lower_ascii(text).split():
            words.update(_parts(chunk))
    characters = sorted({SPACE, *PRINTABLE, *(letter for word in words for letter in word)})
    room = vocab_size - len(T5_SPECIAL) - len(characters)
    if room < 0:
        raise InputError(
            f"vocab_size {vocab_size} is too small for T5's tokenizer; these texts need {vocab_size - room} or more"
        )
    total = sum(words.values())
    scores = dict.fromkeys(characters, 2 * PIECE_PENALTY)
    spare = int(room * PIECE_SHARE)
    ranked = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    kept = ranked[: room - spare]
    for word in kept:
        # What follows a hyphen or a bracket must not become cheap as the tail of another word.
        penalty = 0.0 if word.startswith(SPACE) else PIECE_PENALTY
        scores[word] = math.log(words[word] / total) + penalty
    pieces = _pieces(words)
    count = sum(pieces.values())
    best = sorted((piece for piece in pieces if piece not in scores), key=lambda piece: (-pieces[piece], piece))
    scores |= {piece: math.log(pieces[piece] / count) + PIECE_PENALTY for piece in best[:spare]}

    head = [(T5_SPECIAL[role], 0.0) for role in ("pad_token", "eos_token", "unk_token")]
    backend = Tokenizer(Unigram([*head, *scores.items()], unk_id=2, byte_fallback=False))
    description = json.loads(backend.to_str())
    description["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": ascii_lowercase_charsmap()}
    backend = Tokenizer.from_str(json.dumps(description))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=True)]
    )
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme="always", split=True)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, _ in head])
    end_with(backend, T5_SPECIAL["eos_token"], "T5 tokenizer")
    settings = {
        "tokenizer_class": "T5Tokenizer",
        **T5_SPECIAL,
        "model_max_length": max_length,
        # Without this transformers appends 100 <extra_id_…> sentinels.
        "extra_ids": 0,
        "additional_special_tokens": [],
    }
    return T5Tokenizer(backend, settings, dict(T5_SPECIAL), "T5 tokenizer")


def _lower_ascii(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _parts(chunk: str) -> list[str]:
    """Word runs and single other characters of what stands between two spaces; the first one takes the space mark."""
    first, *others = re.findall(r"[^\W_]+|.", chunk)
    return [SPACE + first, *others]


def _pieces(words: Counter[str]) -> Counter[str]:
    """How often every run of 2 to `LONGEST_PIECE` characters occurs within words, weighted by its length."""
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for begin in range(len(word)):
            for end in range(begin + 2, min(begin + LONGEST_PIECE, len(word)) + 1):
                pieces[word[begin:end]] += count * (end - begin)
    return pieces


def ascii_lowercase_charsmap() -> str:
    """SentencePiece's precompiled normaliser for A–Z → a–z, base64.

    transformers 5 rebuilds T5's pipeline from ``tokenizer.json`` and keeps no normaliser but this kind, so it is the
    only way to lower-case that every reader obeys. Layout: the size of a Darts double array in bytes (uint32), its
    units (uint32), then the replacements, each ended by a zero byte. A unit is label | has-leaf << 8 | offset << 10;
    a child lies at ``parent position ^ offset ^ letter``, a leaf at ``position ^ offset`` and holds a byte index.
    """
    root, leaves, size = 256, 512, 1024
    units = [0] * size
    units[0] = root << 10
    replacements = b""
    for code in range(ord("A"), ord("Z") + 1):
        units[root ^ code] = code | 1 << 8 | (root ^ leaves) << 10
        units[leaves ^ code] = len(replacements)
        replacements += bytes([code + 32, 0])
    table = struct.pack(f"<I{size}I", 4 * size, *units)
    return b64encode(table + replacements).decode("ascii")
