"""The report's page in a real browser: what is counted, found, sorted and linked, and that text stays text."""

import html
import json
import re
import shutil
import subprocess

import pytest

from samu_batch.entries import Entry
from samu_batch.model import identity_spec
from samu_batch.report import write_reports
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions, MapReport

MAPS = 1000
HOSTILE = {
    3: "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>",
    5: "\u2028\u2029 \u202e \x00 \"quoted\" 'twice' & &amp; {{ROWS}}",
    7: "`${window.harmed = 1}` \\u003cscript\\u003e",
}
OPTIONS = MapOptions(model="identity")

LISTENING = """<script>
window.complaints = [];
addEventListener("error", event => complaints.push(String(event.message || event.target)), true);
addEventListener("securitypolicyviolation", event => complaints.push(event.violatedDirective));
for (const name of ["error", "warn"]) console[name] = (...words) => complaints.push(words.join(" "));
</script>"""
ASKING = """<script>{
const table = document.getElementById("table"), search = document.getElementById("search");
const cells = column => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
const count = () => document.getElementById("count").textContent;
const look = words => { search.value = words; search.dispatchEvent(new Event("input")); };
const head = name => [...table.tHead.querySelectorAll("button")].find(button => button.textContent.startsWith(name));
const outcome = (() => { %s })();
const told = document.createElement("pre");
told.id = "outcome";
told.textContent = JSON.stringify({ outcome, complaints, harmed: "harmed" in window });
document.body.append(told);
}</script>"""


def seconds(number):
    return round((number * 7919) % 997 / 7, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which every tenth map failed, some for a hostile reason."""
    directory = RunDirectory(tmp_path_factory.mktemp("report") / "run")
    entries = [Entry(id=f"m{number}", source=f"/m{number}.mrc", kind="file") for number in range(MAPS)]
    directory.begin(entries, spec=identity_spec(), options=OPTIONS, version="0")
    for number, entry in enumerate(entries):
        failed = number in HOSTILE or number % 10 == 0
        values = {"kind": "fetch", "message": HOSTILE.get(number, "the server is gone")} if failed else {"kind": "done"}
        minute = f"2026-01-01T{number // 60:02d}:{number % 60:02d}:30+00:00"
        values |= {"started": minute, "finished": minute, "seconds": {"fetch": 0.0, "enhance": seconds(number)}}
        task = directory.task(entry, OPTIONS)
        task.receipt.parent.mkdir()
        task.receipt.write_text(MapReport(id=entry.id, entry=entry, shape=(1, 2, 3), cubes=1, **values).to_json())
    write_reports(directory)
    return directory.path


@pytest.fixture
def page(run, tmp_path):
    """`page(script)` runs a script at the end of the page and returns what it returns; the page may not complain."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium: apt-get install chromium")
    text = (run / "report.html").read_text()

    def ask(script):
        asked = run / "asked.html"
        asked.write_text(text.replace("<style>", LISTENING + "<style>", 1) + ASKING % script)
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [browser, *options, "--virtual-time-budget=10000", "--dump-dom", asked.as_uri()]
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=120)
        found = re.search(r'<pre id="outcome">(.*?)</pre>', dumped.stdout, re.DOTALL)
        assert found, dumped.stderr
        told = json.loads(html.unescape(found[1]))
        assert told["complaints"] == []
        assert not told["harmed"]
        return told["outcome"]

    return ask


def test_rows_are_counted_found_and_shown_in_parts(page):
    outcome = page(
        """
        const told = { all: [count(), cells(0).length] };
        document.getElementById("more").click();
        told.more = [count(), cells(0).length, document.getElementById("more").hidden];
        look("m77");
        told.some = cells(0);
        look("SERVER m770");
        told.one = [cells(0), count()];
        look("nothing like it");
        told.none = [cells(0), count()];
        look("");
        document.querySelector("#failures button").click();
        told.failed = [count(), [...new Set(cells(1))]];
        return told;
        """
    )
    failed = MAPS // 10 + len(HOSTILE)
    assert outcome["all"] == [f"{MAPS} of {MAPS} maps, the first 200 shown", 200]
    assert outcome["more"] == [f"{MAPS} of {MAPS} maps", MAPS, True]
    assert outcome["some"] == ["m77", *(f"m77{digit}" for digit in range(10))]
    assert outcome["one"] == [["m770"], f"1 of {MAPS} maps"]
    assert outcome["none"] == [[], f"0 of {MAPS} maps"]
    assert outcome["failed"] == [f"{failed} of {MAPS} maps", ["fetch"]]


def test_rows_are_sorted_as_numbers_and_as_names(page):
    outcome = page(
        """
        document.getElementById("more").click();
        const told = {};
        head("seconds").click();
        document.getElementById("more").click();
        told.up = cells(5).map(Number);
        told.state = head("seconds").parentNode.ariaSort;
        head("seconds").click();
        document.getElementById("more").click();
        told.down = cells(5).map(Number);
        head("id").click();
        told.ids = cells(0);
        told.slowest = [...document.querySelectorAll("#slow tbody tr")].map(row => Number(row.cells[1].textContent));
        return told;
        """
    )
    took = sorted(seconds(number) for number in range(MAPS))
    assert outcome["up"] == took
    assert outcome["state"] == "ascending"
    assert outcome["down"] == took[::-1]
    assert outcome["ids"] == [f"m{number}" for number in range(200)]
    assert outcome["slowest"] == took[:-11:-1]


def test_text_stays_text(page):
    outcome = page(
        """
        return ["m3", "m5", "m7"].map(id => {
          look(id);
          const row = [...table.tBodies[0].rows].find(row => row.cells[0].textContent === id);
          return [row.cells[7].textContent, row.cells[7].children.length];
        });
        """
    )
    assert outcome == [[message, 0] for message in HOSTILE.values()]


def test_links_lead_to_what_is_there_and_the_chart_holds_every_map(page, run):
    outcome = page(
        """
        return {
          links: [...document.querySelectorAll("#table a")].map(link => link.getAttribute("href")),
          bars: [...document.querySelectorAll("#time rect title")].map(title => title.textContent),
          shown: !document.getElementById("time").hidden,
        };
        """
    )
    targets = {link for link in outcome["links"] if not link.endswith("view.cxc")}
    assert len(targets) == 2 * 200
    assert all((run / link).exists() for link in targets)
    assert outcome["shown"]
    assert sum(int(re.search(r": (\d+) (done|failed)$", bar)[1]) for bar in outcome["bars"]) == MAPS
