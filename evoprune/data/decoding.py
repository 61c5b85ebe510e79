"""One image file -> 8-bit RGB pixels of one size. The only module that imports Pillow."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evoprune.data.dataset import Pixels

if TYPE_CHECKING:  # only folders of images need it
    from PIL.Image import Image

FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Pillow's name of each format that is read -> suffixes. Pillow knows others, some of which start other programs."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MOST_PIXELS = 2**27  # of one file: a small file can claim to be many gigabytes
_LEVELS_16_BIT = 257  # 65,535 / 255


class DecodeError(Exception):
    """A file that cannot be read as an image, and why."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that Pillow has for odd files: whatever matters becomes a `DecodeError`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield


def decode(path: Path, height: int, width: int) -> Pixels:
    """Read an image file as people see it, resized to (height, width, 3).

    The rotation that a camera has noted is carried out. Grey, CMYK and palettes become RGB, 16 bits become 8, and what
    is transparent is white. Of several frames it is the first. The whole image is resized, whatever its shape.

    Raises:
        DecodeError: whatever is wrong with the file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not path.is_file():  # a pipe or a device would be read without end
        raise DecodeError("a link to nowhere" if not path.exists() else "no regular file")
    try:
        with Image.open(path, formats=tuple(FORMATS)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DecodeError(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are read")
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(_to_rgb(image).resize((width, height), Image.Resampling.BILINEAR))
    except DecodeError:
        raise
    except UnidentifiedImageError:
        formats = f"none of the formats {', '.join(FORMATS)}"
        raise DecodeError(formats if path.stat().st_size else "the file is empty") from None
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DecodeError(" ".join(reason.split())) from None


def _to_rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DecodeError(f"pixels of mode {image.mode}, which have no known range; 8 or 16 bits are read")
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image) / _LEVELS_16_BIT).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
