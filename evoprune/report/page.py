"""`report.html`: all of a run in one file that opens offline.

The page is a template in `assets/`, with its style, its scripts and the charting library Vega, which is part of the
package. So a page is written without building anything, and read without any network.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from evoprune.common.files import write_atomically
from evoprune.report.latencies import latency_text
from evoprune.runs.folder import RunFolder

PAGE_NAME = "report.html"
_ASSETS = Path(__file__).parent / "assets"
_VEGA = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
_TOLD = ("started", "finished", "seconds", "hardware", "workers", "failed_trainings")
_SCRIPTS = ("tools.js", "charts.js", "front.js", "parts.js")


def write_page(folder: RunFolder, title: str, data: Mapping[str, Any]) -> None:
    """Write `report.html` of a run: under 2 MB, without a link to anything outside.

    Args:
        folder: of the run.
        title: what the page is called.
        data: of `page_data`.
    """
    facts = folder.facts()
    told: dict[str, Any] = {name: facts[name] for name in _TOLD if name in facts}
    told["latency"] = latency_text(folder)
    whole = {**data, "run": str(folder.path), "facts": told}
    text = json.dumps(whole, separators=(",", ":")).replace("<", "\\u003c")  # no `</script>` inside a script
    parts = {
        "%STYLE%": _read("style.css"),
        "%SCRIPT%": "".join(map(_read, _SCRIPTS)),
        "%VEGA%": "\n".join(_read(f"vega/{name}") for name in _VEGA),
        "%TITLE%": escape(title),
        '"%DATA%"': text,
    }
    page = _read("page.html")
    for place, part in parts.items():
        page = page.replace(place, part)
    write_atomically(folder.path / PAGE_NAME, page)


def _read(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
