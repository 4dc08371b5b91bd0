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
import numpy as np

SIZE = 900
LOOKS = (("before", "grey80"), ("enhanced", "lightblue"))


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
turn y, 90
zoom surface, 1
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
    with tempfile.TemporaryDirectory() as name:
        drawn = [Path(name) / f"{title}.png" for title, _ in LOOKS]
        for path, level, (_, colour), file in zip(maps, levels, LOOKS, drawn, strict=True):
            draw(path, float(level), colour, file, Path(name))
        images = [plt.imread(file)[..., :3] for file in drawn]
    rows = np.flatnonzero((np.minimum(*images) < 1).any(axis=(1, 2)))
    images = [image[rows[0] : rows[-1] + 1] for image in images]
    height, width = images[0].shape[:2]
    figure, axes = plt.subplots(1, 2, figsize=(12, 6 * height / width + 0.5))
    for axis, image, (title, _) in zip(axes, images, LOOKS, strict=True):
        axis.imshow(image)
        axis.set_title(title, fontsize=16)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
