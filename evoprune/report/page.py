"""`report.html`: all of a run in one file that opens offline.

The page is a template of our own beside this file, with its style and scripts: plain SVG. Charting libraries that
inline everything draw points that the keyboard cannot reach, and bring a megabyte of script.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from evoprune.common.files import write_atomically
from evoprune.runs.folder import RunFolder

PAGE_NAME = "report.html"
_HERE = Path(__file__).parent
_SCRIPTS = ("page_tools.js", "page_front.js", "page_parts.js")


def write_page(folder: RunFolder, title: str, data: Mapping[str, Any]) -> None:
    """Write `report.html` of a run: under 2 MB, without a link to anything outside.

    Args:
        folder: of the run.
        title: what the page is called.
        data: of `page_data`.
    """
    facts = folder.facts()
    told = {name: facts[name] for name in ("started", "finished", "seconds", "hardware", "workers") if name in facts}
    whole = {**data, "run": str(folder.path), "facts": told}
    text = json.dumps(whole, separators=(",", ":")).replace("<", "\\u003c")  # no `</script>` inside a script
    parts = {
        "%STYLE%": _read("page.css"),
        "%SCRIPT%": "".join(map(_read, _SCRIPTS)),
        "%TITLE%": escape(title),
        '"%DATA%"': text,
    }
    page = _read("page.html")
    for place, part in parts.items():
        page = page.replace(place, part)
    write_atomically(folder.path / PAGE_NAME, page)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
