//! The axis order of a map file against the ZYX of everything else.

use crate::{Error, Region, Result};

/// `axes[i]` is the ZYX axis of file dimension i (sections, rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axes([usize; 3]);

impl Axes {
    /// Check that `axes` is a permutation.
    ///
    /// # Errors
    /// If it is not.
    pub fn new(axes: [usize; 3]) -> Result<Self> {
        let mut sorted = axes;
        sorted.sort_unstable();
        if sorted == [0, 1, 2] {
            Ok(Self(axes))
        } else {
            Err(Error::Axes { axes })
        }
    }

    /// The permutation.
    #[must_use]
    pub const fn get(&self) -> [usize; 3] {
        self.0
    }

    /// Whether file order is ZYX.
    #[must_use]
    pub fn is_zyx(&self) -> bool {
        self.0 == [0, 1, 2]
    }

    /// One value per ZYX axis, reordered to one per file dimension.
    #[must_use]
    pub fn to_file<T: Copy>(&self, zyx: [T; 3]) -> [T; 3] {
        self.0.map(|axis| zyx[axis])
    }

    /// One value per file dimension, reordered to one per ZYX axis.
    #[must_use]
    pub fn to_zyx<T: Copy>(&self, file: [T; 3]) -> [T; 3] {
        self.inverse().to_file(file)
    }

    /// A ZYX region in file order.
    #[must_use]
    pub fn region_to_file(&self, region: &Region) -> Region {
        Region::new(self.to_file(region.start), self.to_file(region.shape))
    }

    /// The permutation from ZYX to file order.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut inverse = [0; 3];
        for (dimension, &axis) in self.0.iter().enumerate() {
            inverse[axis] = dimension;
        }
        Self(inverse)
    }

    /// Voxels in file order from voxels in ZYX order; `shape` is ZYX.
    ///
    /// # Panics
    /// If a buffer is shorter than the shape.
    pub fn permute(&self, shape: [usize; 3], zyx: &[f32], file: &mut [f32]) {
        let strides = self.to_file([shape[1] * shape[2], shape[2], 1]);
        let [_, rows, columns] = self.to_file(shape);
        for (number, row) in file[..shape.iter().product()]
            .chunks_exact_mut(columns)
            .enumerate()
        {
            let base = number / rows * strides[0] + number % rows * strides[1];
            for (voxel, &source) in row.iter_mut().zip(zyx[base..].iter().step_by(strides[2])) {
                *voxel = source;
            }
        }
    }
}
