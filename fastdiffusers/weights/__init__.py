"""Checkpoints in the diffusers directory layout: torch-style safetensors, read and written by Paddle networks."""

from fastdiffusers.weights.layers import load_layer, load_state, save_layer, save_state
from fastdiffusers.weights.layout import read_config, weight_files

__all__ = ["load_layer", "load_state", "read_config", "save_layer", "save_state", "weight_files"]
