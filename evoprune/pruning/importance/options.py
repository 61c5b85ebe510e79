"""How an importance is computed."""

from dataclasses import dataclass, field

from evoprune.common.progress import Meter, Silent
from evoprune.config import ImportanceConfig
from evoprune.networks.device import CPU, Compute
from evoprune.pruning.moments import Moments


@dataclass(frozen=True)
class ImportanceOptions:
    """How an importance is computed.

    Attributes:
        config: criterion, images, and the keys of SCOP.
        compute: device and precision.
        seed: of everything that chance decides.
        moments: what the layers of the network read, where that is known already.
        meter: is told how many steps are done, where there are steps.
    """

    config: ImportanceConfig = field(default_factory=ImportanceConfig)
    compute: Compute = CPU
    seed: int = 0
    moments: Moments | None = None
    meter: Meter = field(default_factory=Silent)
