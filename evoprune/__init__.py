"""evoprune: a trained CNN in, a Pareto front of smaller trained CNNs out.

The public names below load on first use, so that reading configs, codes and results never imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "SearchSpace": "space.space",
    "Segment": "space.groups",
    "UserError": "common.errors",
    "build_network": "networks.build",
    "compute_costs": "space.costs",
    "hypervolume_by_evaluation": "search.front",
    "load_experiment": "config",
    "load_model": "networks.checkpoints",
    "load_search_space": "space.from_yaml",
    "load_weights": "networks.checkpoints",
    "network_spec": "networks.build",
    "save_model": "networks.checkpoints",
    "slim_network": "pruning.channels",
    "trace_search_space": "networks.traced",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'evoprune' has no attribute {name!r}; it has {', '.join(sorted(_PUBLIC))}")
    return getattr(import_module(f"evoprune.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
