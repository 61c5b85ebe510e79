"""`report.html`, as a file and in a real browser."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from report_rows import rows

from evoprune.report.page import PAGE_NAME, write_page
from evoprune.report.page_data import page_data
from evoprune.runs.folder import RunFolder
from evoprune.search.front import front_rows

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VISIT = """
<script>
const press = key => $("plot").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
press("ArrowRight"); const first = $("tip").textContent;
press("ArrowRight"); const second = $("tip").textContent;
const rows = [...document.querySelectorAll("#heat tr.chosen")].map(row => row.cells[0].textContent);
document.querySelector("#heat tbody tr:last-child").click(); const linked = $("tip").textContent;
$("knee").click(); const knee = $("choice").textContent;
$("limit").value = 9000; $("limit").oninput(); const best = $("choice").textContent;
document.querySelectorAll("#table th button")[1].click();
const sorted = [...document.querySelectorAll("#table tbody tr")].map(row => +row.cells[1].textContent);
$("generation").value = 0; $("generation").oninput();
const points = document.querySelectorAll("#plot circle[data-at]").length;
const asked = performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length;
const found = {asked, first, second, rows, linked, knee, best, sorted, points};
document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
</script>
"""


@pytest.fixture
def page(tiny, small_space, tmp_path) -> Path:
    table = rows(small_space, 16)
    folder = RunFolder(tmp_path / "it's a run")
    folder.note(hardware={"cpu": "</script><b>a CPU"}, seconds={"search": 2.0})
    write_page(folder, "tiny", page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space))
    return folder.path / PAGE_NAME


def browse(page: Path, tmp_path: Path) -> tuple[str, str]:
    """What a browser has made of a page, and what it has said of it."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed here")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *options, profile, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_the_page_names_nothing_outside_itself(page):
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/2000/svg"}
    assert text.count("</script>") == 1 and "%DATA%" not in text and "%TITLE%" not in text


@pytest.mark.parametrize(("number", "most"), [(1056, 2e6), (5000, 4e6)])
def test_the_page_is_small(tiny, small_space, tmp_path, number, most):
    table = [
        {
            **row,
            "id": i,
            "key": f"k{i:011x}",
            "accuracy": 10 + i % 80 + 0.37,
            "flops": 40_000_000 - 7919 * i % 39_000_000,
        }
        for i, row in enumerate(rows(small_space, 100) * (number // 100 + 1))
    ][:number]
    data = page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space)
    write_page(RunFolder(tmp_path), "tiny", data)
    assert (tmp_path / PAGE_NAME).stat().st_size < most


def test_a_browser_shows_it_without_an_error(page, tmp_path):
    shown, said = browse(page, tmp_path)
    assert said == ""
    assert shown.count("<circle") >= 16 + 11 and "a CPU" in shown


def test_the_browser_itself_refuses_every_request_of_the_page(page, tmp_path):
    asking = page.with_name("asking.html")
    asking.write_text(page.read_text().replace("</body>", '<img src="http://localhost:9/a.png"></body>'))
    _, said = browse(asking, tmp_path)
    assert "Content Security Policy" in said


def test_keyboard_links_and_choices_work(page, tmp_path):
    visited = page.with_name("visited.html")
    visited.write_text(page.read_text().replace("</body>", VISIT + "</body>"))
    shown, said = browse(visited, tmp_path)
    assert said == ""
    (text,) = re.findall("FOUND(.*?)END", shown, re.S)
    found = json.loads(text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["asked"] == 0
    assert found["first"].startswith("k15: accuracy 75 %, multiply-adds 8,500")
    assert found["second"].startswith("k13: ") and found["rows"] == ["k13"]
    assert found["linked"].startswith("k0: ")
    assert found["knee"].startswith("The knee") and "The best below" in found["best"]
    train, export = re.findall(r"evoprune (?:retrain|export).*?(?=export it|$)", found["best"])
    run = str(page.parent)
    assert shlex.split(train) == ["evoprune", "retrain", run, "--set", "retrain.select=[k10]"]
    assert shlex.split(export) == ["evoprune", "export", f"{run}/models/k10", "--format", "onnx"]
    assert found["sorted"] == sorted(found["sorted"]) and found["points"] == 4 + 3
