//! One pass over the voxels of a map: extremes, mean, deviation, and what is not a number.

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::spares::{Spares, sized};
use crate::voxels::VoxelFile;
use crate::{Result, Voxels};

/// Voxels read at a time. Fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 1 << 18;

/// Statistics of voxels (float64 sums). NaN and infinities are counted, and left out of the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survey {
    /// Smallest voxel.
    pub minimum: f32,
    /// Largest voxel.
    pub maximum: f32,
    /// Voxels that differ from zero.
    pub nonzero: u64,
    /// Voxels that are NaN or infinite.
    pub nonfinite: u64,
    finite: u64,
    sum: f64,
    squares: f64,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            minimum: f32::INFINITY,
            maximum: f32::NEG_INFINITY,
            nonzero: 0,
            nonfinite: 0,
            finite: 0,
            sum: 0.0,
            squares: 0.0,
        }
    }
}

impl Survey {
    /// Mean of the finite voxels.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.finite as f64
    }

    /// Standard deviation about the mean, as MRC2014's RMS word.
    #[must_use]
    pub fn rms(&self) -> f64 {
        (self.squares / self.finite as f64 - self.mean().powi(2))
            .max(0.0)
            .sqrt()
    }

    /// Statistics of some voxels.
    #[must_use]
    pub fn of(voxels: &[f32]) -> Self {
        let mut survey = Self::default();
        for &voxel in voxels {
            if voxel.is_finite() {
                survey.minimum = survey.minimum.min(voxel);
                survey.maximum = survey.maximum.max(voxel);
                survey.sum += f64::from(voxel);
                survey.squares += f64::from(voxel) * f64::from(voxel);
                survey.finite += 1;
            }
            survey.nonzero += u64::from(voxel != 0.0);
        }
        survey.nonfinite = voxels.len() as u64 - survey.finite;
        survey
    }

    /// Statistics of two sets of voxels together.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            minimum: self.minimum.min(other.minimum),
            maximum: self.maximum.max(other.maximum),
            nonzero: self.nonzero + other.nonzero,
            nonfinite: self.nonfinite + other.nonfinite,
            finite: self.finite + other.finite,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }
}

/// Survey every voxel of a map.
///
/// # Errors
/// If the file cannot be read to its last voxel.
pub fn survey(voxels: &Voxels, pool: &ThreadPool) -> Result<Survey> {
    let parts = for_each_block(&voxels.open()?, pool, Survey::of)?;
    Ok(parts.iter().fold(Survey::default(), Survey::and))
}

/// Number of voxels above a contour level.
///
/// # Errors
/// If the file cannot be read to its last voxel.
pub fn count_above(voxels: &Voxels, level: f64, pool: &ThreadPool) -> Result<u64> {
    let above = |block: &[f32]| {
        block
            .iter()
            .filter(|&&voxel| f64::from(voxel) > level)
            .count() as u64
    };
    Ok(for_each_block(&voxels.open()?, pool, above)?.iter().sum())
}

/// What `work` makes of each block of voxels, in file order.
pub(crate) fn for_each_block<T: Send>(
    file: &VoxelFile,
    pool: &ThreadPool,
    work: impl Fn(&[f32]) -> T + Sync,
) -> Result<Vec<T>> {
    let count = file.voxels().count();
    let spares = Spares::default();
    pool.install(|| {
        (0..count.div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let first = block * BLOCK;
                spares.with(|buffer| {
                    let part = sized(buffer, BLOCK.min(count - first));
                    file.read(first, part)?;
                    Ok(work(part))
                })
            })
            .collect()
    })
}
