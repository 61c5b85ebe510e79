"""Images that stay in a file: every process that reads them has the same pages of it, and none has a copy."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError

_BYTES_AT_ONCE = 64 * 2**20


class MappedImages:
    """Some of the images of an `.npy` file.

    Indexing along the images chooses some of them and reads nothing. `read` and `np.asarray` copy pixels into memory.
    Pickled, it is the file's path and the choice: who unpickles it maps the file anew when it is first read.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, chosen: npt.NDArray[np.int64]):
        """`chosen` are places in the file, shape (N,)."""
        self.path, self._chosen = path.absolute(), chosen

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedImages, (self.path, self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def open(self) -> "MappedImages":
        """These images, whose file is mapped now and not at the first read.

        Raises:
            UserError: the file cannot be read here.
        """
        self._file  # noqa: B018
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number, height, width and channels."""
        _, height, width, channels = self._file.shape
        return len(self), height, width, channels

    def __getitem__(self, which: Any) -> "MappedImages":
        """The images at `which`: a slice, a mask or indices."""
        return MappedImages(self.path, self._chosen[which])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def read(self, which: Any) -> npt.NDArray[np.uint8]:
        """Pixels of the images at `which`, in memory of their own."""
        return np.take(self._file, self._chosen[which], axis=0)

    def chunks(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The pixels of all images in order, some MB at a time."""
        step = max(1, _BYTES_AT_ONCE // int(np.prod(self.shape[1:])))
        for first in range(0, len(self), step):
            yield self.read(slice(first, first + step))

    @cached_property
    def _file(self) -> npt.NDArray[np.uint8]:
        try:
            return np.asarray(np.load(self.path, mmap_mode="r"))
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"data.cache: {self.path}: the decoded images cannot be read here: {error}; where workers run on "
                "several machines, data.cache is a folder that all of them see"
            ) from None
