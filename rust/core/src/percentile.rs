//! The exact percentile of a map's non-zero voxels in bounded memory: two passes over the bits of an ordered key.

use rayon::ThreadPool;

use crate::spares::Spares;
use crate::survey::for_each_block;
use crate::voxels::VoxelFile;
use crate::{Error, Result, Voxels};

/// Values of half a key.
const BINS: usize = 1 << 16;

/// Linearly interpolated percentile (numpy's `linear`) of the finite non-zero voxels.
///
/// # Errors
/// If `percent` is outside 0 to 100, the file cannot be read to its last voxel, or every voxel is zero.
pub fn percentile(voxels: &Voxels, percent: f64, pool: &ThreadPool) -> Result<f64> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(Error::Range {
            what: "percentile",
            value: percent,
            range: "in 0 to 100",
        });
    }
    let file = voxels.open()?;
    let high = histogram(&file, pool, |key| Some(key >> 16))?;
    let total: u64 = high.iter().sum();
    if total == 0 {
        return Err(Error::Empty {
            path: voxels.path.clone(),
        });
    }
    let virtual_index = percent / 100.0 * (total - 1) as f64;
    let rank = (virtual_index as u64).min(total - 1);
    let fraction = virtual_index - rank as f64;
    let [lower, upper] = ranked(&file, pool, &high, [rank, (rank + 1).min(total - 1)])?;
    // As numpy: from the nearer end, so that equal neighbours give their own value.
    let step = upper - lower;
    Ok(if fraction < 0.5 {
        lower + step * fraction
    } else {
        upper - step * (1.0 - fraction)
    })
}

/// The voxels of two ranks, by the lower half of the keys that share their upper half.
fn ranked(file: &VoxelFile, pool: &ThreadPool, high: &[u64], ranks: [u64; 2]) -> Result<[f64; 2]> {
    let found = ranks.map(|rank| bin_of(high, rank));
    let low_of = |bin: u32| {
        histogram(file, pool, move |key| {
            (key >> 16 == bin).then_some(key & 0xffff)
        })
    };
    let first = low_of(found[0].0)?;
    let second = if found[1].0 == found[0].0 {
        None
    } else {
        Some(low_of(found[1].0)?)
    };
    let value =
        |(bin, rank): (u32, u64), low: &[u64]| f64::from(voxel_of(bin << 16 | bin_of(low, rank).0));
    Ok([
        value(found[0], &first),
        value(found[1], second.as_ref().unwrap_or(&first)),
    ])
}

/// The bin that holds `rank`, and the rank within it.
fn bin_of(histogram: &[u64], rank: u64) -> (u32, u64) {
    let mut left = rank;
    for (bin, &count) in histogram.iter().enumerate() {
        if left < count {
            return (bin as u32, left);
        }
        left -= count;
    }
    unreachable!("rank {rank} is below the number of voxels")
}

/// Count the finite non-zero voxels by what `bin` makes of their keys.
fn histogram(
    file: &VoxelFile,
    pool: &ThreadPool,
    bin: impl Fn(u32) -> Option<u32> + Sync,
) -> Result<Vec<u64>> {
    let counts = Spares::<Vec<u64>>::default();
    for_each_block(file, pool, |block| {
        counts.with(|counts| {
            counts.resize(BINS, 0);
            for &voxel in block {
                if let Some(bin) = bin(key_of(voxel))
                    && voxel != 0.0
                    && voxel.is_finite()
                {
                    counts[bin as usize] += 1;
                }
            }
        });
    })?;
    let mut sum = vec![0; BINS];
    for part in counts.into_all() {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    Ok(sum)
}

/// Keys that are ordered as their voxels: negative numbers have all bits flipped, others the sign.
fn key_of(voxel: f32) -> u32 {
    let bits = voxel.to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

fn voxel_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 {
        key & !(1 << 31)
    } else {
        !key
    })
}

#[cfg(test)]
mod tests {
    use super::{key_of, voxel_of};

    #[test]
    fn keys_keep_the_order_of_voxels() {
        let voxels = [f32::MIN, -1.0, -1e-40, 1e-40, 1.0, f32::MAX];
        assert!(voxels.map(key_of).is_sorted());
        assert_eq!(
            voxels.map(key_of).map(voxel_of).map(f32::to_bits),
            voxels.map(f32::to_bits)
        );
    }
}
