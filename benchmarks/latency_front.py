"""What does a search gain in ms when it minimises latency, and not multiply-adds; and when widths are multiples of 8?

Usage: python benchmarks/latency_front.py EXPERIMENT [--set KEY=VALUE] [--round-to 8] [--out FOLDER]
       python benchmarks/latency_front.py EXPERIMENT [--set KEY=VALUE] --again TABLE.csv
Four searches that differ in nothing else: `multiply-adds` or `latency` is the objective beside accuracy, and widths
are as they come or multiples of --round-to. All propose by evolution, and train no candidate (evaluation.epochs is
0 unless --set says otherwise). Run it where nothing else runs. Searches lie in FOLDER/latency_front/ARM, and an
interrupted run goes on. At the end the base network and all networks of the fronts are timed once more, in random
order, in this process. So fronts are compared by times that were taken together, and networks that were timed in a
search too tell how well two measurements agree. The table is latency_front.md, the networks latency_front.csv, the
fronts latency_front.png. With --again nothing is searched: the networks of an earlier table are timed, hours or days
later, and it says how far they lie from their last time.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmark_tools import describe, make_parser, markdown, open_context

from evoprune.config import Experiment, load_experiment
from evoprune.data.tensors import place_data
from evoprune.evaluation.latency_meter import make_meter
from evoprune.evaluation.worker import worker_compute
from evoprune.pruning.channels import slim_network
from evoprune.report.compared import ComparedRun, base_of, dataset_of, network_of
from evoprune.report.figures import draw_comparison
from evoprune.report.latencies import base_latency_ms
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.table import read_rows
from evoprune.search.front import front_rows
from evoprune.space.space import Code
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare
from evoprune.stages.search import search

COSTS = {"multiply-adds": "flops", "latency": "latency"}
POINTS_LOST = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Accuracy below the base network's, in points, at which fronts are compared."""


def arms(arguments: argparse.Namespace) -> dict[str, Experiment]:
    """The searches, by name."""
    found = {}
    for cost, objective in COSTS.items():
        for multiple in dict.fromkeys((1, arguments.round_to)):
            name = cost if multiple == 1 else f"{cost}, multiples of {multiple}"
            own = [f"search.objectives=[accuracy, {objective}]", f"search.round_to={multiple}"]
            common = ["search.proposal=evolution", "evaluation.epochs=0"]
            found[name] = load_experiment(arguments.experiment, [*common, *arguments.overrides, *own])
    return found


def searched(experiment: Experiment, folder: Path) -> Context:
    """The context of a finished search."""
    with open_run_folder(folder, experiment) as run:
        context = Context(experiment, run)
        prepare(context)
        search(context)
    return context


def timed_again(contexts: dict[str, Context]) -> Iterator[dict[str, Any]]:
    """The base network, and every network of every front, timed in this process, in an order that mixes the arms."""
    context = next(one for one in contexts.values() if one.experiment.measures_latency)
    space, time_code = context.space, timer(context)
    full = {**base_of(read_rows(context.folder.reports), space), "arm": "base network", "code": None}
    rows = [{**row, "arm": arm} for arm, one in contexts.items() for row in _front(one)]
    order = np.random.default_rng(0).permutation(len(rows))
    for row in [full, *(rows[index] for index in order)]:
        code = space.full_code() if row["code"] is None else space.parse_code(row["code"])
        ratio, spread = time_code(code)
        yield {**row, "again": ratio * (base_latency_ms(context.folder) or 1.0), "again_spread": spread}


def timer(context: Context) -> Callable[[Code], tuple[float, float | None]]:
    """What times the network of a code in this process: over the base network's time meanwhile, and its spread."""
    space, compute = context.space, worker_compute(context.experiment)
    data = place_data(context.dataset.arrays, compute.device)
    base = context.base.network.to(compute.device).eval()
    meter = make_meter(context.experiment, space, base, data, compute)
    assert meter is not None, "latency is an objective"

    def time_code(code: Code) -> tuple[float, float | None]:
        found = meter.measure(slim_network(space, base, code, context.moments), code)
        assert found["latency"] and found["base_latency"], "measured here, not by a command"
        return found["latency"] / found["base_latency"], found["latency_spread"]

    return time_code


def timed_later(arguments: argparse.Namespace) -> pd.DataFrame:
    """The networks of an earlier table with the time of their end as `latency`, and `again` of now, on its scale."""
    table = pd.read_csv(arguments.again)
    scale = float(table.loc[table["arm"] == "base network", "again"].iloc[0])
    table = table[table["code"].notna()].drop_duplicates("code")
    with open_context(arguments, "search.objectives=[accuracy, latency]") as context:
        time_code, space = timer(context), context.space
        timed = [time_code(space.parse_code(str(code))) for code in table["code"]]
    ratios, spreads = zip(*timed, strict=True)
    return table.assign(latency=table["again"], again=[scale * one for one in ratios], again_spread=spreads)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """For each loss of accuracy the fastest network of each arm, and how much faster it is than the first arm's."""
    base = table[table["arm"] == "base network"].iloc[0]
    names = [name for name in table["arm"].unique() if name != "base network"]
    names.sort(key=lambda name: ("latency" in name, "multiples" in name))
    lines = []
    for lost in POINTS_LOST:
        good = table[(table["accuracy"] >= base["accuracy"] - lost) & (table["arm"] != "base network")]
        fastest = {arm: same.loc[same["again"].idxmin()] for arm, same in good.groupby("arm")}
        first = fastest.get(names[0])
        line: dict[str, Any] = {"points lost, at most": lost}
        for name in names:
            row = fastest.get(name)
            line[name] = "none" if row is None else f"{row['again']:.3f} ms, {row['flops'] / 1e6:.1f} M"
            if row is not None and first is not None and name != names[0]:
                line[name] += f" ({row['again'] - first['again']:+.3f})"
        lines.append(line)
    return pd.DataFrame(lines)


def agreement(table: pd.DataFrame) -> str:
    """How far two measurements of one network lie apart: in its search, and at the end."""
    twice = table.dropna(subset=["latency", "again"])
    apart = (100 * (twice["again"] / twice["latency"] - 1)).abs()
    wide = int((twice["again_spread"] > 3).sum())
    return (
        f"Two measurements of {len(twice)} networks: {apart.median():.1f} % apart in the "
        f"median, {apart.max():.1f} % at most, {100 * (apart <= 3).mean():.0f} % of them within 3 %; "
        f"{wide} of the last ones did not agree with themselves within 3 %."
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--round-to", type=int, default=8)
    parser.add_argument("--again", type=Path, metavar="TABLE", help="a latency_front.csv, whose networks are timed now")
    arguments = parser.parse_args()
    if arguments.again is not None:
        print(agreement(timed_later(arguments)))
        return
    folder = arguments.out / "latency_front"
    contexts = {
        name: searched(experiment, folder / name.replace(", ", "-").replace(" ", "-"))
        for name, experiment in arms(arguments).items()
    }
    table = pd.DataFrame(timed_again(contexts))
    kept = ["arm", "key", "code", "accuracy", "flops", "params", "latency", "latency_spread", "again", "again_spread"]
    table.reindex(columns=kept).to_csv(arguments.out / "latency_front.csv", index=False)
    _draw(arguments.out / "latency_front.png", table, contexts)
    context = next(iter(contexts.values()))
    base = table.iloc[0]
    text = (
        f"{describe(context)}\n\nBase network: {base['accuracy']:.2f} %, {base['again']:.3f} ms, "
        f"{base['flops'] / 1e6:.1f} M multiply-adds. The fastest network of each search with at most so many points "
        f"less, its multiply-adds, and ms more or less than the first column:\n\n"
        f"{markdown(gains(table))}\n\n{agreement(table)}\n"
    )
    (arguments.out / "latency_front.md").write_text(text)
    print(text)


def _front(context: Context) -> list[dict[str, Any]]:
    return front_rows(read_rows(context.folder.reports), context.experiment.search.objectives)


def _draw(path: Path, table: pd.DataFrame, contexts: dict[str, Context]) -> None:
    """Accuracy against the times of the end, and against multiply-adds."""
    rows = [{**row, "latency": row["again"]} for row in table.to_dict("records")]
    runs = [
        ComparedRun(name, network_of(one.experiment), dataset_of(one.experiment),
                    sorted((row for row in rows if row["arm"] == name), key=lambda row: row["latency"]), rows[0])
        for name, one in contexts.items()
    ]  # fmt: skip
    draw_comparison([path], runs, ["accuracy", "latency", "flops"])


if __name__ == "__main__":
    main()
