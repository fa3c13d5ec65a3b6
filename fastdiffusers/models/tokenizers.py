"""Prompts to token ids: CLIP's byte-level BPE and T5's tokenizer, read from the hub's folders or built from captions.

Both give the ids that transformers gives for the same folder; they need the ``tokenizers`` package only.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.files import atomic_write

T = TypeVar("T", bound="TextTokenizer")

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
# Order of alternatives as in CLIP's release: specials, English contractions, runs of letters, single digits, the rest.
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_SPECIAL = {"bos_token": CLIP_START, "eos_token": CLIP_END, "unk_token": CLIP_END, "pad_token": CLIP_END}
T5_SPECIAL = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
ADDED_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
# A model_max_length above this is transformers' "no limit" (1e30).
NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """Token ids and what did not fit.

    ``ids``: int64 [B, max_length], with special tokens, padded. ``truncated``: per text the part that was cut off, or
    ``None`` if all of it fitted.
    """

    ids: np.ndarray
    truncated: list[str | None]


class TextTokenizer(ABC):
    """A ``tokenizers`` pipeline with a fixed length and a padding token.

    ``settings`` is the content of ``tokenizer_config.json``; ``special`` maps ``pad_token``, ``unk_token`` … to texts.
    """

    DEFAULT_LENGTH: int
    DEFAULT_SPECIAL: dict[str, str]

    def __init__(self, backend: Tokenizer, settings: dict[str, Any], special: dict[str, str], source: str) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.settings = settings
        self.special = special
        length = settings.get("model_max_length") or self.DEFAULT_LENGTH
        if not isinstance(length, (int, float)) or length <= backend.num_special_tokens_to_add(False):
            raise WeightsError(
                f"{source}: model_max_length {length!r} is not a usable length; valid: an integer above 2"
            )
        self.max_length = self.DEFAULT_LENGTH if length > NO_LIMIT else int(length)
        index = {role: _token_id(backend, role, token, source) for role, token in special.items()}
        self.pad_id, self.unk_id = index["pad_token"], index["unk_token"]

    def __call__(self, texts: Sequence[str], max_length: int | None = None) -> Tokens:
        """Encode ``texts``; anything but a list of strings that are valid Unicode is an `InputError`.

        ``max_length`` replaces the tokenizer's own length.
        """
        length = self.max_length if max_length is None else max_length
        if isinstance(texts, str):
            raise InputError(f"prompts must be a list of strings, got the string {texts!r}")
        room = length - self.backend.num_special_tokens_to_add(False)
        if room < 1:
            raise InputError(f"max_length {length!r} leaves no room for words; it must be at least {length - room + 1}")
        ids = np.full((len(texts), length), self.pad_id, dtype=np.int64)
        truncated: list[str | None] = []
        for row, text in zip(ids, texts, strict=True):
            encoding = self._encode(text)
            rest = None
            if len(encoding.ids) > room:
                rest = text[encoding.offsets[room][0] :].strip()
                encoding.truncate(room)
            truncated.append(rest)
            found = self.backend.post_process(encoding).ids
            row[: len(found)] = found
        return Tokens(ids, truncated)

    def unknown_words(self, text: str) -> list[str]:
        """The words of ``text`` that hold a character or piece the vocabulary lacks; empty for byte-level ones."""
        encoding = self._encode(text)
        unknown = [
            (begin, end)
            for index, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if index == self.unk_id and text[begin:end].strip().lower() != self.special["unk_token"]
        ]
        words = (
            match.group().strip(".,;:!?\"'()") or match.group()
            for match in re.finditer(r"\S+", text)
            if any(begin < match.end() and end > match.start() for begin, end in unknown)
        )
        return list(dict.fromkeys(words))

    def save(self, folder: str | Path) -> None:
        """Write the files that `from_folder` and transformers read."""
        special = json.dumps(self.special, indent=2, ensure_ascii=False) + "\n"
        settings = json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
        files = {**self._files(), "tokenizer_config.json": settings, "special_tokens_map.json": special}
        for name, content in files.items():
            with atomic_write(Path(folder) / name) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="\n")

    @classmethod
    @abstractmethod
    def from_folder(cls: type[T], path: str | Path) -> T:
        """Read a tokenizer folder of the hub; a missing or damaged file is a `WeightsError` that names it."""

    @abstractmethod
    def _files(self) -> dict[str, str]:
        """Name → content of the files that hold the vocabulary."""

    def _encode(self, text: str) -> Encoding:
        if not isinstance(text, str):
            raise InputError(f"a prompt must be a string, got {text!r}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"prompt {text!a} is not valid Unicode (character {error.start})") from error
        return self.backend.encode(text, add_special_tokens=False)


class CLIPTokenizer(TextTokenizer):
    """CLIP's byte-level BPE: lower-cased, ``</w>`` ends a word, 77 tokens."""

    DEFAULT_LENGTH = 77
    DEFAULT_SPECIAL = CLIP_SPECIAL
    # Read from tokenizer.json, whose pipeline may be another than ours: saved the same way.
    _whole = False

    @classmethod
    def from_folder(cls, path: str | Path) -> CLIPTokenizer:
        """Read ``vocab.json`` and ``merges.txt`` (the hub's layout), or ``tokenizer.json`` if only that is there."""
        folder = Path(path)
        settings, special = _read_settings(folder, cls.DEFAULT_SPECIAL)
        vocab_file, merges_file, whole = folder / "vocab.json", folder / "merges.txt", folder / "tokenizer.json"
        if whole.exists() and not (vocab_file.exists() and merges_file.exists()):
            tokenizer = cls(_read_backend(whole), settings, special, str(whole))
            tokenizer._whole = True
            return tokenizer
        vocab = _read_json(vocab_file)
        if not isinstance(vocab, dict) or not all(isinstance(index, int) for index in vocab.values()):
            raise WeightsError(f"{vocab_file} is not a vocabulary: it must map tokens to integers")
        merges = _read_merges(merges_file)
        return cls(clip_backend(vocab, merges, settings, special, folder), settings, special, str(vocab_file))

    def _files(self) -> dict[str, str]:
        description = json.loads(self.backend.to_str())
        if self._whole:
            return {"tokenizer.json": json.dumps(description, ensure_ascii=False) + "\n"}
        model = description["model"]
        order = dict(sorted(model["vocab"].items(), key=lambda item: item[1]))
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        return {
            "vocab.json": json.dumps(order, ensure_ascii=False) + "\n",
            "merges.txt": "\n".join(["#version: 0.2", *merges]) + "\n",
        }


class T5Tokenizer(TextTokenizer):
    """T5's tokenizer as ``tokenizer.json`` holds it; ``</s>`` ends the text, 512 tokens."""

    DEFAULT_LENGTH = 512
    DEFAULT_SPECIAL = T5_SPECIAL

    @classmethod
    def from_folder(cls, path: str | Path) -> T5Tokenizer:
        """Read ``tokenizer.json`` (a folder with ``spiece.model`` alone has to be converted by transformers first)."""
        folder = Path(path)
        file = folder / "tokenizer.json"
        if not file.exists() and (folder / "spiece.model").exists():
            raise WeightsError(
                f"{file} is missing (spiece.model alone is not read); save it with transformers' T5TokenizerFast"
            )
        settings, special = _read_settings(folder, cls.DEFAULT_SPECIAL)
        backend = _read_backend(file)
        if backend.num_special_tokens_to_add(False) == 0:
            end_with(backend, special["eos_token"], str(file))
        return cls(backend, settings, special, str(file))

    def _files(self) -> dict[str, str]:
        return {"tokenizer.json": self.backend.to_str(pretty=False) + "\n"}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file} is missing") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} is damaged: {_one_line(error)}") from error


def _read_merges(file: Path) -> list[tuple[str, str]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise WeightsError(f"{file} is missing") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} is damaged: {_one_line(error)}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise WeightsError(f"{file} is damaged: line {number} {line[:40]!r} is not two tokens with a space between")
        merges.append((parts[0], parts[1]))
    return merges


def _read_backend(file: Path) -> Tokenizer:
    if not file.exists():
        raise WeightsError(f"{file} is missing")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare Exception
        raise WeightsError(f"{file} is damaged: {_one_line(error)}") from error


def _read_settings(folder: Path, default: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """``tokenizer_config.json`` (may be absent) and the special tokens, from it or ``special_tokens_map.json``."""
    found = []
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = _read_json(folder / name) if (folder / name).exists() else {}
        if not isinstance(content, dict):
            raise WeightsError(f"{folder / name} is damaged: it must hold one JSON object")
        found.append(content)
    settings, mapped = found
    special = {}
    for role, token in default.items():
        value = settings.get(role) or mapped.get(role) or token
        special[role] = str(value["content"] if isinstance(value, dict) else value)
    return settings, special


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _token_id(backend: Tokenizer, role: str, token: str, source: str) -> int:
    index = backend.token_to_id(token)
    if index is None:
        raise WeightsError(f"{source}: {role} {token!r} is not in the vocabulary")
    return index


def end_with(backend: Tokenizer, token: str, source: str) -> None:
    """Let every text end with ``token`` and begin with nothing, as T5's do."""
    index = _token_id(backend, "eos_token", token, source)
    backend.post_processor = processors.TemplateProcessing(single=f"$A {token}", special_tokens=[(token, index)])


def clip_backend(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    settings: dict[str, Any],
    special: dict[str, str],
    folder: Path,
) -> Tokenizer:
    """CLIP's pipeline: NFC, one space for white space, lower case; `CLIP_WORDS`; bytes; BPE; start and end tokens."""
    unk = special["unk_token"]
    try:
        backend = Tokenizer(BPE(vocab, merges, unk_token=unk, continuing_subword_prefix="", end_of_word_suffix="</w>"))
    except Exception as error:  # the package raises bare Exception: a merge of tokens that are not in the vocabulary
        raise WeightsError(f"{folder / 'merges.txt'} does not fit vocab.json: {_one_line(error)}") from error
    space = normalizers.Replace(Regex(r"\s+"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), space, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    _add_tokens(backend, settings, special, folder)
    start, end = ((special[r], _token_id(backend, r, special[r], str(folder))) for r in ("bos_token", "eos_token"))
    backend.post_processor = processors.RobertaProcessing(end, start, False, False)
    return backend


def _add_tokens(backend: Tokenizer, settings: dict[str, Any], special: dict[str, str], folder: Path) -> None:
    """Tell ``backend`` which tokens to take out of a text before anything else, and how.

    As in transformers the table ``added_tokens_decoder`` comes first; a named token that it lacks is matched as it is
    written, or by its own flags if it is an object; of several names for one token the last decides.
    """
    file = folder / "tokenizer_config.json"
    table = settings.get("added_tokens_decoder") or {}
    try:
        added = {int(index): _added_token(entry, entry.get("special", False)) for index, entry in table.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file} is damaged: added_tokens_decoder must map ids to tokens with content") from error
    for index in sorted(added):
        backend.add_tokens([added[index]])
        found = backend.token_to_id(added[index].content)
        if found != index:
            raise WeightsError(f"{file}: {added[index].content!r} has the id {index}, but {found} by the vocabulary")
    listed = {token.content for token in added.values()}
    for role, content in special.items():
        if content in listed:
            continue
        _token_id(backend, role, content, str(file))
        entry = settings.get(role)
        flags = entry if isinstance(entry, dict) else {"normalized": False}
        backend.add_tokens([_added_token({**flags, "content": content}, True)])


def _added_token(entry: dict[str, Any], special: bool) -> AddedToken:
    flags = {name: bool(entry[name]) for name in ADDED_FLAGS if name in entry}
    return AddedToken(str(entry["content"]), special=special, **flags)
