"""Draw an enhanced map beside its input with PyMOL, surfaces that enclose the same volume: the picture of the README.

``python docs/before_after.py RUN/ID PICTURE.png`` after ``samu-batch enhance``; needs ``pymol`` and matplotlib.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

SIZE = 900
LOOKS = (("before", "grey80"), ("enhanced", "marine"))


def draw(map_path: Path, level: float, colour: str, picture: Path, folder: Path) -> None:
    """Ray-trace one surface."""
    plain = folder / f"{picture.stem}.ccp4"
    stored = map_path.read_bytes()
    plain.write_bytes(gzip.decompress(stored) if map_path.suffix == ".gz" else stored)
    commands = f"""
set normalize_ccp4_maps, 0
load {plain}, density
isosurface surface, density, {level}
color {colour}, surface
bg_color white
set ray_shadows, 0
set ambient, 0.35
set surface_quality, 1
turn x, 90
zoom surface, -4
ray {SIZE}, {SIZE}
png {picture}
"""
    script = folder / f"{picture.stem}.pml"
    script.write_text(commands)
    subprocess.run(["pymol", "-cq", str(script)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Draw both surfaces and put them side by side."""
    entry, picture = Path(sys.argv[1]), Path(sys.argv[2])
    levels = re.findall(r"level (\S+)", (entry / "view.cxc").read_text())
    receipt = json.loads((entry / "receipt.json").read_text())
    maps = [Path(receipt["input"]["source"]), entry / receipt["outputs"][0]["file"]]
    figure, axes = plt.subplots(1, 2, figsize=(12, 6))
    with tempfile.TemporaryDirectory() as name:
        for axis, path, level, (title, colour) in zip(axes, maps, levels, LOOKS, strict=True):
            drawn = Path(name) / f"{title}.png"
            draw(path, float(level), colour, drawn, Path(name))
            axis.imshow(plt.imread(drawn))
            axis.set_title(title, fontsize=16)
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
