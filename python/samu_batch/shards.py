"""Which maps belong to which task of a job array: pure functions of ids, costs and the scheduler's variables."""

from __future__ import annotations

import hashlib
import heapq
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARRAY_VARIABLES = {
    "slurm": "SLURM_ARRAY_TASK_ID",
    "pbs": "PBS_ARRAY_INDEX",
    "sge": "SGE_TASK_ID",
    "lsf": "LSB_JOBINDEX",
}


@dataclass(frozen=True)
class Shard:
    """Task ``number`` (1 to ``count``) of an array; ``count`` is None where only the frozen partition knows it."""

    number: int
    count: int | None = None

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Shard:
        """Read ``K``, ``K/N`` or ``auto``, which takes K from the one scheduler that set its variable.

        Raises
        ------
        ValueError
            The text has another form, K is not within 1 to N, or ``auto`` finds no scheduler or several.
        """
        if text == "auto":
            text = _number_from(environment)
        match = re.fullmatch(r"(\d+)(?:/(\d+))?", text)
        if match is None:
            raise ValueError(f"{text!r} is no shard: write K/N such as 3/20, K, or auto in a job array")
        number, count = int(match[1]), int(match[2]) if match[2] else None
        if number < 1 or (count is not None and number > count):
            raise ValueError(f"shard {text} is not within 1 to {count or 'N'}")
        return cls(number, count)


def _number_from(environment: Mapping[str, str]) -> str:
    # SGE sets its variable to "undefined" in jobs that are no arrays, LSF to 0.
    found = {
        v: environment[v] for v in ARRAY_VARIABLES.values() if environment.get(v, "") not in ("", "undefined", "0")
    }
    if len(found) != 1:
        reason = (
            f"several are set: {', '.join(found)}" if found else f"none of {', '.join(ARRAY_VARIABLES.values())} is set"
        )
        raise ValueError(f"--shard auto reads the number of a job array's task, but {reason}")
    return next(iter(found.values()))


def balanced(costs: Mapping[str, float], count: int) -> dict[str, int]:
    """Return the task (1 to ``count``) of every id, so that the tasks' sums of ``costs`` are close.

    Longest first, each to the task with the least so far (Graham 1969): no task exceeds 4/3 of the best possible.
    """
    loads = [(0.0, number) for number in range(1, count + 1)]
    partition = {}
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        load, number = heapq.heappop(loads)
        partition[name] = number
        heapq.heappush(loads, (load + costs[name], number))
    return partition


def partition_of(costs: Mapping[str, int | None], count: int) -> dict[str, Any]:
    """Return what ``run.json`` freezes: ``tasks`` (N) and ``task_of``, the task of every id.

    A cost that is not known (None) counts as the mean of the others.
    """
    known = [cost for cost in costs.values() if cost]
    mean = sum(known) / len(known) if known else 1.0
    return {
        "tasks": count,
        "task_of": balanced({name: mean if cost is None else cost for name, cost in costs.items()}, count),
    }


def ids_of(ids: Sequence[str], shard: Shard, *, partition: Mapping[str, Any] | None) -> list[str]:
    """Return the ids of a shard: those that ``partition`` gives it, and every N-th of those that it does not know.

    ``partition`` is that of ``run.json``: ``tasks`` (N) and ``task_of`` (the number of every id); None where none is
    frozen.

    Raises
    ------
    ValueError
        N is not known, is not the frozen one, or the shard is beyond it.
    """
    if partition is None:
        return every_nth(ids, shard)
    frozen = partition["tasks"]
    if shard.count not in (None, frozen):
        raise ValueError(
            f"the RUN is frozen in {frozen} tasks, not {shard.count}: samu-batch array RUN --tasks {shard.count}"
            " divides anew what is not done"
        )
    task_of = partition["task_of"]
    shard = Shard.parse(f"{shard.number}/{frozen}", {})
    unknown = set(every_nth([name for name in ids if name not in task_of], shard))
    return [name for name in ids if task_of.get(name) == shard.number or name in unknown]


def every_nth(ids: Sequence[str], shard: Shard) -> list[str]:
    """Return the ids of a shard where no partition is frozen: every N-th in the order of hash(id).

    Raises
    ------
    ValueError
        N is not known.
    """
    if shard.count is None:
        raise ValueError("no partition is frozen in the RUN: name K/N, or make the RUN with samu-batch array")
    ordered = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ordered[shard.number - 1 :: shard.count]
