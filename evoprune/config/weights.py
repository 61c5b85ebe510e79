"""The section `weights`."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from evoprune.common.errors import UserError
from evoprune.config.errors import describe_errors
from evoprune.config.section import Positive, Section, Share


class WeightsConfig(Section):
    """Pruning of single weights by their absolute value, as `evoprune prune --weights` and `evoprune sweep` do it."""

    sparsity: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the weights that goes, of the original network, such as 0.8. `--sparsity` overrides it."""
    scope: Literal["global", "layer"] = "global"
    """Who is ranked with whom: all weights together (`global`), or those of each layer (`layer`), so that each loses
    the same share."""
    layers: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(default={})
    """Ratios of single layers, such as `{conv1: 0.5, 'layer2.*': 0.8, linear: 0.99}`: by name, by a glob, or by kind
    (`conv`, `depthwise`, `linear`). A name counts before a glob, and a glob before a kind. The layers that write the
    network's outputs are pruned only by their names."""
    schedule: Literal["once", "logarithmic", "logarithmic_from_zero", "cubic"] = "once"
    """How the sparsity is reached: at `once`, before fine-tuning; or while it goes on: `logarithmic`, ln(2 + t/d) /
    ln(2 + E/d) of it at pass t of E; `logarithmic_from_zero`, which begins at 0; or `cubic` (Zhu and Gupta 2017)."""
    changes: Positive = 20
    """How often the sparsity rises on the way, E/d: it rises every d passes."""
    until: Share = 0.75
    """Share of the fine-tuning after which the sparsity stays."""
    csr_from: Share = 0.7
    """Share of zeros from which `evoprune transform` times a linear layer as compressed sparse rows too."""


def parse_weights(document: Any, source: str) -> WeightsConfig:
    """Check the section as it was written beside a model; `source` names it in errors."""
    try:
        return WeightsConfig.model_validate(document)
    except ValidationError as error:
        raise UserError(describe_errors(error, WeightsConfig, source)) from None
