//! Boxes of voxels, and how to copy between them.

use crate::{Error, Result};

/// A half-open box of voxels, ZYX. It may start below zero: a cube's halo reaches outside the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// First voxel.
    pub start: [i64; 3],
    /// Voxels along each axis.
    pub shape: [usize; 3],
}

impl Region {
    /// The region of `shape` voxels that starts at `start`.
    #[must_use]
    pub const fn new(start: [i64; 3], shape: [usize; 3]) -> Self {
        Self { start, shape }
    }

    /// The region of a whole volume.
    #[must_use]
    pub const fn whole(shape: [usize; 3]) -> Self {
        Self::new([0; 3], shape)
    }

    /// One past the last voxel.
    #[must_use]
    pub fn stop(&self) -> [i64; 3] {
        [0, 1, 2].map(|axis| self.start[axis] + self.shape[axis] as i64)
    }

    /// Number of voxels.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// What two regions share.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let start = [0, 1, 2].map(|axis| self.start[axis].max(other.start[axis]));
        let (a, b) = (self.stop(), other.stop());
        let shape = [0, 1, 2].map(|axis| a[axis].min(b[axis]) - start[axis]);
        shape
            .iter()
            .all(|&n| n > 0)
            .then(|| Self::new(start, shape.map(|n| n as usize)))
    }

    /// Where the row of X through `z`, `y` of `part` begins in this region's buffer.
    fn row(&self, part: &Self, z: usize, y: usize) -> usize {
        let [z0, y0, x0] = [0, 1, 2].map(|axis| (part.start[axis] - self.start[axis]) as usize);
        ((z0 + z) * self.shape[1] + y0 + y) * self.shape[2] + x0
    }
}

/// Copy what `source` and `target` share; the rest of `to` keeps its values.
///
/// # Panics
/// If a buffer is shorter than its region.
pub fn copy_shared(source: &Region, from: &[f32], target: &Region, to: &mut [f32]) {
    let Some(part) = source.intersect(target) else {
        return;
    };
    let width = part.shape[2];
    for z in 0..part.shape[0] {
        for y in 0..part.shape[1] {
            let (a, b) = (source.row(&part, z, y), target.row(&part, z, y));
            to[b..b + width].copy_from_slice(&from[a..a + width]);
        }
    }
}

/// A volume cut into cells of one edge; those at the far faces are clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lattice {
    shape: [usize; 3],
    edge: usize,
}

impl Lattice {
    /// Cut `shape` into cells of `edge` voxels.
    ///
    /// # Errors
    /// If a length is zero, or there are more voxels than memory can address.
    pub fn new(shape: [usize; 3], edge: usize) -> Result<Self> {
        let bytes = shape
            .iter()
            .try_fold(4_usize, |product, &n| product.checked_mul(n));
        if shape.contains(&0) || bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            return Err(Error::Shape { shape });
        }
        if edge == 0 {
            return Err(Error::Grid { cube: 0, core: 0 });
        }
        Ok(Self { shape, edge })
    }

    /// Shape of the volume.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Edge of a cell.
    #[must_use]
    pub const fn edge(&self) -> usize {
        self.edge
    }

    /// Cells along each axis.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        self.shape.map(|n| n.div_ceil(self.edge))
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.counts().iter().product()
    }

    /// Place of a cell in C order.
    #[must_use]
    pub fn number(&self, index: [usize; 3]) -> usize {
        let [_, ny, nx] = self.counts();
        (index[0] * ny + index[1]) * nx + index[2]
    }

    /// Index of the cell at a place in C order.
    #[must_use]
    pub fn index(&self, number: usize) -> [usize; 3] {
        let [_, ny, nx] = self.counts();
        [number / (ny * nx), number / nx % ny, number % nx]
    }

    /// Indices of the cells that a region touches, in C order.
    pub fn touching(&self, region: &Region) -> impl Iterator<Item = [usize; 3]> + use<> {
        let [z, y, x] = self.touched(region);
        z.flat_map(move |z| y.clone().map(move |y| [z, y]))
            .flat_map(move |[z, y]| x.clone().map(move |x| [z, y, x]))
    }

    /// The voxels of a cell, clipped to the volume.
    #[must_use]
    pub fn cell(&self, index: [usize; 3]) -> Region {
        let start = index.map(|i| i * self.edge);
        let shape = [0, 1, 2].map(|axis| self.edge.min(self.shape[axis] - start[axis]));
        Region::new(start.map(|n| n as i64), shape)
    }

    fn touched(&self, region: &Region) -> [std::ops::Range<usize>; 3] {
        let inside = Region::whole(self.shape).intersect(region);
        [0, 1, 2].map(|axis| {
            inside.map_or(0..0, |part| {
                let (start, stop) = (part.start[axis], part.stop()[axis]);
                start as usize / self.edge..(stop as usize).div_ceil(self.edge)
            })
        })
    }
}
