"""``samu-batch evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samu_batch.cli.settings import SettingsCommand

if TYPE_CHECKING:
    from samu_batch.evaluate import Evaluation

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=SettingsCommand)
@click.argument("map_path", type=FILE, metavar="MAP")
@click.argument("model", type=FILE, metavar="MODEL")
@click.option(
    "--resolution", type=click.FloatRange(min=0.5, max=100), required=True, help="Resolution of the map in angstrom."
)
@click.option(
    "--flat-b", type=click.FloatRange(min=0), default=30.0, show_default=True, help="B of the second reference, in A^2."
)
@click.option(
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write chains.csv, residues.csv, fsc.csv, evaluation.json and evaluation.png there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: all figures, chains, residues, curves.")
def evaluate(
    map_path: Path, model: Path, *, resolution: float, flat_b: float, folder: Path | None, as_json: bool
) -> None:
    """Compare MAP with the atomic MODEL, by phenix's own code (cctbx).

    Prints CC_box, CC_mask, CC_volume and CC_peaks, the resolution where the map-model FSC falls to 0.5, and d_model:
    against the model as it was deposited, and with one flat B factor for all atoms. Hydrogens are left out.
    """
    from samu_batch.errors import SamuError
    from samu_batch.evaluate import EvaluationError, draw, evaluate_map, write_tables

    try:
        evaluation = evaluate_map(map_path, model, resolution=resolution, flat_b=flat_b)
        if folder is not None:
            write_tables(evaluation, folder)
            draw(evaluation, folder / "evaluation.png")
    except (SamuError, EvaluationError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(evaluation.to_json() if as_json else _table(evaluation))
    if evaluation.atoms_outside:
        click.echo(f"{evaluation.atoms_outside} of {evaluation.atoms} atoms lie outside the map", err=True)


def _table(evaluation: Evaluation) -> str:
    from samu_batch.evaluate import CORRELATIONS

    own, flat = evaluation.deposited, evaluation.flat
    rows = [("", f"deposited B (mean {evaluation.mean_b:.0f})", f"flat B of {evaluation.flat_b:g}")]
    rows += [(name.replace("cc", "CC"), f"{own[name]:.3f}", f"{flat[name]:.3f}") for name in CORRELATIONS]
    for title, key in (("FSC=0.5", "d_fsc_05"), ("d_model", "d_model")):
        for mask in ("masked", "unmasked"):
            rows.append((f"{title}, {mask}", _angstrom(own[mask][key]), _angstrom(flat[mask][key])))
    for with_own, with_flat in zip(own["chains"], flat["chains"], strict=True):
        rows.append((f"CC of chain {with_own['chain_id']}", f"{with_own['cc']:.3f}", f"{with_flat['cc']:.3f}"))
    return "\n".join(f"{name:22}{own_b:>22}{flat_b:>16}" for name, own_b, flat_b in rows)


def _angstrom(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f} A"
