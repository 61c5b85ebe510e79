"""YAML as people write it."""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from evoprune.common.errors import UserError, reason_of

_MOST_BYTES = 1_000_000
_FORBIDDEN = re.compile("[\ud800-\udfff]")
_MERGE = "tag:yaml.org,2002:merge"
"""The key `<<`, whose mapping's keys stand for those that are not given."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OLD_NUMBER = re.compile(r"[-+]?0[0-7_]+$|.*:")
"""What YAML 1.1 reads to base 8 and 60, and nobody means so."""
_MOST_NODES = 200_000
"""Scalars, lists and mappings of a document, each counted as often as an alias names it."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys. 1e-4 and 20e6 are numbers (YAML 1.2); dates, 010 and 1:30 are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
        counts = Counter(key for key in keys if isinstance(key, Hashable))
        for key, count in counts.items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and _OLD_NUMBER.match(node.value):
            return node.value
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, AttributeError) as error:  # a number of thousands of digits, no date at all
            raise yaml.constructor.ConstructorError(None, None, reason_of(error), node.start_mark) from None


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would read as a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document; `source` names it in the error.

    Raises:
        UserError: no YAML, or more of it than anybody writes: it is too deep, too large, or its aliases multiply it.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None
    except (ValueError, OverflowError) as error:  # such as an escape for a character that there is not
        raise UserError(f"{source}: not valid YAML: {reason_of(error)}") from None
    except RecursionError:
        raise UserError(f"{source}: not valid YAML for evoprune: it is nested too deeply") from None


def _check_node(node: yaml.Node, sizes: dict[int, int]) -> int:
    """The number of nodes that a node stands for; `sizes` has those that are known, 0 for those under way."""
    if id(node) in sizes:
        if sizes[id(node)] == 0:
            raise _refused(node, "an alias of what it stands in")
        return sizes[id(node)]
    sizes[id(node)] = 0
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.ScalarNode):
        if _FORBIDDEN.search(node.value):
            raise _refused(node, "a character that no text has")
    else:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    sizes[id(node)] = 1 + sum(_check_node(part, sizes) for part in parts)
    if sizes[id(node)] > _MOST_NODES:
        raise _refused(node, f"more than {_MOST_NODES:,} values, counted as often as aliases name them")
    return sizes[id(node)]


def _refused(node: yaml.Node, what: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, f"found {what}", node.start_mark)


def format_yaml(document: Any) -> str:
    """YAML text that `parse_yaml` reads back as the same plain types."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def format_rows(document: Any) -> str:
    """The same with a line for each innermost mapping or list: for files of many rows."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=1000)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the user's."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: is larger than {_MOST_BYTES:,} bytes, which no file of this kind is")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from None
