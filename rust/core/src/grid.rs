//! Where every cube reads and writes: the only file that knows core and halo.
//!
//! ```text
//!       halo        core        halo
//!     |<---->|<------------>|<---->|
//!     |<---------- read ---------->|      zeros where it leaves the volume
//!            |<-- write --->|             one Zarr chunk; clipped at the far faces
//! ```

use crate::region::Lattice;
use crate::{Error, Region, Result};

/// One cube: what it reads and what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cube {
    /// Index of its core, ZYX; also that of its Zarr chunk.
    pub index: [usize; 3],
    /// The whole cube, which may reach outside the volume.
    pub read: Region,
    /// Its core, clipped to the volume.
    pub write: Region,
}

/// Core i covers `[core*i, core*(i+1))` clipped to the volume; its cube reads `halo` voxels more on every side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CubeGrid {
    cores: Lattice,
    cube: usize,
}

impl CubeGrid {
    /// Cover `shape` (ZYX voxels) by cores of `core` voxels, read with cubes of `cube` voxels.
    ///
    /// # Errors
    /// If the core does not lie at the centre of the cube, or the shape has no voxels.
    pub fn new(shape: [usize; 3], cube: usize, core: usize) -> Result<Self> {
        if core == 0 || cube < core || !(cube - core).is_multiple_of(2) {
            return Err(Error::Grid { cube, core });
        }
        let cores = Lattice::new(shape, core)?;
        Ok(Self { cores, cube })
    }

    /// Shape of the volume, ZYX voxels.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.cores.shape()
    }

    /// Edge of a cube.
    #[must_use]
    pub const fn cube(&self) -> usize {
        self.cube
    }

    /// Edge of a core.
    #[must_use]
    pub const fn core(&self) -> usize {
        self.cores.edge()
    }

    /// Voxels that a cube reads beyond its core on every side.
    #[must_use]
    pub const fn halo(&self) -> usize {
        (self.cube - self.core()) / 2
    }

    /// Cubes along each axis.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        self.cores.counts()
    }

    /// Number of cubes.
    #[must_use]
    pub fn cubes(&self) -> usize {
        self.cores.cells()
    }

    /// Number of the cube with this index, in C order.
    #[must_use]
    pub fn number(&self, index: [usize; 3]) -> usize {
        self.cores.number(index)
    }

    /// The cube with this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Cube> {
        (number < self.cubes()).then(|| self.cube_at(self.cores.index(number)))
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

    /// The core's voxels inside its cube's buffer, clipped as the core is.
    #[must_use]
    pub fn core_in_cube(&self, cube: &Cube) -> Region {
        Region::new([self.halo() as i64; 3], cube.write.shape)
    }

    fn cube_at(&self, index: [usize; 3]) -> Cube {
        let start = index.map(|i| (i * self.core()) as i64 - self.halo() as i64);
        Cube {
            index,
            read: Region::new(start, [self.cube; 3]),
            write: self.cores.cell(index),
        }
    }
}
