"""One tiny teacher for all tests here, and pictures that tell where they came from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    from fastdiffusers.testing import tiny_flux

    return tiny_flux(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture
def pictures(tmp_path):
    """Write pictures of given (width, height), each of its own colours, as PNG into a folder; returns the folder."""

    def write(sizes: dict[str, tuple[int, int]], folder: Path = tmp_path / "data") -> Path:
        folder.mkdir(exist_ok=True)
        for i, (name, (width, height)) in enumerate(sizes.items()):
            pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        return folder

    return write
