//! One pass over the voxels of a map: extremes, mean, deviation, and what is not a number.

use pulp::{Arch, NullaryFnOnce};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::spares::{Spares, sized};
use crate::voxels::VoxelFile;
use crate::{Result, Voxels};

/// Voxels read at a time. Fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 1 << 18;

/// Sums that run side by side.
const SUMS: usize = 16;

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
        let (groups, rest) = voxels.as_chunks::<SUMS>();
        let mut last = [f32::NAN; SUMS];
        last[..rest.len()].copy_from_slice(rest);
        let sums = Arch::new().dispatch(Add(groups, &last));
        let count = |counts: [u32; SUMS]| counts.iter().map(|&n| u64::from(n)).sum::<u64>();
        let finite = count(sums.finite);
        Self {
            minimum: sums.minimum.into_iter().fold(f32::INFINITY, f32::min),
            maximum: sums.maximum.into_iter().fold(f32::NEG_INFINITY, f32::max),
            nonzero: count(sums.nonzero) - (SUMS - rest.len()) as u64,
            nonfinite: voxels.len() as u64 - finite,
            finite,
            sum: sums.sum.iter().sum(),
            squares: sums.squares.iter().sum(),
        }
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

/// Statistics side by side, in a fixed number, so that they vectorise and are the same on every processor.
struct Sums {
    minimum: [f32; SUMS],
    maximum: [f32; SUMS],
    nonzero: [u32; SUMS],
    finite: [u32; SUMS],
    sum: [f64; SUMS],
    squares: [f64; SUMS],
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            minimum: [f32::INFINITY; SUMS],
            maximum: [f32::NEG_INFINITY; SUMS],
            nonzero: [0; SUMS],
            finite: [0; SUMS],
            sum: [0.0; SUMS],
            squares: [0.0; SUMS],
        }
    }
}

/// The sums of groups of voxels, and of a last one.
struct Add<'a>(&'a [[f32; SUMS]], &'a [f32; SUMS]);

impl NullaryFnOnce for Add<'_> {
    type Output = Sums;

    #[inline(always)]
    fn call(self) -> Sums {
        let mut sums = Sums::default();
        for group in self.0 {
            sums.add(group);
        }
        sums.add(self.1);
        sums
    }
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, voxels: &[f32; SUMS]) {
        for (lane, &voxel) in voxels.iter().enumerate() {
            let finite = voxel.is_finite();
            let (low, high, kept) = if finite {
                (voxel, voxel, voxel)
            } else {
                (f32::INFINITY, f32::NEG_INFINITY, 0.0)
            };
            if low < self.minimum[lane] {
                self.minimum[lane] = low;
            }
            if high > self.maximum[lane] {
                self.maximum[lane] = high;
            }
            self.nonzero[lane] += u32::from(voxel != 0.0);
            self.finite[lane] += u32::from(finite);
            let kept = f64::from(kept);
            self.sum[lane] += kept;
            self.squares[lane] += kept * kept;
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
