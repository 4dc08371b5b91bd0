"""Figures of one map against its model, in cctbx's own process: what :mod:`samu_training.pairs` compares.

One job on standard input (as :func:`samu_batch.evaluate.write_job` makes it, with ``resolution`` and ``sharpen``), one
JSON object on standard output. Correlations and FSC are phenix's own code.
"""

from __future__ import annotations

import itertools
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

from samu_batch._cctbx import TABLE, Pair, load_pair

FLAT_B = 30.0
SHARP = 3.0
"""The reference, the same before and after: the model's map at this resolution (angstrom) with one B factor."""

COARSE = range(-400, 201, 25)
FINE = (-20, -15, -10, -5, 5, 10, 15, 20)
"""Global B factors (square angstrom, negative sharpens) that are tried, and those tried around the best of them."""


def figures(pair: Pair, *, resolution: float, sharpen: bool) -> dict[str, Any]:
    """Return the figures of a pair, and with ``sharpen`` those after the best global B factor."""
    flat = pair.with_flat_b(FLAT_B)
    sharp, own = _five(flat, resolution=SHARP), _five(pair, resolution=resolution)
    names = ("cc_mask", "cc_box", "cc_volume", "cc_peaks")
    found = {
        **{name: getattr(sharp, name) for name in names},
        **{f"{name}_own": getattr(own, name) for name in names},
        "d_fsc_05": _masked_fsc(pair, resolution=resolution),
        "d_fsc_05_flat": _masked_fsc(flat, resolution=resolution),
    }
    if not sharpen:
        return found
    best, sharpened = _best_b(flat, sharp.map_calc, resolution=resolution)
    after = figures(replace(pair, map_data=sharpened), resolution=resolution, sharpen=False)
    return found | best | {"after_best_b": after}


def _five(pair: Pair, *, resolution: float) -> Any:
    from mmtbx.maps.correlation import five_cc

    return five_cc(
        map=pair.map_data,
        xray_structure=pair.structure,
        d_min=resolution,
        keep_map_calc=True,
        compute_cc_box=True,
    ).result


def _masked_fsc(pair: Pair, *, resolution: float) -> float | None:
    """Return where the masked map-model FSC falls to 0.5, in angstrom."""
    from mmtbx.maps import mtriage

    params = mtriage.master_params().extract()
    params.resolution, params.scattering_table, params.mask_maps = resolution, TABLE, True
    for slow in ("map_counts", "d_model", "d_model_b0", "d99", "d_fsc_model_0", "d_fsc_model_0143"):
        setattr(params.compute, slow, False)
    run = mtriage.mtriage(
        map_data=pair.map_data, xray_structure=pair.structure, crystal_symmetry=pair.symmetry, params=params
    )
    found: float | None = run.get_results().masked.d_fsc_model_05
    return found


def _best_b(pair: Pair, reference: Any, *, resolution: float) -> tuple[dict[str, Any], Any]:
    """Find the global B factor that brings the map closest to ``reference``: by CC_mask, and by CC_box.

    Returned are both, and the map after that which is best by CC_mask.

    Sharpening amplifies noise, so a low-pass belongs to it: to the reference's resolution or to the map's own, the
    better of the two.
    """
    from cctbx import maptbx, miller
    from mmtbx.maps.correlation import from_map_map, from_map_map_selection

    shape = pair.map_data.accessor().all()
    inside = _inside(pair, shape)
    spectrum = miller.structure_factor_box_from_map(map=pair.map_data, crystal_symmetry=pair.symmetry)
    gridding = maptbx.crystal_gridding(
        unit_cell=pair.symmetry.unit_cell(),
        space_group_info=pair.symmetry.space_group_info(),
        pre_determined_n_real=shape,
    )
    tried: dict[tuple[float, int], dict[str, float]] = {}

    def filtered(d_min: float, b: int) -> Any:
        scaled = spectrum.resolution_filter(d_min=d_min).apply_debye_waller_factors(b_iso=b)
        return miller.fft_map(crystal_gridding=gridding, fourier_coefficients=scaled).real_map_unpadded()

    def attempt(d_min: float, b: int) -> None:
        sharpened = filtered(d_min, b)
        tried[d_min, b] = {
            "cc_mask": from_map_map_selection(map_1=sharpened, map_2=reference, selection=inside),
            "cc_box": from_map_map(map_1=sharpened, map_2=reference),
        }

    for d_min, b in itertools.product({SHARP, resolution}, COARSE):
        attempt(d_min, b)
    best: dict[str, Any] = {}
    for name in ("cc_box", "cc_mask"):
        d_min, near = max(tried, key=lambda at, name=name: tried[at][name])  # type: ignore[misc]
        for step in FINE:
            attempt(d_min, near + step)
        d_min, b = max(tried, key=lambda at, name=name: tried[at][name])  # type: ignore[misc]
        best[f"best_b_{name}"] = {"cc": tried[d_min, b][name], "b": b, "d_min": d_min}
    return best, filtered(d_min, b)


def _inside(pair: Pair, shape: tuple[int, int, int]) -> Any:
    """Return the voxels of CC_mask, as mmtbx.maps.correlation.five_cc selects them (it does not give them away)."""
    from cctbx import maptbx
    from mmtbx import masks

    mask = masks.mask_from_xray_structure(
        xray_structure=pair.structure, p1=True, for_structure_factors=False, n_real=shape
    ).mask_data
    maptbx.unpad_in_place(map=mask)
    return (mask == 0.0).iselection()


if __name__ == "__main__":
    job = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        answer = figures(load_pair(job), resolution=job["resolution"], sharpen=job["sharpen"])
    json.dump(answer, sys.stdout)
