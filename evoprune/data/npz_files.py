"""Archives of NumPy arrays, opened with care: what they claim is checked before memory is taken for it."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from evoprune.common.errors import UserError
from evoprune.common.hardware import total_memory

Archive = dict[str, Any]
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LARGE, _MOST_TIMES = 2**28, 200
"""What unpacks to more than so many bytes, and to more than so many times what is packed, is no set of images."""


def open_npz(path: str, key: str) -> Archive:
    """The images and labels of an .npz file, by name; `key` names it in errors.

    Raises:
        UserError: no such file, no archive of plain arrays, or more than this machine's memory.
    """
    if not Path(path).is_file():
        raise UserError(f"{key}: {path}: no such file; an .npz archive with train_images, train_labels, ... is wanted")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an .npz archive of several")
        with archive:
            assert archive.zip is not None
            names = [name for name in archive.files if name.endswith(("_images", "_labels"))]
            _check_sizes(archive.zip, names)
            return {name: archive[name] for name in names}
    except (ValueError, LookupError, zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise UserError(f"{key}: {path}: not a NumPy archive of plain arrays: {error}") from None


def _check_sizes(archive: zipfile.ZipFile, names: list[str]) -> None:
    """Raise ValueError where arrays are not of the size that they claim, or there is no room for them."""
    total = 0
    for name in names:
        member = archive.getinfo(f"{name}.npy")
        with archive.open(member) as stream:
            read_header = _HEADERS.get(np.lib.format.read_magic(stream))
            if read_header is None:
                raise ValueError(f"{name} is of an unknown format")
            shape, _, dtype = read_header(stream)
            size, there = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if size != there and not dtype.hasobject:
            raise ValueError(f"{name} claims the shape {shape}, {size:,} bytes, and has {there:,}")
        if there > max(_LARGE, _MOST_TIMES * member.compress_size):
            raise ValueError(f"{name} unpacks {member.compress_size:,} bytes to {there:,}, which no images do")
        total += there
    memory = total_memory()
    if memory is not None and total > memory:
        raise ValueError(f"its arrays have {total:,} bytes, this machine's memory {memory:,}")
