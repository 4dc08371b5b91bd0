"""What :mod:`samu_training.benchmark` prints: means of every figure by method, and whether a model passes the gates."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from samu_training._pair_table import METRICS, summary
from samu_training.hallucination import LARGEST_PIECE, LEVEL, MOST_ABOVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from samu_training._pair_table import Figures, Row
    from samu_training.benchmark import Judged
    from samu_training.hallucination import Trial

SIMULATED = {
    "cc_box": ("CC_box", 3, 1),
    "cc_mask": ("CC_mask", 3, 1),
    "d_fsc_05": ("FSC=0.5", 2, -1),
    "d_fsc_05_masked": ("FSC=0.5 masked", 2, -1),
    "solvent": ("solvent", 3, -1),
}
"""Title, decimals, and whether more or less is better."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What is asked of a model, what was found, and whether that is enough."""

    asked: str
    found: str
    passed: bool


def simulated_table(judged: Sequence[Judged]) -> str:
    """Return the means over the simulated maps as a markdown table, one row a method; on how many maps each is worse.

    The solvent's figure is that of the maps without a mask.
    """
    methods: dict[str, Callable[[Judged], Figures]] = {
        "deposited": lambda one: one.deposited,
        "best global B (upper bound)": lambda one: one.best_b,
    }
    methods |= {model: lambda one, model=model: one.models[model] for model in judged[0].models}  # type: ignore[misc]
    lines = [_line(["simulated", *(title for title, _, _ in SIMULATED.values())]), "|---" * (1 + len(SIMULATED)) + "|"]
    for method, of in methods.items():
        cells = []
        for metric, (_, decimals, _) in SIMULATED.items():
            counted = _unmasked(judged) if metric == "solvent" else judged
            worse = sum(_gain(one.deposited, of(one), metric) < 0 for one in counted)
            mean = f"{fmean(of(one)[metric] for one in counted):.{decimals}f}"
            cells.append(mean if method == "deposited" else f"{mean} ({worse} worse)")
        lines.append(_line([method, *cells]))
    return "\n".join(lines)


def real_table(real: Mapping[str, Sequence[Row]]) -> str:
    """Return the means over the real maps as a markdown table, one row a figure, one column a method.

    In brackets on how many entries, by the mean of their maps, the enhanced map is better than the deposited one.
    """
    some = next(iter(real.values()))
    lines = [_line(["real", "deposited", "best global B (upper bound)", *real]), "|---" * (3 + len(real)) + "|"]
    summaries = {model: summary(rows) for model, rows in real.items()}
    for metric, (title, decimals, _) in METRICS.items():
        means = [_mean(row.before[metric] for row in some), _mean(row.before["after_best_b"][metric] for row in some)]
        cells = [f"{mean:.{decimals}f}" for mean in means]
        for model, rows in real.items():
            better, count = summaries[model][metric]["better_entries"]
            cells.append(f"{_mean(row.after[metric] for row in rows):.{decimals}f} ({better} of {count})")
        lines.append(_line([title, *cells]))
    return "\n".join(lines)


def gates(model: str, judged: Sequence[Judged], rows: Sequence[Row]) -> list[Gate]:
    """Return what is asked of a model on simulated and on real maps, and whether it passes."""
    return [*_simulated_gates(model, judged), *_real_gates(rows)]


def _simulated_gates(model: str, judged: Sequence[Judged]) -> list[Gate]:
    mean = {
        metric: [fmean(of[metric] for of in method) for method in _methods(model, judged)]
        for metric in ("cc_box", "d_fsc_05")
    }
    (before, best, after), (d_before, _, d_after) = mean["cc_box"], mean["d_fsc_05"]
    worse = {
        title: sum(_gain(one.deposited, one.models[model], metric) < 0 for one in judged)
        for metric, (title, _, _) in SIMULATED.items()
        if metric in mean
    }
    ratios = [one.models[model]["solvent"] / one.deposited["solvent"] for one in _unmasked(judged)]
    return [
        Gate(
            asked="simulated: mean CC_box up by 0.12",
            found=f"{before:.3f} -> {after:.3f}",
            passed=after - before >= 0.12,
        ),
        Gate(
            asked="simulated: mean CC_box above the best global B",
            found=f"{best:.3f} -> {after:.3f}",
            passed=after > best,
        ),
        Gate(
            asked="simulated: mean FSC=0.5 better by 1 A",
            found=f"{d_before:.2f} -> {d_after:.2f}",
            passed=d_before - d_after >= 1,
        ),
        Gate(
            asked="simulated: no map worse",
            found=", ".join(f"{title} on {count}" for title, count in worse.items()),
            passed=not any(worse.values()),
        ),
        Gate(
            asked="simulated: solvent at most half as noisy, each map",
            found=f"{min(ratios):.2f} to {max(ratios):.2f} of it",
            passed=max(ratios) <= 0.5,
        ),
    ]


def _real_gates(rows: Sequence[Row]) -> list[Gate]:
    found = summary(rows)
    fsc, mask = (found[metric]["better_entries"] for metric in ("d_fsc_05", "cc_mask"))
    worst, gain = found["cc_mask"]["worst"]
    return [
        Gate(
            asked="real: masked FSC=0.5 better on 80 % of the entries",
            found=f"{fsc[0]} of {fsc[1]}",
            passed=fsc[0] >= 0.8 * fsc[1],
        ),
        Gate(
            asked="real: CC_mask up on 80 % of the entries",
            found=f"{mask[0]} of {mask[1]}",
            passed=mask[0] >= 0.8 * mask[1],
        ),
        Gate(
            asked="real: no map's CC_mask down by more than 0.02",
            found=f"worst {gain:+.3f} ({worst})",
            passed=gain >= -0.02,
        ),
    ]


def empty_gate(trials: Sequence[Trial]) -> Gate:
    """Return whether a model leaves maps without protein empty."""
    return Gate(
        asked=f"noise and a blob: at most {100 * MOST_ABOVE:g} % above {LEVEL}, no piece above {LARGEST_PIECE} voxels",
        found=", ".join(f"{100 * trial.above:.3f} % and {trial.largest_piece}" for trial in trials),
        passed=all(trial.passed for trial in trials),
    )


def _methods(model: str, judged: Sequence[Judged]) -> list[list[dict[str, float]]]:
    return [
        [one.deposited for one in judged],
        [one.best_b for one in judged],
        [one.models[model] for one in judged],
    ]


def _gain(before: Figures, after: Figures, metric: str) -> float:
    return float(SIMULATED[metric][2] * (after[metric] - before[metric]))


def _unmasked(judged: Sequence[Judged]) -> list[Judged]:
    return [one for one in judged if one.frozen.mask == "none"]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return fmean(known) if known else float("nan")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
