"""Puts the trained parts into one folder of FLUX.1-dev's layout, in half precision, with a card of how it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write, refuse_foreign_folder
from fastdiffusers.models.info import CARD
from fastdiffusers.pipelines.layout import INDEX, write_json
from fastdiffusers.training.recipe import key, load_recipe
from fastdiffusers.zoo.pretrain.places import stage_folder, trained

NAME = "flux-emoji"
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": INDEX["_diffusers_version"],
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}
FOLDERS = ("data", "vae", "text", "base")  # recipe keys that only say where things were on one machine
LIMITS = (
    "Draws one object on a plain ground, only of the concepts it was trained on; no scenes, no counting, no text. "
    "A small model on a small data set memorises: pictures resemble those it was trained on."
)


@dataclass(frozen=True)
class AssembleConfig:
    """Keys of ``fastdiff pretrain assemble``."""

    vae: str = key("", "folder of the vae stage; empty: its default place")
    text: str = key("", "folder of the text stage; empty: its default place")
    flux: str = key("", "folder of the flux stage, for its figures; empty: its default place")
    guidance: str = key("", "folder of the guidance stage, the transformer's source; empty: its default place")
    data: str = key("", "folder of the data, for licences and words; empty: its default place")
    dtype: str = key("float16", "of the weights on disk", choices=("float16", "bfloat16", "float32"))

    @classmethod
    def from_words(cls, words: list[str]) -> AssembleConfig:
        """From ``key=value`` words; unknown keys are errors."""
        return load_recipe(cls, None, words)  # type: ignore[type-var]


def assemble(config: AssembleConfig, folder: Path, dry_run: bool = False) -> dict[str, Any]:
    """Write the model into ``folder`` (replaced as a whole). Returns sizes and where the parts came from."""
    places = {stage: stage_folder(getattr(config, stage), stage) for stage in ("vae", "text", "flux", "guidance")}
    origin = {
        "vae": "vae",
        "text_encoder": "text",
        "tokenizer": "text",
        "transformer": "guidance",
        "text_encoder_2": "guidance",
        "tokenizer_2": "guidance",
    }
    refuse_foreign_folder(folder, CARD)
    parts = {part: trained(getattr(config, stage), stage, part) for part, stage in origin.items()}
    if not dry_run:
        with atomic_write(folder) as temporary:
            temporary.mkdir()
            _write(temporary, config, parts, places)
    source = {part: str(place) for part, place in parts.items()}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return {"out": str(folder), "megabytes": round(size / 1e6, 1), "parts": source}


def _write(folder: Path, config: AssembleConfig, parts: dict[str, Path], places: dict[str, Path]) -> None:
    from fastdiffusers.models.autoencoder_kl import AutoencoderKL
    from fastdiffusers.models.clip_text import CLIPTextModel
    from fastdiffusers.models.t5_encoder import T5EncoderModel
    from fastdiffusers.models.tokenizers import CLIPTokenizer, T5Tokenizer
    from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
    from fastdiffusers.weights import load_layer, save_layer

    classes = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "transformer": FluxTransformer2DModel,
    }
    for part, cls in classes.items():
        save_layer(load_layer(cls, parts[part]), folder / part, dtype=config.dtype)
    CLIPTokenizer.from_folder(parts["tokenizer"]).save(folder / "tokenizer")
    tokenizer_2 = T5Tokenizer.from_folder(parts["tokenizer_2"])
    tokenizer_2.save(folder / "tokenizer_2")
    write_json(folder / "model_index.json", INDEX)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    card = model_card(config, places, tokenizer_2.max_length)
    write_json(folder / CARD, card)
    (folder / "README.md").write_text(readme(card), encoding="utf-8")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes files that only their owner may read


def model_card(config: AssembleConfig, places: dict[str, Path], text_tokens: int) -> dict[str, Any]:
    """What ``fastdiff.json`` holds: prompts and words for the commands, how each part was trained, the licences."""
    from fastdiffusers.zoo.emoji import EmojiDataset, default_folder, vocabulary
    from fastdiffusers.zoo.pretrain.drawing import WISHES, example_prompts

    data = EmojiDataset(Path(config.data) if config.data else default_folder(), size=16, core_only=True)
    made = {}
    for stage, place in places.items():
        result = _read_json(place / "result.json")
        training = result.pop("training", {})
        training["recipe"] = {name: value for name, value in training.get("recipe", {}).items() if name not in FOLDERS}
        made[stage] = {"command": f"fastdiff pretrain {stage}", **result, **training}
    recipe = made["guidance"].get("recipe", {})
    sources = _read_json(data.folder / "card.json")["sources"]
    return {
        "name": NAME,
        "prompts": [prompt for prompt, _ in example_prompts(data)][: len(WISHES)],
        "words": [word for word in vocabulary(data.entries) if word.isalpha()],
        "concepts": sorted({entry["label"] for entry in data.entries}),
        "styles": sorted({entry["style"] for entry in data.entries}),
        "max_sequence_length": text_tokens,
        "guidance_range": [recipe.get("least"), recipe.get("most")],
        "limits": LIMITS,
        "licence": "Apache-2.0",
        "training_data": [
            {name: source[name] for name in ("package", "version", "style", "licence", "attribution")}
            for source in sources
        ],
        "made": made,
    }


def readme(card: dict[str, Any]) -> str:
    """The card for people."""
    lines = [
        f"# {card['name']}",
        "",
        f"A small text-to-image model of FLUX.1-dev's architecture, trained from scratch. {card['limits']}",
        "",
        f"{len(card['concepts'])} concepts in the styles {', '.join(card['styles'])}; backgrounds by name "
        '("a red apple on a blue background, noto style"). What a prompt leaves open (style, side, background) is left '
        "to the seed. 96x96 px; guidance "
        f"{card['guidance_range'][0]:g} to {card['guidance_range'][1]:g} is embedded, 3.5 is the default.",
        "",
        f"In diffusers, pass `max_sequence_length={card['max_sequence_length']}`, `height=96`, `width=96`.",
        "",
        "| stage | command | samples | minutes |",
        "|---|---|---|---|",
        *(
            f"| {stage} | `{made['command']}` | {made.get('samples', 0):,} | {made.get('minutes', 0):g} |"
            for stage, made in card["made"].items()
        ),
        "",
        "Trained on pictures and captions of:",
        "",
        *(
            f"- {source['package']} {source['version']} ({source['licence']}): {source['attribution']}"
            for source in card["training_data"]
        ),
        "",
    ]
    return "\n".join(lines)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read ({error}); that stage has not finished") from error
