"""Files that the package carries, and writing without half-written files."""

import hashlib
import os
import stat
from pathlib import Path

from evoprune.common.errors import UserError, suggest

_PACKAGE = Path(__file__).resolve().parents[1]


def digest(path: Path) -> str:
    """What tells the versions of a file apart: the first 16 hexadecimal digits of its SHA-256.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def find_carried_file(folder: str, name: str) -> Path:
    """Resolve `name`: a path of the user's, or the name of a file that the package carries.

    Args:
        folder: `search_spaces` or `experiments`.
        name: a path (it has a `/` or ends in .yaml), or a bare name such as `resnet20`.
    """
    if is_path(name):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"{name}: no such file")
        return path
    carried = carried_files(folder)
    if name in carried:
        return carried[name]
    raise UserError(f"unknown name {name!r} in {folder}; {suggest(name, carried)}; or give a path that ends in .yaml")


def is_path(name: str) -> bool:
    """Whether a name is the path of a YAML file of the user's, and not the name of a carried one."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def carried_files(folder: str) -> dict[str, Path]:
    """Name -> path of the YAML files in `folder`, from the wheel or, in a source checkout, from its top level."""
    for root in (_PACKAGE / folder, _PACKAGE.parent / folder):
        if root.is_dir():
            return {path.stem: path for path in sorted(root.glob("*.yaml"))}
    return {}


def carried_beside(path: Path) -> Path:
    """`path`, or where there is no such file, the one at this place in `experiments`, which the package carries.

    So what a carried experiment names is found from everywhere.
    """
    if path.exists() or path.is_absolute() or path.parts[:1] != ("experiments",):
        return path
    return next((root / path for root in (_PACKAGE, _PACKAGE.parent) if (root / path).is_file()), path)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing, also when the process dies in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:  # it names the file that is to be, not the one that was written before it
        part.unlink(missing_ok=True)
        raise type(error)(error.errno, error.strerror, str(path)) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def append_durably(path: Path, content: bytes) -> None:
    """Add to a file; when this returns it is on the disk. Where that fails a part of it may be."""
    try:
        with path.open("ab", buffering=0) as file:
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def check_plain(folder: Path) -> None:
    """Refuse a folder in which lies something else than files and folders, at any depth.

    A link would lead what is written, or deleted, to elsewhere; a pipe or a device can be read without an end.

    Raises:
        UserError: names what lies there.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # another process works here
                continue
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                what = "a link" if stat.S_ISLNK(mode) else "no file"
                raise UserError(f"{path}: is {what}, and {folder} may hold files and folders alone; remove it")


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file that has at most so many.

    Raises:
        ValueError: it has more.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes")
    return content


def remove_parts(folder: Path) -> None:
    """Remove the half-written files of processes that were killed; call it where nobody else writes."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
