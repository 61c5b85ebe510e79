"""An experiment: strict YAML -> frozen typed objects. One file per section; its names are imported from here."""

from evoprune.config.base import BaseConfig
from evoprune.config.data import DataConfig
from evoprune.config.evaluation import EvaluationConfig, Fidelity, RungConfig
from evoprune.config.experiment import Experiment, load_experiment, parse_experiment
from evoprune.config.importance import IMPORTANCES, ImportanceConfig, ImportanceName, ScopConfig
from evoprune.config.network import NetworkConfig
from evoprune.config.report import ReportConfig
from evoprune.config.retrain import CountSelection, MaxSelection, RetrainConfig
from evoprune.config.search import LimitConfig, ProposalName, SearchConfig
from evoprune.config.search_space import SearchSpaceConfig
from evoprune.config.training import DistillationConfig, TrainingConfig
from evoprune.config.weights import WeightsConfig, parse_weights
from evoprune.config.workers import WorkersConfig

__all__ = [
    "IMPORTANCES",
    "BaseConfig",
    "CountSelection",
    "DataConfig",
    "DistillationConfig",
    "EvaluationConfig",
    "Experiment",
    "Fidelity",
    "ImportanceConfig",
    "ImportanceName",
    "LimitConfig",
    "MaxSelection",
    "NetworkConfig",
    "ProposalName",
    "ReportConfig",
    "RetrainConfig",
    "RungConfig",
    "ScopConfig",
    "SearchConfig",
    "SearchSpaceConfig",
    "TrainingConfig",
    "WeightsConfig",
    "WorkersConfig",
    "load_experiment",
    "parse_experiment",
    "parse_weights",
]
