"""YAML as people write it."""

import re
from pathlib import Path
from typing import Any

import yaml

from evoprune.common.errors import UserError


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


def format_rows(document: Any) -> str:
    """The same with a line for each innermost mapping or list: for files of many rows."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=1000)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the user's."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
