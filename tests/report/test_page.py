"""`report.html`, as a file and in a real browser."""

import json
import re
import shlex
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_rows import rows

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.compared import ComparedRun
from evoprune.report.page import PAGE_NAME, write_page
from evoprune.report.page_data import compared_data, page_data, sensitivity_data
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
BESIDE = """
<script>{
const every = selector => [...document.querySelectorAll(selector)], shown = id => !$(id).hidden;
const cells = id => every(`#${id} tbody tr`).map(row => [...row.cells].map(cell => cell.textContent));
const squares = () => every("#plot rect").length;
const found = {legend: every("#legend li").map(e => e.textContent), fronts: cells("fronts"), papers: cells("published"),
  paths: every("#plot path[data-run]").length, squares: squares(), live: shown("live"), sensitive: shown("sensitive"),
  curves: every("#curves path").length, losses: cells("losses").length};
const one = marks.find(one => one.at == null && one.text().startsWith("other"));
const at = new DOMPoint(one.a, one.b).matrixTransform($("plot").getScreenCTM());
$("plot").dispatchEvent(new PointerEvent("pointermove", {clientX: at.x, clientY: at.y}));
found.tip = $("tip").textContent;
$("segment").value = "layer1.0.middle"; $("segment").onchange();
found.wide = every("#curves path[stroke-width='4']").map(path => path.dataset.segment);
$("x").value = "params"; $("x").onchange(); found.later = squares();
document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
}</script>
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


def visit(page: Path, tmp_path: Path, script: str) -> dict[str, Any]:
    """What a script finds on a page."""
    visited = page.with_name("visited.html")
    visited.write_text(page.read_text().replace("</body>", script + "</body>"))
    shown, said = browse(visited, tmp_path)
    assert said == ""
    (text,) = re.findall("FOUND(.*?)END", shown, re.S)
    return json.loads(unescape(text))


def test_keyboard_links_and_choices_work(page, tmp_path):
    found = visit(page, tmp_path, VISIT)
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


def test_without_a_front_all_is_drawn_and_the_reason_is_said(tiny, small_space, tmp_path):
    """Costs are within a tenth of each other: ticks have the digits that tell them apart."""
    table = [{**row, "status": "infeasible", "flops": 2_533_000 + row["id"]} for row in rows(small_space, 6)]
    table[3] |= {"status": "lost", "error": "its worker <died>"}
    write_page(RunFolder(tmp_path), "tiny", page_data(table, [], tiny(), small_space))
    script = """<script>const text = id => $(id).textContent, plot = $("plot");
    const found = {facts: text("facts"), failures: text("failures"), knee: $("knee").disabled, legend: text("legend"),
      hollow: plot.querySelectorAll('circle[fill="none"]').length,
      ticks: new Set([...plot.querySelectorAll("text")].map(t => t.textContent).filter(t => t.endsWith(" M"))).size};
    document.body.textContent = "FOUND" + JSON.stringify(found) + "END";</script>"""
    found = visit(tmp_path / PAGE_NAME, tmp_path, script)
    assert found["hollow"] == 5 and found["knee"] and found["ticks"] >= 3
    assert "no candidate keeps all limits" in found["facts"] and "that break a limit" in found["legend"]
    assert "its worker <died>" in found["failures"]


def test_other_runs_published_results_and_curves_are_drawn_and_are_tables(tiny, small_space, tmp_path):
    table = rows(small_space, 8)
    data = page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space)
    front = [{**rows(small_space, 1)[0], "accuracy": 85.0, "flops": 12000, "test_accuracy": 91.5}]
    other = ComparedRun("other", "resnet8", "photos", front, {"flops": 14000, "accuracy": 93.0, "params": 900})
    costs = {"flops": 5000, "base_flops": 10000}
    paper = {"method": "A & B", **costs, "accuracy": 88.0, "base_accuracy": None, "source": "x"}
    groups = small_space.groups
    curves = Curves(small_space, (np.array([0.0, 0.5]),) * len(groups), (np.array([0.0, 3.0]),) * len(groups))
    names = [measure["name"] for measure in data["measures"]]
    extra = {"others": compared_data([other], names), "published": [paper], "live": True, "name": "mine"}
    write_page(RunFolder(tmp_path), "tiny", {**data, **extra, "sensitivity": [sensitivity_data("prior", curves)]})
    found = visit(tmp_path / PAGE_NAME, tmp_path, BESIDE)
    assert found["legend"][0].endswith("mine (this run)") and found["legend"][1].endswith("other")
    assert found["paths"] == 1 and found["squares"] == 1 and found["live"] and found["sensitive"]
    assert found["fronts"][0][:4] == ["mine", "base network", "resnet20", "digits"]
    assert found["fronts"][-1][:6] == ["other", "k0", "resnet8", "photos", "85", "12,000"]
    assert found["papers"] == [["A & B", "5,000", "50", "88", "", "x"]]
    assert (
        found["curves"] == len(groups) and found["losses"] == 2 * len(groups) and found["wide"] == ["layer1.0.middle"]
    )
    assert found["tip"].startswith("other, k0: accuracy 85 %") and found["later"] == 0


def test_a_page_of_one_run_shows_nothing_that_is_not_there(page, tmp_path):
    script = """<script>const ids = ["live", "compared", "papers", "sensitive"];
    document.body.textContent = "FOUND" + JSON.stringify({hidden: ids.filter(id => $(id).hidden)}) + "END";</script>"""
    assert visit(page, tmp_path, script)["hidden"] == ["live", "compared", "papers", "sensitive"]
