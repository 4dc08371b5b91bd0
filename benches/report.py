"""The report of a run of ten thousand maps: what it costs to write, and to use in Chromium.

    python benches/report.py [--maps 10000] [--keep FOLDER]

The receipts are made up; 2 % of them are failures. Times in the page are its own clock's, the median of the searches.
"""

import argparse
import html
import json
import random
import re
import resource
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from samu_batch.entries import Entry
from samu_batch.model import identity_spec
from samu_batch.report import WHAT_TO_DO, write_reports
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions, MapReport

BEGIN = datetime(2026, 1, 2, 18, tzinfo=UTC)
MESSAGE = "what went wrong, in a sentence with a path in it: /shared/cache/EMD-1234/map/emd_1234.map.gz"
TIMING = """<script>
addEventListener("load", () => setTimeout(() => {
  const search = document.getElementById("search");
  const took = work => {
    const start = performance.now();
    work();
    document.body.offsetHeight;
    return performance.now() - start;
  };
  const look = words => took(() => { search.value = words; search.dispatchEvent(new Event("input")); });
  const searches = ["EMD-5", "wrong", "done 200x", "fetch", "nothing", ""].map(look).sort((a, b) => a - b);
  const sorts = [...document.querySelectorAll("#table th button")].map(button => took(() => button.click()));
  const all = took(() => { while (!document.getElementById("more").hidden) document.getElementById("more").click(); });
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({
    load: performance.timing.domContentLoadedEventEnd - performance.timing.responseStart,
    search: searches[3], sort: Math.max(...sorts), all,
  });
  document.body.append(told);
}));
</script>"""


def made_up(folder: Path, maps: int) -> RunDirectory:
    """Return a run with receipts like those of eight GPUs over a weekend."""
    rng, run = random.Random(1), RunDirectory(folder)
    entries = [Entry(id=f"EMD-{1000 + n}", source=f"EMD-{1000 + n}", kind="emdb") for n in range(maps)]
    run.begin(entries, spec=identity_spec(), options=MapOptions(model="identity"), version="0")
    clock = 0.0
    for entry in rng.sample(entries, maps):
        edge = int(rng.lognormvariate(5.4, 0.4))
        cubes, done = (-(-edge // 50)) ** 3, rng.random() > 0.02
        took = {"fetch": 1.0, "ingest": 0.5, "enhance": round(0.05 * cubes, 3), "export": 0.5}
        clock += sum(took.values()) / 8
        times = (BEGIN + timedelta(seconds=clock - sum(took.values())), BEGIN + timedelta(seconds=clock))
        started, finished = (each.isoformat(timespec="milliseconds") for each in times)
        facts = {"kind": "done", "shape": (edge,) * 3, "cubes": cubes, "cubes_skipped": cubes // 3, "seconds": took}
        if not done:
            facts = {"kind": rng.choice(list(WHAT_TO_DO)), "message": MESSAGE}
        report = MapReport(id=entry.id, entry=entry, started=started, finished=finished, engine={"name": "x"}, **facts)
        (folder / entry.id).mkdir()
        (folder / entry.id / "receipt.json").write_text(report.to_json())
    return run


def in_chromium(page: Path) -> dict[str, float] | None:
    """Return milliseconds to load, search, sort and show all rows; None where there is no browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return None
    asked = page.with_name("asked.html")
    asked.write_text(page.read_text() + TIMING)
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--timeout=30000"]
        dumped = subprocess.run([browser, *options, "--dump-dom", asked.as_uri()], capture_output=True, text=True)
    asked.unlink()
    told: dict[str, float] = json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', dumped.stdout)[1]))
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="leave the made up run here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = made_up(arguments.keep or Path(folder) / "run", arguments.maps)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        write_reports(run)
        cpu, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        page = run.path / "report.html"
        size = page.stat().st_size / 1e6
        print(
            f"{arguments.maps} receipts: {cpu:.1f} CPU-s, {(peak - before) / 1e3:.0f} MB more; a page of {size:.1f} MB"
        )
        told = in_chromium(page)
        if told is None:
            print("no Chromium here: the page was not opened")
        else:
            print(", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in told.items()), "in Chromium")


if __name__ == "__main__":
    main()
