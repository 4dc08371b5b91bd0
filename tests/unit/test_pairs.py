"""The judge on real pairs: which pairs count, how they are counted, and that no change is no gain."""

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pairs = pytest.importorskip("samu_training.pairs", reason="samu-training is not installed")
METRICS = pytest.importorskip("samu_training._pair_table").METRICS

COLUMNS = ("kind", "file", "emdb_id", "pdb_id", "resolution", "paired_with", "pair_check", "note")
GOOD = ("map", "maps/a_box.mrc.gz", "EMD-1", "1ABC", "4.0", "models/a_box.pdb.gz", "pair; inside=1.00", "")


def write_manifest(folder, rows):
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for row in rows:
        path = folder / row[1]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return folder


def changed(**values):
    return tuple(values.get(column, good) for column, good in zip(COLUMNS, GOOD, strict=True))


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({}, True),
        ({"resolution": "3.3"}, True),
        ({"resolution": "8.0"}, True),
        ({"resolution": "3.2"}, False),
        ({"resolution": "8.1"}, False),
        ({"resolution": ""}, False),
        ({"kind": "model"}, False),
        ({"paired_with": ""}, False),
        ({"paired_with": "models/a_docked.pdb.gz"}, False),
        ({"note": "model rigid-docked by us"}, False),
        ({"pair_check": "weak; inside=0.89"}, False),
        ({"pair_check": "fail; inside=0.06"}, False),
    ],
)
def test_pairs_that_count(tmp_path, values, taken):
    assert len(pairs.read_pairs(write_manifest(tmp_path, [changed(**values)]))) == taken


def row(name, entry, before, after, **other):
    pair = pairs.RealPair(name=name, entry=entry, resolution=4.0, map=None, model=None)
    best = {f"best_b_{metric}": {"cc": 0.65, "b": -50} for metric in ("cc_mask", "cc_box")}
    return pairs.Row(pair, before=dict.fromkeys(METRICS, before) | best, after=dict.fromkeys(METRICS, after) | other)


def test_an_entry_with_two_boxes_counts_once_by_their_mean():
    rows = [row("a1", "EMD-1", 0.5, 0.7), row("a2", "EMD-1", 0.5, 0.4), row("b", "EMD-2", 0.5, 0.49)]
    found = pairs.summary(rows)
    assert found["cc_mask"]["better_maps"] == [1, 3]
    assert found["cc_mask"]["better_entries"] == [1, 2]
    assert found["cc_mask"]["above_best_b"] == [1, 3]
    assert found["cc_mask"]["worst"] == ["a2", pytest.approx(-0.1)]
    # A resolution is better where it is smaller.
    assert found["d_fsc_05"]["better_maps"] == [2, 3]
    assert found["d_fsc_05"]["worst"] == ["a1", pytest.approx(-0.2)]


def test_a_figure_that_could_not_be_had_is_no_gain_and_not_in_the_mean():
    rows = [row("a", "EMD-1", 4.5, 4.4, d_fsc_05=None), row("b", "EMD-2", 4.5, 4.3)]
    found = pairs.summary(rows)["d_fsc_05"]
    assert found["better_maps"] == found["better_entries"] == [1, 2]
    assert found["mean_gain"] == pytest.approx(0.2)
    assert "4.50 -> -" in pairs.table(rows)


def test_entries_that_were_held_out_are_judged_by_the_sibling_that_never_saw_them(monkeypatch, tmp_path):
    """Each pair is judged once, by the model that is named for its entry; the rest by the model itself."""
    asked = []

    def judged(own, *, options, jobs, cache):
        asked.append((options.model, [pair.name for pair in own]))
        return [row(pair.name, pair.entry, 0.5, 0.6) for pair in own]

    monkeypatch.setattr(pairs, "_judge_side_by_side", judged)
    mine = [row(name, entry, 0, 0).pair for name, entry in (("a1", "EMD-1"), ("b", "EMD-2"), ("a2", "EMD-1"))]
    (tmp_path / "sibling.onnx").touch()
    parser = argparse.ArgumentParser()
    siblings = pairs.read_held_out([f"EMD-1={tmp_path / 'sibling.onnx'}"], mine, parser)
    rows = pairs.judge_all(mine, options=pairs.MapOptions(model="m"), jobs=1, cache=tmp_path, siblings=siblings)
    assert asked == [("m", ["b"]), (str(tmp_path / "sibling.onnx"), ["a1", "a2"])]
    assert [one.pair.name for one in rows] == ["a1", "a2", "b"]
    for wrong in ("EMD-9=" + str(tmp_path / "sibling.onnx"), "EMD-1=missing.onnx", "EMD-1"):
        with pytest.raises(SystemExit):
            pairs.read_held_out([wrong], mine, parser)


@pytest.mark.skipif(importlib.util.find_spec("cctbx") is None, reason="cctbx (extra evaluate) is missing")
def test_the_identity_model_gains_nothing_on_the_models_grid(tmp_path, make_map):
    gemmi = pytest.importorskip("gemmi")
    data = write_manifest(tmp_path, [changed(file="maps/a_box.mrc", paired_with="models/a_box.pdb")])
    (data / "models").mkdir()
    structure = gemmi.read_pdb_string("".join(_atoms()))
    (data / "models" / "a_box.pdb").write_text(structure.make_pdb_string())
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.set_unit_cell(gemmi.UnitCell(36, 40, 44, 90, 90, 90))
    calculator.grid.set_size(36, 40, 44)
    calculator.put_model_density_on_grid(structure[0])
    noise = np.random.default_rng(1).normal(scale=0.1, size=(44, 40, 36))
    make_map(data / "maps" / "a_box.mrc", np.array(calculator.grid).transpose(2, 1, 0) + noise)
    command = [sys.executable, "-m", "samu_training.pairs", "--model", "identity", "--cache", str(tmp_path / "cache")]
    environment = os.environ | {"SAMU_DATA": str(data)}
    ran = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True)
    (found,) = json.loads(ran.stdout)["pairs"]
    assert {metric: found["after"][metric] for metric in METRICS} == {
        metric: found["before"][metric] for metric in METRICS
    }
    assert found["before"]["cc_mask"] > 0.5
    assert found["before"]["best_b_cc_mask"]["cc"] > found["before"]["cc_mask"]
    kept = sorted(path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir())
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "| a_box | 4.0 |" in again.stdout
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()) == kept


def _atoms():
    """A strand of glycines, ATOM records."""
    number = 0
    for residue in range(8):
        for name, x, y in (("N", -1.2, 0.3), ("CA", 0.0, -0.4), ("C", 1.2, 0.4), ("O", 1.2, 1.6)):
            number += 1
            site = f"{18 + x:8.3f}{20 + y:8.3f}{10 + 3.4 * residue + x:8.3f}"
            yield f"ATOM  {number:5d}  {name:<3} GLY A{residue + 1:4d}    {site}  1.00 80.00           {name[0]}\n"
