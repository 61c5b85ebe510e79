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
from evoprune.report import page as module
from evoprune.report.compared import ComparedRun
from evoprune.report.page import PAGE_NAME, write_page
from evoprune.report.page_data import compared_data, page_data, sensitivity_data
from evoprune.runs.folder import RunFolder
from evoprune.search.front import front_rows

ASSETS = Path(module.__file__).parent / "assets"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = """
const every = selector => [...document.querySelectorAll(selector)], marks = name => every(`#plot .${name}_marks path`);
const tell = found => { document.body.textContent = "FOUND" + JSON.stringify(found) + "END"; };
"""
VISIT = """
const press = key => $("plot").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
press("ArrowRight"); const first = $("tip").textContent;
press("ArrowRight"); const second = $("tip").textContent;
const rows = every("#heat tr.chosen").map(row => row.cells[0].textContent);
await view.runAsync(); const rings = marks("ring").length;
document.querySelector("#heat tbody tr:last-child").click(); const linked = $("tip").textContent;
$("knee").click(); const knee = $("choice").textContent;
$("limit").value = 9000; $("limit").oninput(); const best = $("choice").textContent;
document.querySelectorAll("#table th button")[1].click();
const sorted = every("#table tbody tr").map(row => +row.cells[1].textContent);
const kept = every("#table tr.chosen").length;
const point = marks("points")[0], read = point.getAttribute("aria-label");
for (const name of ["mouseover", "pointermove"]) point.dispatchEvent(new PointerEvent(name, {bubbles: true}));
const hovered = $("tip").textContent;
const shown = every("#vg-tooltip-element").map(one => one.textContent).join();
point.dispatchEvent(new MouseEvent("click", {bubbles: true})); const clicked = $("choice").textContent;
$("generation").value = 0; $("generation").oninput(); await view.runAsync();
const points = marks("points").length, steps = marks("steps").length;
$("generation").value = 2; $("generation").oninput(); await view.runAsync();
const ranks = marks("points").map(one => one.__data__.datum.rank);
const asked = performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length;
const noted = {read, hovered, shown, clicked, points, steps, kept, ranks};
tell({asked, first, second, rows, rings, linked, knee, best, sorted, ...noted});
"""
BESIDE = """
const shown = id => !$(id).hidden;
const squares = () => marks("points").filter(one => /published/.test(one.__data__.datum.kind)).length;
const cells = id => every(`#${id} tbody tr`).map(row => [...row.cells].map(cell => cell.textContent));
const found = {legend: every("#plot .role-legend-label text").map(e => e.textContent), fronts: cells("fronts"),
  papers: cells("published"), dashed: marks("steps").filter(p => p.getAttribute("stroke-dasharray") === "6,3").length,
  squares: squares(), live: shown("live"), sensitive: shown("sensitive"), losses: cells("losses").length};
found.stage = $("stage").textContent;
found.tip = marks("points").map(one => one.__data__.datum).filter(one => one.kind === "other").map(one => one.told);
$("segment").value = "layer1.0.middle"; await $("segment").onchange();
found.curves = every("#curves path").filter(one => one.__data__ && one.__data__.mark.marktype === "line").length;
found.named = every("#curves .role-legend-label text").map(e => e.textContent);
found.wide = every("#curves path[stroke-width='4']").map(path => path.__data__.datum.segment);
$("x").value = "params"; await $("x").onchange(); found.later = squares();
tell(found);
"""


@pytest.fixture
def page(tiny, small_space, tmp_path) -> Path:
    table = rows(small_space, 16)
    folder = RunFolder(tmp_path / "it's a run")
    folder.note(hardware={"cpu": "</script><b>a CPU"}, seconds={"search": 2.0})
    write_page(folder, "tiny", page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space))
    return folder.path / PAGE_NAME


def at_the_end(page: Path, more: str) -> str:
    """The text of a page with more at the end of its body; Vega has `</body>` in a string."""
    return more.join(page.read_text().rpartition("</body>")[::2]) + "</body></html>"


def browse(page: Path, tmp_path: Path) -> tuple[str, str]:
    """What a browser has made of a page, and what it has said of it."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed here")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *options, profile, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_the_page_names_nothing_outside_itself(page):
    """What is of Vega aside, whose addresses no page asks: the next tests look at that in a browser."""
    before, vega, after = re.split("<script>\n", page.read_text())
    own = before + after
    assert not re.findall(r"(?:src|href)=\"(?!data:)|@import|url\(|fetch\(|XMLHttpRequest|https?:", own)
    assert own.count("</script>") == 1 == vega.count("</script>") and "%" + "DATA%" not in own and "%TITLE%" not in own


def test_the_versions_of_vega_are_those_that_its_page_names(page, tmp_path):
    named = dict(re.findall(r"\| `(vega\S*?)\.min\.js` \|.*\| (\S+) \|", (ASSETS / "vega" / "README.md").read_text()))
    found = visit(
        page, tmp_path, "tell({vega: vega.version, 'vega-lite': vegaLite.version, 'vega-embed': vegaEmbed.version});"
    )
    assert found == named


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
    assert shown.count('aria-roledescription="point"') >= 16 + 11 and "a CPU" in shown


def test_the_browser_itself_refuses_every_request_of_the_page(page, tmp_path):
    asking = page.with_name("asking.html")
    asking.write_text(at_the_end(page, '<img src="http://localhost:9/a.png">'))
    _, said = browse(asking, tmp_path)
    assert "Content Security Policy" in said


def visit(page: Path, tmp_path: Path, script: str) -> dict[str, Any]:
    """What a script finds on a page whose charts are drawn."""
    visited = page.with_name("visited.html")
    waiting = f"<script>drawn.then(async () => {{ {MARKS} {script} }});</script>"
    visited.write_text(at_the_end(page, waiting))
    shown, said = browse(visited, tmp_path)
    assert said == ""
    (text,) = re.findall("FOUND(.*?)END", shown, re.S)
    return json.loads(unescape(text))


def test_keyboard_links_and_choices_work(page, tmp_path):
    found = visit(page, tmp_path, VISIT)
    assert found["asked"] == 0
    assert found["first"].startswith("k15: accuracy 75 %, multiply-adds 8500")
    assert found["second"].startswith("k13: ") and found["rows"] == ["k13"]
    assert found["linked"].startswith("k0: ")
    assert found["knee"].startswith("The knee") and "The best below" in found["best"]
    train, export = re.findall(r"evoprune (?:retrain|export).*?(?=export it|$)", found["best"])
    run = str(page.parent)
    assert shlex.split(train) == ["evoprune", "retrain", run, "--set", "retrain.select=[k10]"]
    assert shlex.split(export) == ["evoprune", "export", f"{run}/models/k10", "--format", "onnx"]
    assert found["sorted"] == sorted(found["sorted"]) and found["rings"] == 1
    assert found["points"] == 4 + 3 + 1 and found["steps"] == 1
    assert (
        found["read"].startswith("k0: accuracy") and found["read"] == found["hovered"] and "accuracy" in found["shown"]
    )
    assert found["clicked"].startswith("k0: ") and found["kept"] == 1
    assert found["ranks"] == sorted(found["ranks"]), "what was drawn later covers what was drawn before"


def test_without_a_front_all_is_drawn_and_the_reason_is_said(tiny, small_space, tmp_path):
    """Costs are within a tenth of each other: ticks have the digits that tell them apart."""
    table = [{**row, "status": "infeasible", "flops": 2_533_000 + row["id"]} for row in rows(small_space, 6)]
    table[3] |= {"status": "lost", "error": "its worker <died>"}
    write_page(RunFolder(tmp_path), "tiny", page_data(table, [], tiny(), small_space))
    script = """const text = id => $(id).textContent;
    tell({facts: text("facts"), failures: text("failures"), knee: $("knee").disabled,
      legend: every("#plot .role-legend-label text").map(e => e.textContent),
      broken: marks("points").filter(one => /break a limit/.test(one.__data__.datum.kind)).length,
      ticks: new Set(every("#plot .role-axis-label text").map(t => t.textContent).filter(t => /M$/.test(t))).size});"""
    found = visit(tmp_path / PAGE_NAME, tmp_path, script)
    assert found["broken"] == 5 and found["knee"] and found["ticks"] >= 3
    assert "no candidate keeps all limits" in found["facts"] and "candidates that break a limit" in found["legend"]
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
    live = {"live": True, "stage": "so far"}
    extra = {"others": compared_data([other], names), "published": [paper], **live, "name": "mine"}
    write_page(RunFolder(tmp_path), "tiny", {**data, **extra, "sensitivity": [sensitivity_data("prior", curves)]})
    found = visit(tmp_path / PAGE_NAME, tmp_path, BESIDE)
    assert found["legend"] == [
        "other candidates",
        "mine (this run)",
        "other",
        "other, after full training",
        "published, test accuracy",
        "base networks",
    ]
    assert found["dashed"] == 1 and found["squares"] == 1 and found["live"] and found["sensitive"]
    assert found["stage"] == "so far"
    assert found["fronts"][0][:4] == ["mine", "base network", "resnet20", "digits"]
    assert found["fronts"][-1][:6] == ["other", "k0", "resnet8", "photos", "85", "12,000"]
    assert found["papers"] == [["A & B", "5000", "50", "88", "", "x"]]
    assert (
        found["curves"] == len(groups) and found["losses"] == 2 * len(groups) and found["wide"] == ["layer1.0.middle"]
    )
    assert found["named"] == [group.name for group in groups]
    assert found["later"] == 0 and len(found["tip"]) == 1
    assert found["tip"][0].startswith("k0: run other, accuracy 85 %") and "test accuracy 91.5 %" in found["tip"][0]


def test_numbers_are_written_as_people_read_them(tiny, small_space, tmp_path):
    """A hypervolume was once on an axis in thousandths, and a candidate's number in thousands."""
    table = [{**row, "id": 1000 + row["id"], "accuracy": 70 + row["id"] / 4} for row in rows(small_space, 16)]
    table[3] |= {"status": "lost", "error": "its worker died"}
    folder = RunFolder(tmp_path)
    folder.note(finished="2026-01-02T03:04:05+0000", failed_trainings=["k7 seed 1: loss is not finite"])
    write_page(folder, "tiny", page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space))
    script = """const texts = (q) => every(q).map(e => e.textContent);
    tell({ticks: texts("#volume .role-axis-label text"), read: every("#volume path[aria-label]").at(-1).ariaLabel,
      failed: texts("#failures tbody td")[0], untrained: texts("#untrained tbody td"),
      facts: $("facts").textContent, captions: texts("caption"),
      accuracies: every("#table tbody tr").map(row => row.cells[1].textContent)});"""
    found = visit(folder.path / PAGE_NAME, tmp_path, script)
    assert found["ticks"] and not [tick for tick in found["ticks"] if tick.endswith("m")]
    assert re.fullmatch(r"evaluation \d+: hypervolume 0\.\d+", found["read"])
    assert found["failed"] == "1003" and found["facts"].endswith("last stage ended 2026-01-02 03:04 UTC.")
    assert {len(text.partition(".")[2]) for text in found["accuracies"]} == {2}
    assert found["untrained"] == ["k7 seed 1: loss is not finite"]
    assert len(found["captions"]) == 5 and "Candidates that failed or were lost" in found["captions"]


def test_a_candidate_off_the_front_leads_to_one_that_can_be_trained(page, tmp_path):
    script = """const at = D.points.findIndex((_, i) => !D.front.some(f => f.at === i)); choose(at);
    const said = $("choice").textContent, commands = every("#choice code").length;
    document.querySelector("#choice button").click(); const found = D.front.find(f => f.at === state.chosen);
    const worse = objectives.filter(m => (value(found.at, m.name) - value(at, m.name)) * (m.more ? 1 : -1) < 0).length;
    tell({said, commands, worse, trains: $("choice").textContent.includes(`select=[${found.key}]`)});"""
    found = visit(page, tmp_path, script)
    assert "It is not on the front, and only networks of the front are trained." in found["said"]
    assert (found["commands"], found["worse"], found["trains"]) == (0, 0, True)


def test_a_page_of_one_run_shows_nothing_that_is_not_there(page, tmp_path):
    script = """tell({hidden: ["live", "compared", "papers", "sensitive"].filter(id => $(id).hidden)});"""
    assert visit(page, tmp_path, script)["hidden"] == ["live", "compared", "papers", "sensitive"]


def test_a_page_that_is_read_again_goes_on_where_its_reader_was(tiny, small_space, tmp_path):
    table = rows(small_space, 8)
    data = page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space)
    write_page(RunFolder(tmp_path), "tiny", {**data, "live": True})
    script = """choose(2); $("limit").value = 7; $("x").value = "params"; await $("x").onchange(); remember();
    choose(1); $("limit").value = ""; $("x").value = "flops"; await $("x").onchange(); await recall();
    tell({chosen: state.chosen, x: state.x, limit: $("limit").value});"""
    assert visit(tmp_path / PAGE_NAME, tmp_path, script) == {"chosen": 2, "x": "params", "limit": "7"}


def test_a_run_may_be_called_as_what_the_page_has_names_for(tiny, small_space, tmp_path):
    table = rows(small_space, 8)
    data = page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space)
    front = [{**rows(small_space, 1)[0], "test_accuracy": None}]
    other = ComparedRun("base networks", "resnet8", "photos", front, {"flops": 14000, "accuracy": 93.0})
    write_page(RunFolder(tmp_path), "tiny", {**data, "others": compared_data([other], ["accuracy", "flops"])})
    script = """tell(marks("points").map(one => one.__data__).filter(one => /base/.test(one.datum.kind))
      .map(one => [one.datum.kind, one.fill]));"""
    found = visit(tmp_path / PAGE_NAME, tmp_path, script)
    assert [kind for kind, _ in found] == ['"base networks"', "base networks", "base networks"]
    assert found[0][1] != found[1][1] == found[2][1]


def test_the_export_of_a_network_of_ones_own_names_its_code(tiny, small_space, tmp_path):
    table = rows(small_space, 4)
    data = page_data(table, front_rows(table, ["accuracy", "flops"]), tiny(), small_space)
    write_page(RunFolder(tmp_path), "tiny", {**data, "source": "my nets/n.py:make"})
    script = """choose(D.front[0].at); tell({code: every("#choice code").map(one => one.textContent)});"""
    export = visit(tmp_path / PAGE_NAME, tmp_path, script)["code"][1]
    assert shlex.split(export)[3:] == ["--format", "onnx", "--source", "my nets/n.py:make"]
