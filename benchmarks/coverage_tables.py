"""The coverage of tracing as text: the shares that are promised, and the row of each network."""

import sys
from pathlib import Path

import pandas as pd
import torch
from benchmark_tools import markdown

from evoprune.common.hardware import available_cpus
from evoprune.networks.device import device_name
from evoprune.runs.provenance import git_commit

COLUMNS = ["network", "pixels", "seconds", "bits", "segments", "reach", "difference", "costs equal", "peer", "pinned"]


def write_coverage(path: Path) -> None:
    """Write `coverage.md` beside `coverage.csv`.

    Args:
        path: the table, one row for each network.
    """
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    is_timm = rows["network"].str.startswith("timm/")
    summary = pd.DataFrame([_summary("torchvision", rows[~is_timm]), _summary("timm", rows[is_timm])])
    rows["peer"] = [_peer(*cells) for cells in rows[["peer", "peer reach", "peer difference"]].itertuples(index=False)]
    command = f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {device_name(torch.device('cpu'))}"
    head = f"{command}, torch {torch.__version__}, commit {git_commit() or 'unknown'}"
    path.with_suffix(".md").write_text(f"{head}\n\n{markdown(summary)}\n\n{markdown(rows[COLUMNS])}\n")


def _summary(name: str, rows: pd.DataFrame) -> dict[str, object]:
    traced = rows[rows["status"] == "traced"]
    reach, peer = pd.to_numeric(traced["reach"]), pd.to_numeric(traced["peer reach"])
    return {
        "networks of": name,
        "tried": len(rows),
        "traced": len(traced),
        "slim equals masked": int((pd.to_numeric(traced["difference"]) < 1e-4).sum()),
        "costs equal a count": int((traced["costs equal"] == "True").sum()),
        "reach 0.9 or more": int((reach >= 0.9).sum()),
        "of those where the peer has it": f"{((reach >= 0.9) & (peer >= 0.9)).sum()} of {(peer >= 0.9).sum()}",
        "the peer is exact": int((pd.to_numeric(traced["peer difference"]) < 1e-4).sum()),
    }


def _peer(failed: str, reach: str, difference: str) -> str:
    return failed or f"reach {reach}, difference {difference}"
