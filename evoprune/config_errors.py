"""Turns pydantic's findings into one line per wrong key: its path, what came, what is allowed."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from evoprune.files import suggest


def describe_errors(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """All findings of `error`, one line each, for the file `source`."""
    lines: list[str] = []
    for finding in error.errors(include_url=False):
        line = _describe(dict(finding), model)
        if line not in lines:
            lines.append(line)
    return "\n".join(f"{source}: {line}" for line in lines)


def _describe(finding: dict[str, Any], model: type[BaseModel]) -> str:
    location = [part for part in finding["loc"] if not str(part).startswith(("function-", "tuple["))]
    path = ".".join(str(part) for part in location)
    came = repr(finding["input"])[:80]
    message = str(finding["msg"]).removeprefix("Value error, ")
    match finding["type"]:
        case "extra_forbidden":
            return f"unknown key {path}; {suggest(str(location[-1]), _keys(model, location[:-1]))}"
        case "missing":
            return f"{path} is missing"
        case "model_type" | "dict_type":
            return f"{path or 'the file'} is a mapping of keys, got {came}"
        case _:
            return f"{path}: got {came}; allowed: {message.removeprefix('Input should be ').removeprefix('allowed: ')}"


def _keys(model: type[BaseModel], location: list[Any]) -> list[str]:
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
