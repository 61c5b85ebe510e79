"""Images from a folder of class folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from evoprune.common.errors import UserError, printable, some
from evoprune.config import DataConfig
from evoprune.data.dataset import Labels, Part, RawData
from evoprune.data.decoding import SUFFIXES
from evoprune.data.image_cache import Decoded, ImageFile, Request, decode_files
from evoprune.data.split import hold_out_test

_PARTS = ("train", "test", "val")
_LIKE_PARTS = {*_PARTS, "training", "testing", "valid", "validation"}


@dataclass
class _Listing:
    """Image files of one part in order, their labels, and what else lies there."""

    files: list[ImageFile] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


class ImageFolder:
    """A folder of class folders, or of `train/`, `test/` and maybe `val/` with class folders in each.

    Whatever lies in a class folder, at any depth, belongs to the class. What is hidden is not seen.
    """

    def __init__(self, config: DataConfig, cache: Path):
        """`cache` is the folder that has decoded images."""
        self._config, self._root, self._cache = config, Path(config.root), cache

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order.

        Raises:
            UserError: `data.image_size` is missing, or the folders are not as they should be.
        """
        root = self._root
        if self._config.image_size is None:
            raise UserError("data.image_size is missing: images of a folder are resized to it, such as 64 or [96, 128]")
        if not root.is_dir():
            raise UserError(f"data.root: {root}: no such folder")
        if (root / "train").is_dir() != (root / "test").is_dir():
            raise UserError(
                f"data.root: {root} needs one folder per class, or train/ and test/ (and val/ if wanted) with these "
                "in each"
            )
        train = root / "train" if (root / "train").is_dir() else root
        classes = tuple(sorted(entry.name for entry in _seen(train) if entry.is_dir()))
        if len(classes) < 2:
            raise UserError(
                f"data.root: {train} needs one folder for each of at least 2 classes, got {some(classes) or 'none'}"
            )
        if _LIKE_PARTS.issuperset(name.lower() for name in classes):
            raise UserError(
                f"data.root: {train} has {some(classes)} where class folders are looked for; parts are named "
                f"{', '.join(_PARTS)}, in small letters: rename them"
            )
        return classes

    def read(self) -> RawData:
        """All images, decoded.

        Raises:
            UserError: a class without images, corrupt files that are not to be skipped, a disk without room.
        """
        return self._read[0]

    def facts(self) -> list[str]:
        """What is to be said of the images: how many there are, of which classes, and what is left out."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[RawData, list[str]]:
        classes, root, size = self.classes, self._root, self._config.image_size
        assert size is not None
        has_parts = (root / "train").is_dir()
        names = [name for name in _PARTS if (root / name).is_dir()] if has_parts else [""]
        listings = {name: _list_part(root, name, classes, self._config.follow_links) for name in names}
        files = [file for listing in listings.values() for file in listing.files]
        height, width = (size, size) if isinstance(size, int) else size
        decoded = decode_files(Request(root, files, height, width), self._cache)
        self._check(files, decoded)
        parts = _choose_parts(listings, decoded)
        for name, part in parts.items():
            _check_classes(root / name, part[1], classes, is_whole=name in ("", "train"))
        train, test = (parts["train"], parts["test"]) if has_parts else hold_out_test(parts[""])
        raw = RawData(train, test, parts.get("val"), len(classes), classes)
        ignored = [name for listing in listings.values() for name in listing.ignored]
        ignored += [entry.name for entry in _seen(root) if entry.name not in _PARTS] if has_parts else []
        return raw, _facts(raw, [files[place].path for place in decoded.corrupt], ignored)

    def _check(self, files: list[ImageFile], decoded: Decoded) -> None:
        if not decoded.corrupt or self._config.skip_corrupt:
            return
        lines = [f"  {_one_line(files[place].path)}: {reason}" for place, reason in decoded.corrupt.items()]
        raise UserError(
            "\n".join(
                [
                    f"data.root: {len(lines):,} of {len(files):,} files in {self._root} cannot be read as images:",
                    *lines,
                    "mend or remove them, or set data.skip_corrupt: true to go on without them",
                ]
            )
        )


def _list_part(root: Path, part: str, classes: tuple[str, ...], follow_links: bool) -> _Listing:
    found = _Listing()
    above = frozenset({_identity(root), _identity(root / part)})
    for entry in _seen(root / part):
        inside = f"{part}/{entry.name}" if part else entry.name
        if not entry.is_dir():
            found.ignored.append(inside)
            continue
        if entry.name not in classes:
            raise UserError(f"{root / inside}: not a class of the training folder ({some(classes)})")
        if not follow_links:
            _check_link(root / inside, None)
        home = None if follow_links else (root / inside).resolve()
        for file in _walk(root, inside, above, home):
            if Path(file.path).suffix.lower() not in SUFFIXES:
                found.ignored.append(file.path)
                continue
            found.files.append(file)
            found.labels.append(classes.index(entry.name))
    return found


def _walk(root: Path, inside: str, above: frozenset[tuple[int, int]], home: Path | None) -> Iterator[ImageFile]:
    """All files below a folder, in the order of their names; links that lead back are not followed.

    Links out of `home`, where it is given, are refused.
    """
    here = _identity(root / inside)
    if here in above:
        return
    for entry in _seen(root / inside):
        path = f"{inside}/{entry.name}"
        if home is not None:
            _check_link(root / path, home)
        if entry.is_dir():
            yield from _walk(root, path, above | {here}, home)
            continue
        try:
            status = entry.stat()
            yield ImageFile(path, status.st_size, status.st_mtime_ns)
        except OSError:  # a link to nowhere: decoding says so
            yield ImageFile(path, -1, -1)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _check_link(path: Path, home: Path | None) -> None:
    """Refuse a link that leads out of `home`; where there is none, any link."""
    if path.is_symlink() and (home is None or not path.resolve().is_relative_to(home)):
        raise UserError(
            f"data.root: {_one_line(str(path))} is a link to {_one_line(str(path.resolve()))}, out of its class's "
            "folder; where that is meant, set data.follow_links: true"
        )


def _seen(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder and is not hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"data.root: {folder} cannot be read: {error.strerror}") from None


def _choose_parts(listings: dict[str, _Listing], decoded: Decoded) -> dict[str, Part]:
    """Images and labels of each part, without those that cannot be read."""
    parts: dict[str, Part] = {}
    first = 0
    for name, listing in listings.items():
        last = first + len(listing.files)
        sound = np.array([place not in decoded.corrupt for place in range(first, last)], dtype=bool)
        parts[name] = decoded.images[first:last][sound], np.array(listing.labels, dtype=np.int64)[sound]
        first = last
    return parts


def _check_classes(folder: Path, labels: Labels, classes: tuple[str, ...], is_whole: bool) -> None:
    """There are images, and of a training part some of each class."""
    missing = sorted(set(range(len(classes))) - set(labels.tolist()))
    if not len(labels) or (is_whole and missing):
        names = f" of {some([classes[label] for label in missing])}" if len(labels) else ""
        raise UserError(
            f"data.root: {folder}: no images{names}; {', '.join(sorted(SUFFIXES))} in one folder per class are read"
        )


def _facts(raw: RawData, corrupt: list[str], ignored: list[str]) -> list[str]:
    assert raw.classes is not None
    own = f", {len(raw.validation[1]):,} for validation" if raw.validation is not None else ""
    lines = [
        f"images: {len(raw.train[1]):,} for training{own}, {len(raw.test[1]):,} for testing, in {raw.num_classes} "
        f"classes ({some(raw.classes)})"
    ]
    if corrupt:
        lines.append(f"images: corrupt and left out: {len(corrupt):,} ({some(corrupt)})")
    if ignored:
        lines.append(f"images: ignored in the folder: {len(ignored):,} ({some(ignored)})")
    return lines


def _one_line(name: str) -> str:
    return printable(name, allowed="")
