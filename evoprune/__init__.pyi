"""What type checkers and editors see of the public names, which `__init__.py` loads on first use."""

from evoprune.common.errors import UserError as UserError
from evoprune.config import load_experiment as load_experiment
from evoprune.networks.build import build_network as build_network
from evoprune.networks.build import network_spec as network_spec
from evoprune.networks.checkpoints import load_model as load_model
from evoprune.networks.checkpoints import load_weights as load_weights
from evoprune.networks.checkpoints import save_model as save_model
from evoprune.networks.traced import trace_search_space as trace_search_space
from evoprune.pruning.channels import slim_network as slim_network
from evoprune.search.front import hypervolume_by_evaluation as hypervolume_by_evaluation
from evoprune.space.costs import compute_costs as compute_costs
from evoprune.space.from_yaml import load_search_space as load_search_space
from evoprune.space.groups import Segment as Segment
from evoprune.space.space import SearchSpace as SearchSpace

__version__: str
