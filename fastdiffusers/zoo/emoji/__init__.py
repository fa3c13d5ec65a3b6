"""Captioned emoji pictures: the data that the embedded model `flux-emoji` is trained on."""

from fastdiffusers.zoo.emoji.build import DataCard, build, default_folder
from fastdiffusers.zoo.emoji.captions import PALETTE, Caption, CaptionSampler, vocabulary
from fastdiffusers.zoo.emoji.dataset import SAMPLE, EmojiDataset

__all__ = [
    "PALETTE",
    "SAMPLE",
    "Caption",
    "CaptionSampler",
    "DataCard",
    "EmojiDataset",
    "build",
    "default_folder",
    "vocabulary",
]
