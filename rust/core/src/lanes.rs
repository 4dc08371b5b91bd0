//! Resampling many lines at once: samples of all lines at one position lie side by side, so the loops vectorise.
//!
//! Products and sums are rounded one by one, never fused, so a result is the same on every processor, whatever the
//! width of its vectors.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce};

use crate::kernel::{Kernel, mirrored};
use crate::spares::sized;

/// Most lanes in one call: with the window of a layer they stay in the cache of a core.
pub(crate) const MAX_LANES: usize = 512;

/// The pole of the cubic B-spline's prefilter, sqrt(3) - 2.
const POLE: f32 = -0.267_949_2;

/// Samples in the sum that starts the prefilter: the pole's power of 20 is 4e-12.
const START: usize = 14;

/// Source samples of many lines; `row(k)` holds sample k of each line, for k in `samples`.
pub(crate) struct Lines<F> {
    pub(crate) samples: Range<usize>,
    pub(crate) count: usize,
    pub(crate) row: F,
}

impl<'a, F: Fn(usize) -> &'a [f32]> Lines<F> {
    /// Resample to `outputs`, one row of the result into each of `to`.
    ///
    /// The ends of `samples` are taken for the ends of the axis: where they are not, the settling absorbs the error.
    pub(crate) fn resample<'t>(
        &self,
        kernel: &Kernel,
        outputs: Range<usize>,
        work: &mut Vec<f32>,
        to: impl Iterator<Item = &'t mut [f32]>,
    ) {
        let work = if kernel.is_spline() {
            sized(work, self.samples.len() * self.count)
        } else {
            &mut []
        };
        Arch::new().dispatch(Resampling {
            lines: self,
            kernel,
            outputs,
            work,
            to,
        });
    }

    /// The coefficients of a cubic B-spline, divided by the gain of 6.
    #[inline(always)]
    fn prefilter(&self, work: &mut [f32]) {
        let lanes = self.count;
        let length = self.samples.len();
        let row = |sample: usize| &(self.row)(self.samples.start + sample)[..lanes];
        let (first, _) = work.split_at_mut(lanes);
        first.copy_from_slice(row(0));
        let mut power = 1.0;
        for sample in 1..START {
            power *= POLE;
            for (sum, &value) in first.iter_mut().zip(row(mirrored(sample as i64, length))) {
                *sum += power * value;
            }
        }
        for sample in 1..length {
            let (before, here) = work[(sample - 1) * lanes..][..2 * lanes].split_at_mut(lanes);
            for ((value, &source), &previous) in here.iter_mut().zip(row(sample)).zip(&*before) {
                *value = source + POLE * previous;
            }
        }
        if length > 1 {
            let (before, last) = work[(length - 2) * lanes..].split_at_mut(lanes);
            for (value, &previous) in last.iter_mut().zip(&*before) {
                *value = POLE / (POLE * POLE - 1.0) * (*value + POLE * previous);
            }
        }
        for sample in (0..length - 1).rev() {
            let (here, after) = work[sample * lanes..][..2 * lanes].split_at_mut(lanes);
            for (value, &next) in here.iter_mut().zip(&*after) {
                *value = POLE * (next - *value);
            }
        }
    }
}

/// What [`Lines::resample`] does, with room for a spline's coefficients.
struct Resampling<'l, F, T> {
    lines: &'l Lines<F>,
    kernel: &'l Kernel,
    outputs: Range<usize>,
    work: &'l mut [f32],
    to: T,
}

impl<'a, 't, F: Fn(usize) -> &'a [f32], T: Iterator<Item = &'t mut [f32]>> NullaryFnOnce
    for Resampling<'_, F, T>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (lines, first) = (self.lines, self.lines.samples.start);
        if self.kernel.is_spline() {
            lines.prefilter(self.work);
            let row = |sample| &self.work[(sample - first) * lines.count..][..lines.count];
            weighted_sums(self.kernel, self.outputs, row, self.to);
        } else {
            let row = |sample| &(lines.row)(sample)[..lines.count];
            weighted_sums(self.kernel, self.outputs, row, self.to);
        }
    }
}

/// The weighted sums of rows that make each output row.
#[inline(always)]
fn weighted_sums<'a, 't>(
    kernel: &Kernel,
    outputs: Range<usize>,
    row: impl Fn(usize) -> &'a [f32],
    to: impl Iterator<Item = &'t mut [f32]>,
) {
    for (output, to) in outputs.zip(to) {
        let (first, weights) = kernel.taps(output);
        let (fours, rest) = weights.as_chunks::<4>();
        for (four, &[a, b, c, d]) in fours.iter().enumerate() {
            let sample = first + 4 * four;
            let [p, q, r, s] = [0, 1, 2, 3].map(|number| row(sample + number));
            let values = to.iter_mut().zip(p).zip(q).zip(r).zip(s);
            for ((((value, &p), &q), &r), &s) in values {
                let sum = (a * p + b * q) + (c * r + d * s);
                *value = if four == 0 { sum } else { *value + sum };
            }
        }
        for (number, &weight) in (4 * fours.len()..).zip(rest) {
            for (value, &sample) in to.iter_mut().zip(row(first + number)) {
                let part = weight * sample;
                *value = if number == 0 { part } else { *value + part };
            }
        }
    }
}
