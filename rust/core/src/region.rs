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

/// A volume cut into cells of one edge, which begin `lead` voxels before it; those at its faces are clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lattice {
    shape: [usize; 3],
    edge: usize,
    lead: [usize; 3],
}

impl Lattice {
    /// Cut `shape` into cells of `edge` voxels, from its first voxel on.
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
        let lead = [0; 3];
        Ok(Self { shape, edge, lead })
    }

    /// The same cells, beginning `lead` voxels before the volume.
    ///
    /// # Errors
    /// If a whole cell would lie before it.
    pub fn led_by(self, lead: [usize; 3]) -> Result<Self> {
        if lead.iter().any(|&n| n >= self.edge) {
            return Err(Error::Mismatch {
                what: "voxels before the volume: fewer than a cell has",
                got: lead.to_vec(),
                expected: vec![self.edge; 3],
            });
        }
        Ok(Self { lead, ..self })
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

    /// Voxels by which the first cell begins before the volume.
    #[must_use]
    pub const fn lead(&self) -> [usize; 3] {
        self.lead
    }

    /// Cells along each axis.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| (self.shape[axis] + self.lead[axis]).div_ceil(self.edge))
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

    /// The voxels of a cell, also those beyond the volume.
    #[must_use]
    pub fn whole_cell(&self, index: [usize; 3]) -> Region {
        let start = [0, 1, 2].map(|axis| (index[axis] * self.edge) as i64 - self.lead[axis] as i64);
        Region::new(start, [self.edge; 3])
    }

    /// The voxels of a cell, clipped to the volume.
    ///
    /// # Panics
    /// If there is no such cell.
    #[must_use]
    pub fn cell(&self, index: [usize; 3]) -> Region {
        let inside = Region::whole(self.shape).intersect(&self.whole_cell(index));
        inside.expect("every cell holds voxels of the volume")
    }

    fn touched(&self, region: &Region) -> [std::ops::Range<usize>; 3] {
        let inside = Region::whole(self.shape).intersect(region);
        [0, 1, 2].map(|axis| {
            inside.map_or(0..0, |part| {
                let [start, stop] = [part.start[axis], part.stop()[axis]]
                    .map(|place| place as usize + self.lead[axis]);
                start / self.edge..stop.div_ceil(self.edge)
            })
        })
    }
}
