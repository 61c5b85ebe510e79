"""The coverage of tracing as text: the shares that are promised, and the row of each network."""

from pathlib import Path

import pandas as pd
from benchmark_tools import describe_machine, markdown

COLUMNS = [
    "network",
    "pixels",
    "cpu seconds",
    "bits",
    "segments",
    "reach",
    "difference",
    "costs equal",
    "peer",
    "pinned",
]


def write_coverage(path: Path) -> None:
    """Write `coverage.md` beside `coverage.csv`.

    Args:
        path: the table, one row for each network.
    """
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    source = rows["network"].str.extract("^(cifar|timm)/", expand=False).fillna("torchvision")
    summary = pd.DataFrame([_summary(str(name), part) for name, part in rows.groupby(source, sort=False)])
    rows["peer"] = [
        _peer(*cells) for cells in rows[["peer", "peer reach", "peer left", "peer difference"]].itertuples(index=False)
    ]
    path.with_suffix(".md").write_text(f"{describe_machine()}\n\n{markdown(summary)}\n\n{markdown(rows[COLUMNS])}\n")


def _summary(name: str, rows: pd.DataFrame) -> dict[str, object]:
    traced = rows[rows["status"] == "traced"]
    reach, peer = pd.to_numeric(traced["reach"]) >= 0.9, pd.to_numeric(traced["peer reach"]) >= 0.9
    is_exact = (pd.to_numeric(traced["peer difference"]) < 1e-4) & (pd.to_numeric(traced["peer left"]) < 1)
    return {
        "networks of": name,
        "tried": len(rows),
        "traced": len(traced),
        "slim equals masked": int((pd.to_numeric(traced["difference"]) < 1e-4).sum()),
        "costs equal a count": int((traced["costs equal"] == "True").sum()),
        "reach 0.9 or more": int(reach.sum()),
        "of those where the peer has it, right": f"{(reach & peer & is_exact).sum()} of {(peer & is_exact).sum()}",
        "the peer prunes and is right": int(is_exact.sum()),
    }


def _peer(status: str, reach: str, left: str, difference: str) -> str:
    return status if status != "prunes" else f"reach {reach}, leaves {left}, difference {difference}"
