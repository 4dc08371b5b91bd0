"""Ten thousand small maps of a fake archive, 2 % of them broken, in one command.

    python benches/archive.py [--maps 10000] [--workers 2]

What became of each map, and the CPU and memory of the driver (the command's own process, its workers apart), beside
those of `samu-batch fetch` on the same list, for the driver downloads. Minutes, and about 1 GB of disk. The server is a
process of its own (tests/fake_archive.py).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def archive(*options: object):
    """Run the fake archive; give what it says of itself."""
    command = [sys.executable, ROOT / "tests" / "fake_archive.py", *options]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def cpu_and_rss(pid: int) -> tuple[float, int]:
    """Return CPU seconds and resident bytes of one process, its children apart."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    return (int(fields[11]) + int(fields[12])) / TICK, int(status.partition("VmRSS:")[2].split()[0]) * 1024


def watched(command: list[str], log: Path, finished) -> tuple[int, list[tuple[float, int, float, int]]]:
    """Run a command; return its status and (seconds, maps finished, CPU seconds, resident bytes) once a second."""
    samples, began = [], time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        while process.poll() is None:
            try:
                samples.append((time.monotonic() - began, finished(), *cpu_and_rss(process.pid)))
            except (OSError, IndexError, ValueError):  # it ended meanwhile
                break
            time.sleep(1)
        return process.wait(), samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="samu-bench-") as name:
        folder = Path(name)
        for what in (fetch, measure):  # each asks a server that was not asked before
            with archive("--maps", options.maps, "--every", options.every) as told:
                what(folder, told, workers=options.workers)


def fetch(folder: Path, told: dict, *, workers: int) -> None:
    """Download the list and nothing else, and print what that costs."""
    entries = [*told["good"], *told["odd"]]
    lists, cache = folder / "fetched.txt", folder / "fetched"
    lists.write_text("".join(f"{entry}\n" for entry in sorted(entries)))
    command = [sys.executable, "-m", "samu_batch", "fetch", lists, "--mirror", told["url"], "--cache", cache]
    _, samples = watched(list(map(str, command)), folder / "log", lambda: 0)
    print(f"fetch alone: {1000 * samples[-1][2] / len(entries):.2f} ms of CPU per map, {samples[-1][0]:.0f} s")
    shutil.rmtree(cache)


def measure(folder: Path, told: dict, *, workers: int) -> None:
    """Run the command and print what is found."""
    expected = dict.fromkeys(told["good"], "done") | {entry: kind for entry, (_, kind) in told["odd"].items()}
    lists = folder / "list.txt"
    lists.write_text("".join(f"{entry}\n" for entry in sorted(expected)))
    run, cache, scratch, temporary = (folder / name for name in ("run", "cache", "scratch", "tmp"))
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    command = [sys.executable, "-m", "samu_batch", "enhance", lists, "-o", run, "--mirror", told["url"]]
    command += ["--cache", cache, "--scratch", scratch, "--engine", "identity", "--devices", "cpu"]
    command += ["--workers", workers, "--threads", 1, "--max-failures", "10%"]
    log = folder / "log"
    status, samples = watched(list(map(str, command)), log, lambda: log.read_bytes().count(b"\n["))
    maps, seconds, cpu = len(expected), samples[-1][0], samples[-1][2]
    print(f"{maps} maps in {seconds:.0f} s by {workers} workers, exit status {status}")
    print(f"driver: {1000 * cpu / maps:.2f} ms of CPU per map")
    for share in (0.1, 0.5, 1.0):
        at = next((sample for sample in samples if sample[1] >= share * maps), samples[-1])
        print(f"    {share:4.0%} of the maps: {at[0]:.0f} s, {at[2]:.1f} CPU-s, {at[3] / 1e6:.0f} MB")
    print(f"    peak {max(sample[3] for sample in samples) / 1e6:.0f} MB")
    judge(run, expected, told["odd"])
    for place in (cache, scratch, temporary):
        left = [str(path) for path in place.rglob("*")] if place.exists() else []
        print(f"left in {place.name}: {len(left)}", *left[:5])
    print(log.read_text()[-2000:] if status not in (0, 1) else "")


def judge(run: Path, expected: dict[str, str], odd: dict[str, list[str]]) -> None:
    """Print the kinds, and every map that did not come to what it must."""
    reports = [json.loads(line) for line in (run / "report.jsonl").read_text().splitlines()]
    kinds = {report["id"]: report["kind"] for report in reports}
    print("kinds:", dict(Counter(kinds.values()).most_common()))
    wrong = {entry: kinds.get(entry) for entry, kind in expected.items() if kinds.get(entry) != kind}
    print(f"wrong: {len(wrong)}")
    for entry, kind in list(wrong.items())[:20]:
        message = next((report["message"] for report in reports if report["id"] == entry), "")
        print(f"    {entry} ({odd.get(entry, ['good'])[0]}): {kind}, must be {expected[entry]}: {message}")


if __name__ == "__main__":
    main()
