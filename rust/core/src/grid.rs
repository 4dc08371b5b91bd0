//! Where every cube reads and writes: the only file that knows core and halo.
//!
//! ```text
//!       halo        core        halo
//!     |<---->|<------------>|<---->|
//!     |<---------- read ---------->|      zeros where it leaves the volume
//!            |<-- write --->|             whole Zarr chunks
//! ```

use crate::region::Lattice;
use crate::{Error, Region, Result};

/// One cube: what it reads and what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cube {
    /// Its index, ZYX.
    pub index: [usize; 3],
    /// The whole cube, which may reach outside the volume.
    pub read: Region,
    /// Its core: whole chunks, clipped to the volume.
    pub write: Region,
}

/// Cubes `core` voxels apart, whose cores tile a volume.
///
/// Without padding it is the paper's lattice: core i covers `[core*i, core*(i+1))` clipped to the volume, and its cube
/// reads `halo` voxels more on every side. With padding there are as few cubes along an axis as read at least `padding`
/// voxels beyond either end, they lie centred on the volume, and the first and the last write up to its ends: a halo is
/// needed where the volume goes on, and not where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CubeGrid {
    chunks: Lattice,
    counts: [usize; 3],
    /// Where the first cube begins.
    start: [i64; 3],
    cube: usize,
}

impl CubeGrid {
    /// Cover `shape` (ZYX voxels) by cores of `core` voxels, read with cubes of `cube` voxels.
    ///
    /// # Errors
    /// If the core does not lie at the centre of the cube, the padding is larger than the halo, or the shape has no
    /// voxels.
    pub fn new(
        shape: [usize; 3],
        cube: usize,
        core: usize,
        padding: Option<usize>,
    ) -> Result<Self> {
        if core == 0 || cube < core || !(cube - core).is_multiple_of(2) {
            return Err(Error::Grid { cube, core });
        }
        let chunks = Lattice::new(shape, core)?;
        let halo = (cube - core) / 2;
        let Some(padding) = padding else {
            let start = [-(halo as i64); 3];
            let counts = chunks.counts();
            return Ok(Self {
                chunks,
                counts,
                start,
                cube,
            });
        };
        let Some(spared) = halo.checked_sub(padding) else {
            return Err(Error::Padding { padding, halo });
        };
        let counts = shape.map(|n| n.saturating_sub(2 * spared).div_ceil(core).max(1));
        let start = [0, 1, 2].map(|axis| {
            let read = core * counts[axis] + 2 * halo;
            -(((read - shape[axis]) / 2) as i64)
        });
        // A core begins where a chunk does; the first also holds the chunk before, of which the volume cuts most.
        let lead = start.map(|n| (-n - halo as i64).rem_euclid(core as i64) as usize);
        let chunks = chunks.led_by(lead)?;
        Ok(Self {
            chunks,
            counts,
            start,
            cube,
        })
    }

    /// Shape of the volume, ZYX voxels.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.chunks.shape()
    }

    /// The chunks of a volume that cores are written to.
    #[must_use]
    pub const fn chunks(&self) -> Lattice {
        self.chunks
    }

    /// Edge of a cube.
    #[must_use]
    pub const fn cube(&self) -> usize {
        self.cube
    }

    /// Edge of a core, and the distance between cubes.
    #[must_use]
    pub const fn core(&self) -> usize {
        self.chunks.edge()
    }

    /// Voxels that a cube reads beyond its core where the volume goes on.
    #[must_use]
    pub const fn halo(&self) -> usize {
        (self.cube - self.core()) / 2
    }

    /// Cubes along each axis.
    #[must_use]
    pub const fn counts(&self) -> [usize; 3] {
        self.counts
    }

    /// Number of cubes.
    #[must_use]
    pub fn cubes(&self) -> usize {
        self.counts.iter().product()
    }

    /// Number of the cube with this index, in C order.
    #[must_use]
    pub const fn number(&self, index: [usize; 3]) -> usize {
        let [_, ny, nx] = self.counts;
        (index[0] * ny + index[1]) * nx + index[2]
    }

    /// The cube with this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Cube> {
        let [_, ny, nx] = self.counts;
        let index = [number / (ny * nx), number / nx % ny, number % nx];
        (number < self.cubes()).then(|| self.cube_at(index))
    }

    /// What the cubes of these indices (a range along each axis) read together.
    #[must_use]
    pub fn read_by(&self, first: [usize; 3], last: [usize; 3]) -> Region {
        let (first, last) = (self.cube_at(first).read, self.cube_at(last).read.stop());
        Region::new(
            first.start,
            [0, 1, 2].map(|axis| (last[axis] - first.start[axis]) as usize),
        )
    }

    fn cube_at(&self, index: [usize; 3]) -> Cube {
        let read = [0, 1, 2].map(|axis| self.start[axis] + (index[axis] * self.core()) as i64);
        let ends = [0, 1, 2].map(|axis| {
            let (end, core) = (self.shape()[axis] as i64, read[axis] + self.halo() as i64);
            let (first, last) = (index[axis] == 0, index[axis] + 1 == self.counts[axis]);
            [
                if first { 0 } else { core },
                if last { end } else { core + self.core() as i64 },
            ]
        });
        Cube {
            index,
            read: Region::new(read, [self.cube; 3]),
            write: Region::new(
                ends.map(|[start, _]| start),
                ends.map(|[start, stop]| (stop - start) as usize),
            ),
        }
    }
}
