"""Image files decoded once into one file, which all processes map: uint8 (N, height, width, 3), as `.npy`."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.hardware import available_cpus
from evoprune.common.locks import lock_folder
from evoprune.common.progress import Meter, progress
from evoprune.data.dataset import Pixels
from evoprune.data.decoding import DecodeError, decode, quiet
from evoprune.data.mapped import MappedImages

_VERSION = 1  # of what decoding does with a file
_CHANNELS = 3
_BYTES_AT_ONCE = 32 * 2**20
_IMAGES, _DESCRIPTION = "images.npy", "images.json"


class ImageFile(NamedTuple):
    """An image file as a folder lists it: its path in there, its bytes, and when it was changed."""

    path: str
    num_bytes: int
    changed_ns: int


class Request(NamedTuple):
    """Which files are to be decoded: `files` in the folder `root`, to `height` x `width` pixels."""

    root: Path
    files: Sequence[ImageFile]
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of all pixels."""
        return len(self.files), self.height, self.width, _CHANNELS

    @property
    def name(self) -> str:
        """Of the cache's folder: what the pixels depend on."""
        root = self.root.resolve()
        digest = hashlib.sha256(json.dumps([_VERSION, str(root), self.height, self.width]).encode())
        for file in self.files:
            digest.update(json.dumps(file).encode())
        return f"{root.name}-{self.height}x{self.width}-{digest.hexdigest()[:16]}"


class Decoded(NamedTuple):
    """All images in the order of the files, and the reasons of those that could not be read, by their place."""

    images: MappedImages
    corrupt: dict[int, str]


def decode_files(request: Request, cache: Path) -> Decoded:
    """The files decoded, from the folder `cache`, into which they are decoded where they are not there.

    Of several processes one decodes and the others wait. The images get their name when all of them are on the disk.

    Raises:
        UserError: the disk has no room, or `cache` cannot be written.
    """
    folder = cache / request.name
    try:
        if (decoded := _read(folder, request)) is not None:
            return decoded
        folder.mkdir(parents=True, exist_ok=True)
        with progress("decoding images", len(request.files)) as meter, lock_folder(folder, wait=True):
            if _read(folder, request) is None:
                _write(folder, request, meter)
    except OSError as error:
        raise UserError(f"data.cache: {folder} cannot be written: {error.strerror or error}") from None
    decoded = _read(folder, request)
    assert decoded is not None, "just written"
    return decoded


def _read(folder: Path, request: Request) -> Decoded | None:
    """What is there, where it is whole, and what was corrupt still is: not every reason leaves a file another time."""
    path = folder / _IMAGES
    try:
        found = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))["corrupt"]
        if np.load(path, mmap_mode="r").shape != request.shape:
            return None
        corrupt = {int(place): reason for place, reason in found.items()}
    except (OSError, EOFError, ValueError, KeyError):
        return None
    with quiet():
        if any(not isinstance(_decode(request, request.files[place]), str) for place in corrupt):
            return None
    return Decoded(MappedImages(path, np.arange(len(request.files))), corrupt)


def _write(folder: Path, request: Request, meter: Meter) -> None:
    part = folder / f".{_IMAGES}.part"
    part.unlink(missing_ok=True)
    _check_room(folder, request)
    try:
        with part.open("wb") as file, quiet():
            corrupt = _decode_into(file, request, meter)
            file.flush()
            os.fsync(file.fileno())
        description = {"root": str(request.root.resolve()), "num_files": len(request.files), "corrupt": corrupt}
        write_atomically(folder / _DESCRIPTION, json.dumps(description, indent=1) + "\n")
        os.replace(part, folder / _IMAGES)
    finally:
        part.unlink(missing_ok=True)


def _check_room(folder: Path, request: Request) -> None:
    number, height, width, _ = request.shape
    needed, free = int(np.prod(request.shape, dtype=object)), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.cache: {number:,} images of {height} x {width} pixels need {_size(needed)}, and {folder} has "
            f"{_size(free)} left; set data.cache to a folder on a larger disk, or data.image_size to less"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _decode_into(file: BinaryIO, request: Request, meter: Meter) -> dict[int, str]:
    """Write all images in order, decoded by as many threads as there are cores; returns what could not be read."""
    header = {"descr": "|u1", "fortran_order": False, "shape": request.shape}
    np.lib.format.write_array_header_1_0(file, header)
    blank = np.zeros(request.shape[1:], dtype=np.uint8)
    at_once = max(available_cpus(), _BYTES_AT_ONCE // blank.nbytes)
    corrupt: dict[int, str] = {}
    with ThreadPoolExecutor(available_cpus()) as pool:
        for first in range(0, len(request.files), at_once):
            some = request.files[first : first + at_once]
            for place, found in enumerate(pool.map(partial(_decode, request), some), start=first):
                if isinstance(found, str):
                    corrupt[place] = found
                file.write((blank if isinstance(found, str) else found).tobytes())
                meter.update(place + 1)
    return corrupt


def _decode(request: Request, file: ImageFile) -> Pixels | str:
    """The pixels, or the reason why there are none."""
    try:
        return decode(request.root / file.path, request.height, request.width)
    except DecodeError as error:
        return str(error)
