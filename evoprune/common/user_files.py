"""Networks of the user's own: a function in a Python file."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import carried_beside, digest

_SEPARATOR = ":"
_PREFIX = "evoprune_user_file_"


def is_user_file(source: str) -> bool:
    """Whether a source names a function in a file, as `path/to/mynet.py:make_net` does."""
    return source.rpartition(_SEPARATOR)[0].endswith(".py")


def find_factory(source: str) -> Callable[..., Any]:
    """Import the file of a source, and find the function in it.

    Raises:
        UserError: no such file, one that cannot be imported, or no such function in it.
    """
    path, function = _existing(source), source.rpartition(_SEPARATOR)[2]
    found = getattr(_import(path), function, None)
    if not callable(found):
        raise UserError(f"{source}: {path} has no function {function!r} that makes the network")
    return found


def is_missing(source: str) -> bool:
    """Whether a source names a function in a file that is not there, as it is from another folder."""
    return is_user_file(source) and not _file(source).is_file()


def file_digest(source: str) -> str:
    """What tells the versions of a source's file apart.

    Raises:
        UserError: no such file.
    """
    return digest(_existing(source))


def file_text(source: str) -> str:
    """What stands in a source's file.

    Raises:
        UserError: no such file.
    """
    return _existing(source).read_text(encoding="utf-8", errors="replace")


def user_modules() -> list[ModuleType]:
    """The files that were imported. What runs elsewhere must bring them along."""
    return [module for name, module in list(sys.modules.items()) if name.startswith(_PREFIX)]


def _file(source: str) -> Path:
    return carried_beside(Path(source.rpartition(_SEPARATOR)[0]))


def _existing(source: str) -> Path:
    path = _file(source)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file in {Path.cwd()}, and the network is made by it; work in the folder in which the run "
            "was started, or give the whole path"
        )
    return path


def _import(path: Path) -> ModuleType:
    """The module of a file, imported once."""
    name = _PREFIX + hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickling looks classes up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UserError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
