"""What this machine gives a run: cores, memory and GPUs, and the shares of its workers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

GIB = 1 << 30


def cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or less where a control group says so."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return physical
    return min(physical, limit)


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    try:
        # Not getrusage: on Linux that counts what the parent held when it started this process.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


@cache
def gpus() -> tuple[str, ...]:
    """Return the numbers of the NVIDIA GPUs that the driver lists; empty where there is none."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


def chosen_devices(devices: str, *, workers: int | None) -> tuple[str, ...]:
    """Return one device name per worker process for ``all``, ``cpu`` or a list such as ``0,1``.

    With GPUs there is one worker each unless ``workers`` asks for more, which then share them in turn. Without, one
    worker uses all cores up to eight, and another one begins with every eight more.

    Raises
    ------
    ValueError
        ``devices`` names something else, or a GPU that is not there.
    """
    named = gpus() if devices == "all" else tuple(part.strip() for part in devices.split(",") if part.strip())
    if unknown := [name for name in named if name != "cpu" and not name.isdecimal()]:
        raise ValueError(f"--devices takes all, cpu or GPU numbers such as 0,1, not {', '.join(unknown)}")
    if absent := [name for name in named if name != "cpu" and name not in gpus()]:
        raise ValueError(f"there is no GPU {', '.join(absent)}; the driver lists {', '.join(gpus()) or 'none'}")
    named = tuple(name for name in named if name != "cpu")
    if not named:
        return ("cpu",) * (workers or max(1, cores() // 8))
    return tuple(named[n % len(named)] for n in range(workers or len(named)))


def default_memory(workers: int, *, of: int | None = None) -> int:
    """Return the tiler's budget per worker in bytes: a quarter of the machine, or ``of`` a job's memory, shared out.

    It is between 0.5 and 4 GiB.
    """
    return max(GIB // 2, min(4 * GIB, (memory_bytes() if of is None else of) // 4 // workers))
