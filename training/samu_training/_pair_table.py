"""What :mod:`samu_training.pairs` prints: figures before and after, their means, how often they are better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from samu_training.pairs import RealPair

Figures = dict[str, Any]

METRICS = {
    "cc_mask": ("CC_mask", 3, 1),
    "cc_box": ("CC_box", 3, 1),
    "d_fsc_05": ("FSC=0.5", 2, -1),
    "d_fsc_05_flat": ("FSC=0.5 flat B", 2, -1),
    "cc_box_own": ("CC_box own B", 3, 1),
    "cc_volume": ("CC_volume", 3, 1),
    "cc_peaks": ("CC_peaks", 3, 1),
    "cc_mask_own": ("CC_mask own B", 3, 1),
    "cc_volume_own": ("CC_volume own B", 3, 1),
    "cc_peaks_own": ("CC_peaks own B", 3, 1),
}
"""Title, decimals, and whether more or less is better."""
OF_EACH_MAP = ("cc_mask", "cc_box", "d_fsc_05", "d_fsc_05_flat", "cc_box_own")


@dataclass(frozen=True)
class Row:
    """Figures of one pair before and after enhancement."""

    pair: RealPair
    before: Figures
    after: Figures

    def gain(self, metric: str) -> float:
        """Return by how much the enhanced map is better; NaN where a figure could not be had."""
        before, after = self.before[metric], self.after[metric]
        return float("nan") if None in (before, after) else METRICS[metric][2] * (after - before)


def table(rows: Sequence[Row]) -> str:
    """Return the figures as a markdown table, one row per map, before -> after."""
    titles = [METRICS[name][0] for name in OF_EACH_MAP]
    lines = [f"| map | A | {' | '.join(titles)} | best B: CC_mask | best B: CC_box |", "|---" * (4 + len(titles)) + "|"]
    for row in rows:
        cells = [_change(row.before[name], row.after[name], METRICS[name][1]) for name in OF_EACH_MAP]
        best = [row.before[f"best_b_{name}"] for name in ("cc_mask", "cc_box")]
        cells += [f"{found['cc']:.3f} ({found['b']})" for found in best]
        lines.append(f"| {row.pair.name} | {row.pair.resolution} | {' | '.join(cells)} |")
    before, after = [row.before for row in rows], [row.after for row in rows]
    means = [
        _change(_mean(of[name] for of in before), _mean(of[name] for of in after), METRICS[name][1])
        for name in OF_EACH_MAP
    ]
    means += [f"{_mean(row.before[f'best_b_{name}']['cc'] for row in rows):.3f}" for name in ("cc_mask", "cc_box")]
    return "\n".join([*lines, f"| mean | | {' | '.join(means)} |"])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return, for each metric, the mean gain, the worst, and on how many maps and entries it is better."""
    found = {}
    for metric in METRICS:
        gains = {row.pair.name: row.gain(metric) for row in rows}
        entries: dict[str, list[float]] = {}
        for row in rows:
            entries.setdefault(row.pair.entry, []).append(row.gain(metric))
        by_entry = {entry: _mean(values) for entry, values in entries.items()}
        worst = min(gains, key=lambda name: gains[name])
        found[metric] = {
            "mean_gain": _mean(gains.values()),
            "worst": [worst, gains[worst]],
            "better_maps": [sum(gain > 0 for gain in gains.values()), len(gains)],
            "better_entries": [sum(gain > 0 for gain in by_entry.values()), len(by_entry)],
        }
    for metric in ("cc_mask", "cc_box"):
        above = sum(row.after[metric] > row.before[f"best_b_{metric}"]["cc"] for row in rows)
        found[metric]["above_best_b"] = [above, len(rows)]
    return found


def spelled(summary_of: dict[str, Any]) -> str:
    """Return a summary as lines for people; a change in angstrom is negative where it is better."""
    lines = []
    for metric, found in summary_of.items():
        title, decimals, sign = METRICS[metric]
        (worst, gain), maps, entries = found["worst"], found["better_maps"], found["better_entries"]
        line = f"{title}: mean {sign * found['mean_gain']:+.{decimals + 1}f},"
        line += f" better on {maps[0]} of {maps[1]} maps, {entries[0]} of {entries[1]} entries,"
        line += f" worst {sign * gain:+.{decimals + 1}f} ({worst})"
        if "above_best_b" in found:
            line += f"; above the best B on {found['above_best_b'][0]} of {found['above_best_b'][1]}"
        lines.append(line)
    return "\n".join(lines)


def _change(before: float | None, after: float | None, decimals: int) -> str:
    return " -> ".join("-" if value is None else f"{value:.{decimals}f}" for value in (before, after))


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else float("nan")
