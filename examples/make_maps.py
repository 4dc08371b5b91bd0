"""Make small protein-like maps for `samu-batch enhance examples/emdb_list.txt`.

Helices and strands of backbone and side chains are built from ideal bond lengths, angles and torsions, laid side by
side, blurred to a resolution, and covered with noise of that resolution. The same bytes come out each time.

    python examples/make_maps.py [FOLDER]        examples/maps by default

Beside each map, `true/NAME.mrc` holds the same atoms at 2 A on a grid of 1 A, to compare an enhanced map with.
"""

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

SEED = 2024
TORSIONS = {"helix": (-57.0, -47.0), "strand": (-119.0, 113.0)}
"""Phi and psi in degrees (Arnott & Dover 1967; Arnott, Dover & Elliott 1967)."""
APART = {"helix": 9.6, "strand": 4.8}
"""Angstrom between neighbours in a layer."""
LAYERS_APART = 10.0
SIGMA_PER_RESOLUTION = 0.225
"""Width of an atom at a resolution, as ChimeraX's molmap has it: 1 / (pi sqrt 2)."""
MARGIN = 15.0
ENCLOSED = 80.0
"""Cubic angstrom a residue inside the contour; all of it fills 133 (110 Da of 1.21)."""
TRUE_RESOLUTION = 2.0


@dataclass(frozen=True, kw_only=True)
class Example:
    """One map.

    `layers` are (kind, elements, residues each); `spacing` is ZYX angstrom, `axes` the ZYX axis of sections, rows and
    columns; `contour` is the level that encloses the protein; `noise` is a share of the density's deviation.
    """

    name: str
    layers: tuple[tuple[str, int, int], ...]
    resolution: float
    spacing: tuple[float, float, float]
    contour: float
    noise: float
    masked: bool = False
    axes: tuple[int, int, int] = (0, 1, 2)
    place: str = "start"
    dtype: str = "<f4"


EXAMPLES = (
    Example(name="bundle.map", layers=(("helix", 3, 28), ("helix", 3, 28)), resolution=5.0,
            spacing=(1.2, 1.2, 1.2), contour=0.03, noise=0.25),
    Example(name="sandwich.mrc.gz", layers=(("strand", 7, 10), ("strand", 7, 10)), resolution=4.5,
            spacing=(1.06, 1.06, 1.06), contour=1.5, noise=0.15, masked=True, place="origin"),
    Example(name="layers.ccp4", layers=(("helix", 3, 18), ("strand", 6, 9), ("helix", 3, 18)), resolution=6.0,
            spacing=(1.3, 1.1, 1.0), contour=0.2, noise=0.2, axes=(1, 2, 0)),
    Example(name="counts.map", layers=(("strand", 5, 9), ("helix", 3, 14)), resolution=4.0,
            spacing=(1.0, 1.0, 1.0), contour=1200, noise=0.2, dtype="<i2"),
    Example(name="coarse.mrc", layers=(("helix", 4, 40), ("helix", 4, 40)), resolution=7.0,
            spacing=(1.9, 1.9, 1.9), contour=4.0, noise=0.3),
)  # fmt: skip


def next_atom(a, b, c, *, length, angle, torsion):
    """Return the atom bonded to c: `length` in angstrom, `angle` b-c-d and `torsion` a-b-c-d in degrees."""
    angle, torsion = np.radians([angle, torsion])
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    out = np.cross(normal, along)
    return c + length * (-np.cos(angle) * along + np.sin(angle) * (np.cos(torsion) * out + np.sin(torsion) * normal))


def element(kind, residues, rng):
    """Return the atoms of a helix or strand, (atoms, 3) XYZ angstrom, and their electrons."""
    phi, psi = TORSIONS[kind]
    n, ca = np.array([0.0, 0, 0]), np.array([1.458, 0, 0])
    c = next_atom(np.array([0.0, 1, 0]), n, ca, length=1.525, angle=111.0, torsion=phi)
    atoms, electrons = [], []
    for _ in range(residues):
        oxygen = next_atom(n, ca, c, length=1.231, angle=120.5, torsion=psi + 180)
        beta = next_atom(c, n, ca, length=1.53, angle=110.5, torsion=-122.6)
        atoms += [n, ca, c, oxygen, beta]
        electrons += [7, 6, 6, 8, 6]
        chain = [n, ca, beta]
        for _ in range(rng.integers(0, 5)):
            torsion = rng.choice([-60, 180, 60])
            chain.append(next_atom(*chain[-3:], length=1.52, angle=112.0, torsion=torsion))
            atoms.append(chain[-1])
            electrons.append(6)
        following = next_atom(n, ca, c, length=1.329, angle=116.6, torsion=psi)
        n, ca, previous = following, next_atom(ca, c, following, length=1.458, angle=121.7, torsion=180), c
        c = next_atom(previous, n, ca, length=1.525, angle=111.0, torsion=phi)
    return along_z(np.array(atoms)), np.array(electrons, float)


def along_z(atoms):
    """Centre atoms and lay their longest axis along z, their second along x."""
    centred = atoms - atoms.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][[1, 2, 0]]
    return centred @ (axes * np.sign(np.linalg.det(axes))).T


def fold(layers, rng):
    """Lay elements side by side, neighbours antiparallel, in layers; return atoms at any angle, and electrons."""
    atoms, electrons = [], []
    for layer, (kind, count, residues) in enumerate(layers):
        for number in range(count):
            some, theirs = element(kind, residues, rng)
            turned = some * (1, (-1) ** number, (-1) ** number)
            atoms.append(turned + np.array([APART[kind] * (number - (count - 1) / 2), LAYERS_APART * layer, 0]))
            electrons.append(theirs)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    atoms = np.concatenate(atoms) @ (turn * np.sign(np.linalg.det(turn)))
    return atoms - atoms.mean(axis=0), np.concatenate(electrons)


def density(atoms, electrons, *, first, shape, spacing, resolution):
    """Return the sum of the atoms' Gaussians on a grid, ZYX; `first` is the first voxel's place, ZYX angstrom."""
    sigma = SIGMA_PER_RESOLUTION * resolution
    z, y, x = (
        np.exp(-0.5 * ((start + step * np.arange(n) - atoms[:, 2 - axis, None]) / sigma) ** 2)
        for axis, (start, n, step) in enumerate(zip(first, shape, spacing, strict=True))
    )
    total = np.zeros(shape)
    for some in np.array_split(np.arange(len(atoms)), len(atoms) // 100 + 1):
        plane = electrons[some, None, None] * y[some, :, None] * x[some, None, :]
        total += (z[some].T @ plane.reshape(len(some), -1)).reshape(shape)
    return total / (sigma * np.sqrt(2 * np.pi)) ** 3


def blurred(voxels, *, spacing, sigma):
    """Return voxels convolved with a Gaussian of `sigma` angstrom (periodic)."""
    frequencies = [np.fft.fftfreq(n, step) for n, step in zip(voxels.shape, spacing, strict=True)]
    frequencies[2] = np.fft.rfftfreq(voxels.shape[2], spacing[2])
    square = sum(f**2 for f in np.meshgrid(*frequencies, indexing="ij"))
    transform = np.fft.rfftn(voxels) * np.exp(-2 * (np.pi * sigma) ** 2 * square)
    return np.fft.irfftn(transform, s=voxels.shape, axes=(0, 1, 2))


def experiment(example, clean, rng):
    """Add noise of the map's resolution, cut it with a soft mask if asked, and scale it to its contour."""
    sigma = SIGMA_PER_RESOLUTION * example.resolution
    noise = blurred(rng.normal(size=clean.shape), spacing=example.spacing, sigma=0.8 * sigma)
    voxels = clean + noise * (example.noise * clean.std() / noise.std())
    if example.masked:
        broad = blurred(clean, spacing=example.spacing, sigma=1.5 * sigma)
        voxels *= np.clip(16 * broad / broad.max() - 0.4, 0, 1)
    residues = sum(count * length for _, count, length in example.layers)
    enclosed = int(residues * ENCLOSED / np.prod(example.spacing))
    return voxels * (example.contour / np.sort(voxels, axis=None)[-enclosed])


def write(path, voxels, *, spacing, first, axes=(0, 1, 2), place="origin", dtype="<f4"):
    """Write a map; the first voxel's place (ZYX angstrom) goes to ORIGIN, or in whole voxels to n*start."""
    stored = np.ascontiguousarray(voxels.transpose(axes))
    stored = (stored.round() if dtype == "<i2" else stored).astype(dtype)
    start = np.rint(np.divide(first, spacing)).astype(int) if place == "start" else np.zeros(3, int)
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    header["nz"], header["ny"], header["nx"] = stored.shape
    header["nzstart"], header["nystart"], header["nxstart"] = start[list(axes)]
    header["mz"], header["my"], header["mx"] = voxels.shape
    header["maps"], header["mapr"], header["mapc"] = (3 - axis for axis in axes)
    header["cella"] = tuple(n * step for n, step in zip(voxels.shape, spacing, strict=True))[::-1]
    header["cellb"] = (90, 90, 90)
    header["mode"] = {"<f4": 2, "<i2": 1}[dtype]
    header["dmin"], header["dmax"] = stored.min(), stored.max()
    header["dmean"], header["rms"] = stored.mean(dtype=float), stored.std(dtype=float)
    header["origin"] = tuple(first)[::-1] if place == "origin" else (0, 0, 0)
    header["ispg"], header["nversion"], header["map"], header["machst"] = 1, 20141, b"MAP ", (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = b"simulated: no experiment, no protein"
    content = header.tobytes() + stored.tobytes()
    path.write_bytes(gzip.compress(content, 6, mtime=0) if path.suffix == ".gz" else content)


def make(example, folder, rng):
    """Write one example and its true density."""
    atoms, electrons = fold(example.layers, rng)
    low, high = atoms.min(axis=0)[::-1] - MARGIN, atoms.max(axis=0)[::-1] + MARGIN
    first = np.floor(low / example.spacing) * example.spacing
    shape = tuple(np.ceil((high - first) / example.spacing).astype(int))
    grid = {"first": first, "shape": shape, "spacing": example.spacing}
    clean = density(atoms, electrons, **grid, resolution=example.resolution)
    write(folder / example.name, experiment(example, clean, rng), spacing=example.spacing, first=first,
          axes=example.axes, place=example.place, dtype=example.dtype)  # fmt: skip
    fine = {"first": first, "shape": tuple(np.ceil(high - first).astype(int)), "spacing": (1.0, 1.0, 1.0)}
    true = density(atoms, electrons, **fine, resolution=TRUE_RESOLUTION)
    write(folder / "true" / f"{example.name.split('.')[0]}.mrc", true, spacing=fine["spacing"], first=first)


def main(folder):
    """Write all examples into `folder`."""
    (folder / "true").mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(EXAMPLES):
        make(example, folder, np.random.default_rng([SEED, number]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "maps")
