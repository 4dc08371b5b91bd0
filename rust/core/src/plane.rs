//! Resampling a plane along its rows' axis and its columns' axis.

use std::ops::Range;

use crate::kernel::Kernel;
use crate::lanes::{Lines, MAX_LANES};
use crate::spares::sized;

/// Rows that are turned into lanes together.
const ROWS: usize = 32;

/// A plane's resampling, in file order: along the rows' axis (1) and the columns' axis (2), of one pencil.
#[derive(Debug)]
pub(crate) struct PlaneKernels<'a> {
    pub(crate) along: [&'a Kernel; 2],
    /// Output samples.
    pub(crate) target: [Range<usize>; 2],
    /// Source samples that they need.
    pub(crate) source: [Range<usize>; 2],
    /// Columns of a strip: an output plane is stored strip after strip, each C order.
    strip: usize,
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct PlaneSpace {
    source: Vec<f32>,
    halfway: Vec<f32>,
    work: Vec<f32>,
    turned: [Vec<f32>; 2],
}

impl<'a> PlaneKernels<'a> {
    pub(crate) fn new(along: [&'a Kernel; 2], target: [Range<usize>; 2], strip: usize) -> Self {
        let source = [along[0].needs(&target[0]), along[1].needs(&target[1])];
        Self {
            along,
            target,
            source,
            strip,
        }
    }

    /// Voxels of a source plane and of an output plane.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        [&self.source, &self.target].map(|ranges| ranges[0].len() * ranges[1].len())
    }

    /// Where row `row` of the strip that begins at column `column` begins in an output plane.
    pub(crate) fn at(&self, row: usize, column: usize) -> usize {
        let width = self.strip.min(self.target[1].len() - column);
        self.target[0].len() * column + row * width
    }

    /// Let `read` fill the source plane, C order, and resample it to `to`, in strips.
    pub(crate) fn resample<E>(
        &self,
        space: &mut PlaneSpace,
        to: &mut [f32],
        read: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let PlaneSpace {
            source,
            halfway,
            work,
            turned,
        } = space;
        let [along_rows, along_columns] = self.along.map(|kernel| !kernel.is_copy());
        let [source_size, _] = self.sizes();
        if !along_rows && !along_columns && self.strip >= self.target[1].len() {
            return read(to);
        }
        let source = sized(source, source_size);
        read(source)?;
        let source = if along_columns {
            let halfway = sized(halfway, self.source[0].len() * self.target[1].len());
            self.along_columns(source, halfway, work, turned);
            halfway
        } else {
            source
        };
        if along_rows {
            self.along_rows(source, to, work, &mut turned[0]);
        } else {
            for (row, from) in source.chunks_exact(self.target[1].len()).enumerate() {
                self.to_strips(row, 0, from, to);
            }
        }
        Ok(())
    }

    /// Resample every row.
    fn along_columns(
        &self,
        from: &[f32],
        to: &mut [f32],
        work: &mut Vec<f32>,
        turned: &mut [Vec<f32>; 2],
    ) {
        let (before, after) = (self.source[1].len(), self.target[1].len());
        let first = self.source[1].start;
        let [before_turned, after_turned] = turned;
        for (from, to) in from.chunks(ROWS * before).zip(to.chunks_mut(ROWS * after)) {
            let samples = sized(before_turned, ROWS * before);
            turn_in(from, before, samples);
            let samples = &*samples;
            let lines = Lines {
                samples: self.source[1].clone(),
                count: ROWS,
                row: |sample| &samples[(sample - first) * ROWS..],
            };
            let result = sized(after_turned, ROWS * after);
            lines.resample(
                self.along[1],
                self.target[1].clone(),
                work,
                result.chunks_exact_mut(ROWS),
            );
            turn_out(result, after, to);
        }
    }

    /// Resample every column, as many at a time as stay in the cache.
    fn along_rows(&self, from: &[f32], to: &mut [f32], work: &mut Vec<f32>, result: &mut Vec<f32>) {
        let (first, width) = (self.source[0].start, self.target[1].len());
        for column in (0..width).step_by(MAX_LANES) {
            let count = MAX_LANES.min(width - column);
            let lines = Lines {
                samples: self.source[0].clone(),
                count,
                row: |sample| &from[(sample - first) * width + column..],
            };
            let result = sized(result, self.target[0].len() * count);
            lines.resample(
                self.along[0],
                self.target[0].clone(),
                work,
                result.chunks_exact_mut(count),
            );
            for (row, from) in result.chunks_exact(count).enumerate() {
                self.to_strips(row, column, from, to);
            }
        }
    }

    /// Put part of a row, from `column` on, where it belongs in the strips.
    fn to_strips(&self, row: usize, column: usize, from: &[f32], to: &mut [f32]) {
        let width = self.target[1].len();
        if self.strip >= width {
            to[row * width + column..][..from.len()].copy_from_slice(from);
            return;
        }
        let (mut column, mut rest) = (column, from);
        while !rest.is_empty() {
            let within = column % self.strip;
            let part;
            (part, rest) = rest.split_at(rest.len().min(self.strip - within));
            let at = self.at(row, column - within) + within;
            to[at..at + part.len()].copy_from_slice(part);
            column += part.len();
        }
    }
}

/// Up to [`ROWS`] rows of `length` as `[length][ROWS]`.
fn turn_in(rows: &[f32], length: usize, lanes: &mut [f32]) {
    for (lane, row) in rows.chunks_exact(length).enumerate() {
        for (to, &voxel) in lanes[lane..].iter_mut().step_by(ROWS).zip(row) {
            *to = voxel;
        }
    }
}

/// `[length][ROWS]` as up to [`ROWS`] rows of `length`.
fn turn_out(lanes: &[f32], length: usize, rows: &mut [f32]) {
    for (lane, row) in rows.chunks_exact_mut(length).enumerate() {
        for (voxel, &from) in row.iter_mut().zip(lanes[lane..].iter().step_by(ROWS)) {
            *voxel = from;
        }
    }
}
