"""Make the page and the pictures of what a model makes of nothing: ``python docs/hallucination.py`` after new weights.

It needs SAMU_DATA (the solvent is that of the benchmark's maps, whose figures it keeps and reuses) and matplotlib.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from samu_batch import load_engine
from samu_batch.locate import default_cache
from samu_batch.model import IDENTITY
from samu_training.benchmark import enhanced_map, judge_all_simulated
from samu_training.hallucination import LARGEST_PIECE, LEVEL, MOST_ABOVE, Trial, trials
from samu_training.reconstruct import draw as draw_map
from samu_training.testset import make_map, read_testset

HERE = Path(__file__).parent
SHOWN = "1ga6"
"""The map of the test set whose solvent is drawn."""
PAGE = """# What does a model make of nothing?

Written by `python docs/hallucination.py`; run it again after the weights change.

A map that holds no protein has to come out empty: at most {most:g} % of its voxels above {level} of the model's unit,
and no connected piece of more than {largest} voxels. `{model}` ({sha}):

| map, 120^3 voxels of 1 A | above {level} | largest piece | |
|---|---|---|---|
{rows}

Of the maps of the [benchmark](benchmark.md) that are not masked, the solvent (more than 8 A from every atom, in units
of the 99.9th percentile before and after) keeps this share of its standard deviation; at most half is asked for:

| maps | median | lowest | highest |
|---|---|---|---|
{solvents}

Detergent is density that is really there and no protein: what lies farther than 8 A from the protein counts as solvent.

![Slices before and after](hallucination.png)

Slices through the middle, before on the left and after on the right, from 0 (black) to 1 of the model's unit (white):
noise blurred by 1.5 A; a blob, as a micelle or a vesicle would be; a map of the benchmark ({shown}) with its solvent.

Nucleic acid is not covered by any of this: a network may make it look like protein.
"""


def slices(trial: Trial) -> list[np.ndarray]:
    """Return the middle slices of a map and of what became of it, before in units of its 99.9th percentile."""
    level = np.percentile(trial.before[trial.before != 0], 99.9)
    return [density[len(density) // 2] for density in (trial.before / level, trial.after)]


def draw(shown: list[Trial], picture: Path) -> None:
    """Draw slices before and after, one row a map."""
    figure = Figure(figsize=(5, 2.5 * len(shown)), layout="constrained")
    for row, trial in zip(figure.subplots(len(shown), 2), shown, strict=True):
        for axes, values, title in zip(row, slices(trial), ("before", "after"), strict=True):
            axes.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"{trial.name}, {title}", fontsize=8)
            axes.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("L").quantize(32).save(picture, optimize=True)


def main() -> None:
    """Write hallucination.md and hallucination.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="samu-lite")
    model = parser.parse_args().model
    data, cache = Path(os.environ["SAMU_DATA"]), default_cache() / "benchmark"
    engine = load_engine(model)
    empty = trials(engine)
    unmasked = [frozen for frozen in read_testset() if frozen.mask == "none"]
    judged = judge_all_simulated(unmasked, models=[model], data=data, cache=cache, jobs=2)
    solvents = []
    for title, micelle in (("with nothing but solvent around the protein", False), ("with a belt of detergent", True)):
        alike = [one for one in judged if draw_map(np.random.default_rng(one.frozen.seed)).micelle == micelle]
        ratios = [one.models[model]["solvent"] / one.deposited["solvent"] for one in alike]
        figures = (float(np.median(ratios)), min(ratios), max(ratios))
        solvents.append(f"| {len(alike)} {title} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    [frozen] = [frozen for frozen in unmasked if frozen.name == SHOWN]
    path, *_ = make_map(frozen, data, cache / "maps")
    before, after = (enhanced_map(path, name, load_engine(name))[0] for name in (IDENTITY, model))
    draw([empty[1], empty[-1], Trial(SHOWN, before, after)], HERE / "hallucination.png")
    rows = (
        f"| {trial.name} | {100 * trial.above:.3f} % | {trial.largest_piece} | {'' if trial.passed else 'too much'} |"
        for trial in empty
    )
    page = PAGE.format(
        most=100 * MOST_ABOVE,
        level=LEVEL,
        largest=LARGEST_PIECE,
        model=model,
        sha=engine.spec.weights_sha256[:8],
        rows="\n".join(rows),
        solvents="\n".join(solvents),
        shown=SHOWN,
    )
    (HERE / "hallucination.md").write_text(page)


if __name__ == "__main__":
    main()
