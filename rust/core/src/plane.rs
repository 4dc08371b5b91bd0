//! Resampling a plane along its rows' axis and its columns' axis.

use std::ops::Range;

use crate::kernel::Kernel;
use crate::lanes::{Lanes, MAX_LANES};
use crate::spares::sized;

/// Rows that are turned into lanes together: one cache line of voxels.
const ROWS: usize = 16;

/// A plane's resampling, in file order: along the rows' axis (1) and the columns' axis (2), of one pencil.
#[derive(Debug)]
pub(crate) struct PlaneKernels<'a> {
    pub(crate) along: [&'a Kernel; 2],
    /// Output samples.
    pub(crate) target: [Range<usize>; 2],
    /// Source samples that they need.
    pub(crate) source: [Range<usize>; 2],
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct PlaneSpace {
    source: Vec<f32>,
    halfway: Vec<f32>,
    lanes: Vec<f32>,
    turned: Vec<f32>,
}

impl<'a> PlaneKernels<'a> {
    pub(crate) fn new(along: [&'a Kernel; 2], target: [Range<usize>; 2]) -> Self {
        let source = [along[0].needs(&target[0]), along[1].needs(&target[1])];
        Self {
            along,
            target,
            source,
        }
    }

    /// Voxels of a source plane and of an output plane.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        [&self.source, &self.target].map(|ranges| ranges[0].len() * ranges[1].len())
    }

    /// Let `read` fill the source plane, and resample it to `to`.
    pub(crate) fn resample<E>(
        &self,
        space: &mut PlaneSpace,
        to: &mut [f32],
        read: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let PlaneSpace {
            source,
            halfway,
            lanes,
            turned,
        } = space;
        let copies = self.along.map(Kernel::is_copy);
        let [source_size, _] = self.sizes();
        let halfway_size = self.source[0].len() * self.target[1].len();
        match copies {
            [true, true] => return read(to),
            [true, false] => {
                let source = sized(source, source_size);
                read(source)?;
                self.along_columns(source, to, lanes, turned);
            }
            [false, true] => {
                let source = sized(source, source_size);
                read(source)?;
                self.along_rows(source, to, lanes);
            }
            [false, false] => {
                let source = sized(source, source_size);
                let halfway = sized(halfway, halfway_size);
                read(source)?;
                self.along_columns(source, halfway, lanes, turned);
                self.along_rows(halfway, to, lanes);
            }
        }
        Ok(())
    }

    /// Resample every row.
    fn along_columns(
        &self,
        from: &[f32],
        to: &mut [f32],
        lanes: &mut Vec<f32>,
        turned: &mut Vec<f32>,
    ) {
        let (before, after) = (self.source[1].len(), self.target[1].len());
        let rows = from.chunks(ROWS * before).zip(to.chunks_mut(ROWS * after));
        for (from, to) in rows {
            let work = sized(lanes, ROWS * before);
            turn_in(from, before, work);
            let result = sized(turned, ROWS * after);
            let samples = Lanes {
                work,
                first: self.source[1].start,
                lanes: ROWS,
            };
            samples.resample(self.along[1], self.target[1].clone(), result, ROWS);
            turn_out(result, after, to);
        }
    }

    /// Resample every column, as many at a time as stay in the cache.
    fn along_rows(&self, from: &[f32], to: &mut [f32], lanes: &mut Vec<f32>) {
        let (rows, width) = (self.source[0].len(), self.target[1].len());
        for column in (0..width).step_by(MAX_LANES) {
            let count = MAX_LANES.min(width - column);
            let work = sized(lanes, rows * count);
            for (lane, row) in work.chunks_exact_mut(count).zip(from.chunks_exact(width)) {
                lane.copy_from_slice(&row[column..column + count]);
            }
            let samples = Lanes {
                work,
                first: self.source[0].start,
                lanes: count,
            };
            samples.resample(
                self.along[0],
                self.target[0].clone(),
                &mut to[column..],
                width,
            );
        }
    }
}

/// Up to 16 rows of `length` as `[length][16]`.
fn turn_in(rows: &[f32], length: usize, lanes: &mut [f32]) {
    for (lane, row) in rows.chunks_exact(length).enumerate() {
        for (to, &voxel) in lanes[lane..].iter_mut().step_by(ROWS).zip(row) {
            *to = voxel;
        }
    }
}

/// `[length][16]` as up to 16 rows of `length`.
fn turn_out(lanes: &[f32], length: usize, rows: &mut [f32]) {
    for (lane, row) in rows.chunks_exact_mut(length).enumerate() {
        for (voxel, &from) in row.iter_mut().zip(lanes[lane..].iter().step_by(ROWS)) {
            *voxel = from;
        }
    }
}
