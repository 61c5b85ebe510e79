"""YAML as people write it, files that the package carries, and writing without half-written files."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from evoprune.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads 1e-4 and 20e6 as numbers (YAML 1.2)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would read as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document; `source` names it in the error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None


def format_yaml(document: Any) -> str:
    """YAML text that `parse_yaml` reads back as the same plain types."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the user's."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def find_carried_file(folder: str, name: str) -> Path:
    """Resolve `name`: a path of the user's, or the name of a file that the package carries.

    Args:
        folder: `search_spaces` or `experiments`.
        name: a path (it has a `/` or ends in .yaml), or a bare name such as `resnet20`.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"{name}: no such file")
        return path
    carried = carried_files(folder)
    if name in carried:
        return carried[name]
    raise UserError(f"unknown name {name!r} in {folder}; {suggest(name, carried)} or give a path that ends in .yaml")


def carried_files(folder: str) -> dict[str, Path]:
    """Name -> path of the YAML files in `folder`, from the wheel or, in a source checkout, from its top level."""
    for root in (_PACKAGE / folder, _PACKAGE.parent / folder):
        if root.is_dir():
            return {path.stem: path for path in sorted(root.glob("*.yaml"))}
    return {}


def suggest(came: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'? Allowed: ...` for a misspelt name."""
    names = sorted(allowed)
    close = difflib.get_close_matches(came, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing, also when the process dies in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    data = content.encode("utf-8") if isinstance(content, str) else content
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
