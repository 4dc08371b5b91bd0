"""Time to finish: right within 20 % after the first 5 % of a run, by simulated workers and their clock."""

import heapq
import random
from collections import deque
from itertools import count

import pytest

from samu_batch.entries import Entry
from samu_batch.events import MapEvent
from samu_batch.progress import RunProgress
from samu_batch.task import MapReport

IN_FLIGHT, SECONDS_PER_CUBE, START = 3, 0.1, 3.0


def simulated(cubes, order, *, workers, empty, seed):
    """Yield `(time, event or report)` of maps that workers take in `order`, each a few at once.

    An engine has one map at a time; what comes before takes a third of it, what comes after a fifth. The workers are
    there within START seconds; a part of 0 to `empty` of a map's cubes is empty and takes no time.
    """
    rng, waiting, to_tell, ticket, engine_free = random.Random(seed), deque(order), [], count(), {}

    def begin(worker, now):
        if not waiting:
            return
        name = waiting.popleft()
        total, share = cubes[name], rng.uniform(0, empty)
        seconds = SECONDS_PER_CUBE * rng.uniform(0.9, 1.1) * total
        tell(now, MapEvent(name, "ingest", total=total, worker=worker))
        begun = max(now + seconds / 3, engine_free.get(worker, 0.0))
        for done in {*range(5, total, 5), total}:
            moment = begun + seconds * (1 - share) * done / total
            tell(moment, MapEvent(name, "enhance", done, total, int(share * done), worker))
        engine_free[worker] = begun + seconds * (1 - share)
        tell(engine_free[worker] + seconds / 5, (worker, name, int(share * total)))

    def tell(time, what):
        heapq.heappush(to_tell, (time, next(ticket), what))

    for number in range(workers):
        moment = rng.uniform(0, START)
        for _ in range(IN_FLIGHT):
            begin(f"gpu-{number}", moment)
    while to_tell:
        time, _, what = heapq.heappop(to_tell)
        if not isinstance(what, MapEvent):
            worker, name, skipped = what
            begin(worker, time)
            entry = Entry(name, name, "file")
            what = MapReport(id=name, entry=entry, kind="done", cubes=cubes[name], cubes_skipped=skipped)
        yield time, what


def estimates(known, events):
    """Return `(share of the run's time, estimate over truth)` once a second."""
    clock, seen = [0.0], []
    progress = RunProgress(known, now=lambda: clock[0])
    for clock[0], what in events:
        (progress.tell if isinstance(what, MapEvent) else progress.finish)(what)
        if not seen or clock[0] > seen[-1][0] + 1:
            left = progress.snapshot().seconds_left
            seen += [] if left is None else [(clock[0], left)]
    assert progress.snapshot().seconds_left == 0
    begin, end = seen[0][0], clock[0]
    return [((time - begin) / (end - begin), left / (end - time)) for time, left in seen if time < end]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("maps", "workers", "known", "empty"),
    [(60, 1, 1.0, 0.0), (60, 2, 1.0, 0.0), (100, 2, 1.0, 0.2), (200, 8, 0.8, 0.2), (800, 32, 0.9, 0.0)],
)
def test_it_is_right_within_a_fifth_after_the_first_twentieth(maps, workers, known, empty, seed):
    rng = random.Random(seed)
    cubes = {f"m{number}": round(8 * 30 ** rng.random()) for number in range(maps)}  # thirtyfold, as in the archive
    sizes = {name: size if rng.random() < known else None for name, size in cubes.items()}
    mean = sum(filter(None, sizes.values())) / maps / known
    order = sorted(cubes, key=lambda name: -(sizes[name] or mean))  # as plan_batch does
    told = estimates(sizes, simulated(cubes, order, workers=workers, empty=empty, seed=seed + 1000))
    ratios = [ratio for share, ratio in told if 0.05 < share < 0.95]
    assert all(0.8 < ratio < 1.2 for ratio in ratios), (min(ratios), max(ratios))
