"""How many evaluations does a front cost? Hypervolume against evaluations, for proposals and for what others use.

Usage: python benchmarks/search_quality.py EXPERIMENT [--set KEY=VALUE] [--evaluations 1056] [--seeds 3]
           [--arms NAME ...] [--epochs 0] [--images 1000] [--out FOLDER]
Every arm measures the full network first, then as many codes as the others, with the same evaluator; what a search
measures of sensitivity before its first code counts as evaluations. The arm "first codes" learns nothing from what it
measures: all its codes are the default's first generation. "one threshold" is the rule of FastNAS. Measurements are
kept in FOLDER/search_quality.csv at once, and none is made twice, so that an interrupted run goes on; the table is
search_quality.md, the picture search_quality.png, the fronts search_quality_fronts.csv.
"""

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from baseline_searchers import Ancestor, BaselineSearcher, OneThreshold, PymooDefault
from benchmark_tools import ALL_SCORES, append_row, make_parser, open_context, write_result

from evoprune.config import Fidelity, load_experiment
from evoprune.evaluation.candidate_job import Batch
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.runs.folder import RunFolder
from evoprune.search.candidate import Candidate
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.pareto import hypervolume, non_dominated
from evoprune.search.proposals.catalog import make_proposals
from evoprune.space.limits import make_limits
from evoprune.stages.context import Context
from evoprune.stages.curves import num_prior_measurements, prior_curves
from evoprune.stages.measure_candidates import job_factory
from evoprune.stages.search import knowledge
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Workers
from evoprune.workers.pool import open_workers

OURS = {
    "evolution": ["search.proposal=evolution"],
    "first codes": ["search.proposal=evolution"],
    "surrogate": ["search.proposal=surrogate"],
    "surrogate and evolution": ["search.proposal={surrogate: 0.5, evolution: 0.5}"],
    "evolution, no sensitivity": ["search.proposal=evolution", "search.sensitivity=null"],
    "evolution, no prior": ["search.proposal=evolution", "search.prior=null"],
    "evolution, SCOP prior": ["search.proposal=evolution", "search.prior=scop"],
    "evolution, magnitude, SCOP": [ALL_SCORES],
    "random": ["search.proposal=random", "search.prior=null"],
}
ANCESTOR, PYMOO, DEFAULT, FIRST_CODES = "ancestor's operators", "pymoo's default", "evolution", "first codes"
THRESHOLD = "one threshold"
ARMS = (ANCESTOR, PYMOO, THRESHOLD, *OURS)
NEED_SCOP = {"evolution, SCOP prior", "evolution, magnitude, SCOP"}
Codes = npt.NDArray[np.uint8]


class Ours:
    """evoprune's searcher as a searcher of bare codes. Its first generation has `first` codes, if that is given."""

    def __init__(self, context: Context, curves: Curves | None, seed: int, first: int | None = None):
        space, experiment = context.space, context.experiment
        limits = make_limits(space, experiment.search.limits, round_to=experiment.search.round_to)
        scores = {name: context.scores(name) for name in experiment.search.importances}
        proposals = make_proposals(knowledge(context, scores, curves))
        config = experiment.search.model_copy(update={"random_samples": first} if first else {})
        self._searcher = NSGA3Searcher(space, config, limits, proposals, seed)
        self._asked: list[Candidate] = []

    def ask(self, number: int) -> Codes:
        """New codes."""
        self._asked = self._searcher.ask(number)
        return np.stack([candidate.code for candidate in self._asked])

    def tell(self, codes: Codes, losses: npt.NDArray[np.float64]) -> None:
        """What the codes of the last `ask` measured, as losses: minus the accuracy in percent, and FLOPs."""
        self._searcher.tell(self._asked, losses, np.zeros(len(losses)))


FRONTS = "search_quality_fronts.csv"


class Measurements:
    """Accuracies and FLOPs by code, on the disk."""

    def __init__(self, path: Path, fidelity: Fidelity):
        self._path, self._fidelity = path, fidelity
        columns = ["code", "epochs", "images", "accuracy", "flops", "seconds"]
        self._table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
        same = self._table[(self._table.epochs == fidelity.epochs) & (self._table.images == fidelity.validation_images)]
        self._known = {row.code: (row.accuracy, row.flops) for row in same.itertuples()}

    def of(self, codes: list[str], workers: Workers) -> npt.NDArray[np.float64]:
        """Accuracy in percent and FLOPs of each code, shape (codes, 2); measures those that are not known."""
        missing = list(dict.fromkeys(code for code in codes if code not in self._known))
        for event in dispatch(workers, [Batch((code,), self._fidelity) for code in missing]):
            code, value = missing[event.index], event.value
            row = {
                "code": code,
                "epochs": self._fidelity.epochs,
                "images": self._fidelity.validation_images,
                **{name: value[name] for name in ("accuracy", "flops", "seconds")},
            }
            append_row(self._path, row)
            self._known[code] = value["accuracy"], value["flops"]
        return np.array([self._known[code] for code in codes], dtype=float)


def run_arm(
    searcher: BaselineSearcher,
    evaluations: int,
    first: int,
    context: Context,
    measured: Callable[[list[str]], npt.NDArray[np.float64]],
) -> pd.DataFrame:
    """Codes, accuracies and FLOPs in the order of the evaluations, the full network's before all, and the hypervolume.

    The first generation has `first` codes.
    """
    space = context.space
    texts = [space.format_code(space.full_code())]
    full = points = measured(texts)
    size = first
    while len(points) <= evaluations:
        codes = searcher.ask(size)[: evaluations + 1 - len(points)]
        asked = [space.format_code(code) for code in codes]
        found = measured(asked)
        points, texts, size = np.concatenate([points, found]), texts + asked, context.experiment.search.num_individual
        if len(points) <= evaluations:
            searcher.tell(codes, found * (-1, 1))
    losses = np.stack([1 - points[:, 0] / 100, points[:, 1] / full[0, 1]], axis=1)
    volumes = [hypervolume(losses[: count + 1], np.ones(2)) for count in range(len(losses))]
    found = pd.DataFrame({"code": texts, "accuracy": points[:, 0], "flops": points[:, 1].astype(int)})
    return found.assign(hypervolume=volumes, front=non_dominated(losses))


def _searcher(
    arm: str, context: Context, arguments: argparse.Namespace, seed: int, workers: Workers
) -> tuple[BaselineSearcher, int]:
    """A searcher, and how many evaluations it has cost before its first code."""
    if arm == ANCESTOR:
        return Ancestor(context.space, seed), 0
    if arm == PYMOO:
        return PymooDefault(context.space, seed, context.experiment.search.num_individual), 0
    own = _own_context(DEFAULT if arm == THRESHOLD else arm, context, arguments)
    curves = prior_curves(own, lambda: workers)
    spent = num_prior_measurements(own.space) if curves else 0
    if arm == THRESHOLD:
        assert curves is not None, "the default's searches measure them"
        count = arguments.evaluations - spent
        return OneThreshold(own.space, own.scores("magnitude"), curves, count, seed), spent
    return Ours(own, curves, seed, arguments.evaluations - spent if arm == FIRST_CODES else None), spent


def _own_context(arm: str, context: Context, arguments: argparse.Namespace) -> Context:
    """The context of one of our searches. Its curves are measured once for all seeds, which all pay for them."""
    experiment = load_experiment(arguments.experiment, [*arguments.overrides, *OURS[arm]])
    folder = RunFolder(arguments.out / f"prior_{experiment.search.prior}")
    for name in experiment.search.importances:
        folder.importance(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(context.folder.importance(name), folder.importance(name))
    own = Context(experiment, folder, context.source.shape)
    own.base = context.base
    return own


def summarise(curves: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Final hypervolume of each arm, and after how many evaluations the default has reached it."""
    rows = []
    for arm, runs in curves.items():
        ends = [run[-1] for run in runs]
        evaluations = len(runs[0]) - 1
        row: dict[str, object] = {
            "proposal": arm,
            "seeds": len(runs),
            "evaluations": evaluations,
            "after a fifth": float(np.mean([run[evaluations // 5] for run in runs])),
            "hypervolume": float(np.mean(ends)),
            "spread (std)": float(np.std(ends, ddof=1)) if len(ends) > 1 else float("nan"),
        }
        if DEFAULT in curves:
            reached = [_first_above(run, float(np.mean(ends))) for run in curves[DEFAULT]]
            row["default reaches it after"] = ", ".join("never" if at is None else str(at) for at in reached)
        rows.append(row)
    return pd.DataFrame(rows)


def _first_above(run: list[float], volume: float) -> int | None:
    return next((index for index, value in enumerate(run) if value >= volume), None)


def draw(curves: dict[str, list[list[float]]], path: Path) -> None:
    """Mean of the seeds, and between the lowest and the highest."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for arm, runs in curves.items():
        values = np.array(runs)
        (line,) = axes.plot(values.mean(axis=0), label=arm, linewidth=1.5)
        axes.fill_between(
            np.arange(values.shape[1]), values.min(axis=0), values.max(axis=0), alpha=0.15, color=line.get_color()
        )
    axes.set(xlabel="evaluations", ylabel="hypervolume")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def run_arms(
    context: Context, arguments: argparse.Namespace
) -> tuple[dict[str, list[list[float]]], list[pd.DataFrame]]:
    """Hypervolumes of every arm and seed, after each evaluation, and their fronts."""
    fidelity = Fidelity(arguments.epochs, arguments.images)
    store = Measurements(arguments.out / "search_quality.csv", fidelity)
    curves: dict[str, list[list[float]]] = {arm: [] for arm in arguments.arms}
    fronts: list[pd.DataFrame] = []
    with open_workers(context.experiment.workers, job_factory(context)) as workers:
        for seed in range(arguments.seeds):
            for arm in arguments.arms:
                searcher, spent = _searcher(arm, context, arguments, seed, workers)
                config = context.experiment.search
                left = arguments.evaluations - spent
                first = {PYMOO: config.num_individual, FIRST_CODES: left}.get(arm, config.random_samples)
                measured = partial(store.of, workers=workers)
                found = run_arm(searcher, left, first, context, measured)
                volumes = found["hypervolume"].tolist()
                curves[arm].append(volumes[:1] * spent + volumes)
                fronts.append(found[found["front"]].assign(proposal=arm, seed=seed))
                print(f"seed {seed}, {arm}: {curves[arm][-1][-1]:.4f}", flush=True)
    return curves, fronts


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--evaluations", type=int, default=1056)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--epochs", type=float, default=0.0)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    with open_context(arguments, *[ALL_SCORES] * bool(NEED_SCOP & set(arguments.arms))) as context:
        curves, fronts = run_arms(context, arguments)
        pd.concat(fronts).drop(columns=["front", "hypervolume"]).to_csv(arguments.out / FRONTS, index=False)
        words = (
            f"Hypervolume of accuracy and FLOPs; {arguments.epochs:g} epochs of training and {arguments.images} "
            "validation images a candidate."
        )
        write_result(arguments.out / "search_quality.md", context, words, summarise(curves))
    draw(curves, arguments.out / "search_quality.png")


if __name__ == "__main__":
    main()
