"""Turns pydantic's findings into one line per wrong key: its path, what came, what is allowed."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evoprune.common.errors import suggest

_LONGEST = 100
_MOST_FINDINGS = 20
_ALLOWED, _OR = "; allowed: ", ", or "
_NAMES = "letters, digits, `.`, `_` and `-`; a key `name` says it where the name of the file is another one"
_NOT_KEYS = ("[key]", "bool", "float", "int", "str")  # how pydantic marks a mapping's key and the members of a union
_NOT_KEYS_BEGIN = ("constrained-", "list[", "tuple[")


def describe_errors(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """All findings of `error`, one line each, for the file `source`."""
    lines: list[str] = []
    every = error.errors(include_url=False)
    findings = every[:_MOST_FINDINGS]
    for finding in findings:
        if any(len(other["loc"]) > len(finding["loc"]) == _shared(other, finding) for other in findings):
            continue  # a wrong item also makes its list too short: the item says it better
        _add(_describe(dict(finding), model), lines)
    if len(every) > len(findings):
        lines.append(f"and {len(every) - len(findings):,} more")
    return "\n".join(f"{source}: {line}" for line in lines)


def _add(line: str, lines: list[str]) -> None:
    """Add what is wrong; of a key that may be one thing or another there is a line that names all of them."""
    what, allowed, rule = line.partition(_ALLOWED)
    same = next((place for place, other in enumerate(lines) if allowed and other.startswith(what + allowed)), None)
    if same is None:
        lines.append(line)
    elif rule not in lines[same].removeprefix(what + allowed).split(_OR):
        lines[same] += _OR + rule


def _shared(first: ErrorDetails, second: ErrorDetails) -> int:
    """How many leading parts of the keys' paths are the same."""
    same = (a == b for a, b in zip(first["loc"], second["loc"], strict=False))
    return len(list(takewhile(bool, same)))


def _describe(finding: dict[str, Any], model: type[BaseModel]) -> str:
    path = _short(".".join(_keys_of(finding["loc"])))
    came = repr(finding["input"])[:80]
    message = str(finding["msg"]).removeprefix("Value error, ")
    match finding["type"]:
        case "extra_forbidden":
            *sections, key = finding["loc"]  # the key may be called as pydantic marks something
            keys = _keys_of(sections)
            return f"unknown key {_short('.'.join([*keys, key]))}; {suggest(key, _allowed_keys(model, keys))}"
        case "missing":
            return f"{path} is missing"
        case "model_type" | "dict_type":
            return f"{path or 'the file'} is a mapping of keys, got {came}"
        case "value_error" if not path:
            return message.removeprefix("allowed: ")
        case "string_pattern_mismatch" if path == "name":
            return f"{path}: got {came}{_ALLOWED}{_NAMES}"
        case "tuple_type":
            return f"{path}: got {came}{_ALLOWED}a list, such as [a, b]"
        case "too_short":
            return f"{path}: got {came}{_ALLOWED}a list of at least {finding['ctx']['min_length']}"
        case "value_error" if message.startswith("did you mean "):  # it says itself what is allowed
            return f"{path}: got {came}; {message}"
        case _:
            return f"{path}: got {came}{_ALLOWED}{message.removeprefix('Input should be ').removeprefix('allowed: ')}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _keys_of(location: Sequence[str | int]) -> list[str]:
    """The keys, and numbers of a list's items, that lead to a finding."""
    return [str(part) for part in location if part not in _NOT_KEYS and not str(part).startswith(_NOT_KEYS_BEGIN)]


def _allowed_keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Keys of the section at `location` as they stand in the YAML file."""
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part not in fields:
            continue
        annotation = fields[part].annotation
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return [field.alias or name for name, field in model.model_fields.items()]
