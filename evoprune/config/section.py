"""What all mappings in YAML files share: strictness, and kinds of numbers."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from evoprune.config.values import path_text

Positive = Annotated[int, Field(ge=1, le=10**9)]
NonNegative = Annotated[int, Field(ge=0, le=2**63)]
Epochs = Annotated[float, Field(ge=0, le=1e6)]
PathText = Annotated[str, AfterValidator(path_text)]
Share = Annotated[float, Field(gt=0, le=1)]


class Strict(BaseModel):
    """A mapping in a YAML file: unknown keys and wrong types are errors, objects are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Section(Strict):
    """A mapping in an experiment's file. The docstring below a field is its line in `docs/experiment.md`."""

    model_config = ConfigDict(use_attribute_docstrings=True)
