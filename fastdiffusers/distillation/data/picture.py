"""Pictures from files and bytes: upright, in RGB, what is transparent on white. No Paddle."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from fastdiffusers.distillation.data.sample import UnreadableSample

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def read_file(path: Path) -> Image.Image:
    """The picture in a file; `UnreadableSample` if there is none."""
    if not path.is_file():
        raise UnreadableSample(f"picture {str(path)!r} does not exist")
    return _read(path, f"picture {str(path)!r}")


def read_bytes(data: bytes) -> Image.Image:
    """The picture in a file's bytes; `UnreadableSample` if there is none."""
    return _read(io.BytesIO(data), f"a picture of {len(data)} bytes")


def _read(source: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as opened:
                return upright(opened)
    except UnidentifiedImageError:
        raise UnreadableSample(f"{name} is of no known format") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableSample(f"{name} is damaged: {' '.join(str(error).split())[:120]}") from None


def upright(picture: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF orientation says, on white where it is transparent."""
    turned = ImageOps.exif_transpose(picture)
    if turned.has_transparency_data:
        layered = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    if turned.mode.startswith("I;16"):  # Pillow would cut off what is above 255
        turned = turned.point(lambda value: value / 256).convert("L")
    return turned.convert("RGB")
