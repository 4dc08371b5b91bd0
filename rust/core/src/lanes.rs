//! Resampling many lines at once: samples of all lines at one position lie side by side, so the loops vectorise.
//!
//! Work is `[samples][lanes]`. Products and sums are rounded one by one, never fused, so a result is the same on every
//! processor, whatever the width of its vectors.

use std::ops::Range;

use pulp::Arch;

use crate::kernel::Kernel;

/// Most lanes in one call.
pub(crate) const MAX_LANES: usize = 512;

/// The pole of the cubic B-spline's prefilter, sqrt(3) - 2.
const POLE: f32 = -0.267_949_2;

/// Samples in the sum that starts the prefilter: the pole's power of 20 is 4e-12.
const START: usize = 20;

/// Source samples `[samples][lanes]`, the first of them being sample `first` of the axis.
pub(crate) struct Lanes<'a> {
    pub(crate) work: &'a mut [f32],
    pub(crate) first: usize,
    pub(crate) lanes: usize,
}

impl Lanes<'_> {
    /// Resample to `outputs`; row r of the result is `to[r * stride..][..lanes]`. The source samples are spoilt.
    ///
    /// The ends of the work are taken for the ends of the axis: where they are not, the settling absorbs the error.
    pub(crate) fn resample(
        self,
        kernel: &Kernel,
        outputs: Range<usize>,
        to: &mut [f32],
        stride: usize,
    ) {
        let Lanes { work, first, lanes } = self;
        Arch::new().dispatch(|| {
            if kernel.is_spline() {
                prefilter(work, lanes);
            }
            for (output, to) in outputs.zip(to.chunks_mut(stride)) {
                let (sample, weights) = kernel.taps(output);
                weighted_sum(&work[(sample - first) * lanes..], weights, &mut to[..lanes]);
            }
        });
    }
}

/// Turn samples into the coefficients of a cubic B-spline, divided by the gain of 6.
#[allow(
    clippy::inline_always,
    reason = "inlined into the dispatched closure, or it is compiled for the oldest processor"
)]
#[inline(always)]
fn prefilter(work: &mut [f32], lanes: usize) {
    let count = work.len() / lanes;
    if count < 2 {
        return;
    }
    let mut start = [0.0; MAX_LANES];
    let start = &mut start[..lanes];
    start.copy_from_slice(&work[..lanes]);
    let (mut sample, mut step, mut power) = (0, 1, 1.0);
    for _ in 1..START {
        (sample, step) = if step == 1 && sample + 1 == count || step == -1 && sample == 0 {
            ((sample as isize - step) as usize, -step)
        } else {
            ((sample as isize + step) as usize, step)
        };
        power *= POLE;
        for (sum, &value) in start.iter_mut().zip(&work[sample * lanes..][..lanes]) {
            *sum += power * value;
        }
    }
    work[..lanes].copy_from_slice(start);
    for sample in 1..count {
        let (before, here) = work.split_at_mut(sample * lanes);
        for (value, &previous) in here[..lanes]
            .iter_mut()
            .zip(&before[(sample - 1) * lanes..])
        {
            *value += POLE * previous;
        }
    }
    let (before, last) = work.split_at_mut((count - 1) * lanes);
    for (value, &previous) in last[..lanes].iter_mut().zip(&before[(count - 2) * lanes..]) {
        *value = POLE / (POLE * POLE - 1.0) * (*value + POLE * previous);
    }
    for sample in (0..count - 1).rev() {
        let (here, after) = work.split_at_mut((sample + 1) * lanes);
        for (value, &next) in here[sample * lanes..].iter_mut().zip(&after[..lanes]) {
            *value = POLE * (next - *value);
        }
    }
}

/// The weighted sum of as many rows as there are weights.
#[allow(
    clippy::inline_always,
    reason = "inlined into the dispatched closure, or it is compiled for the oldest processor"
)]
#[inline(always)]
fn weighted_sum(rows: &[f32], weights: &[f32], to: &mut [f32]) {
    let lanes = to.len();
    let mut rows = rows.chunks_exact(lanes);
    let groups = weights.chunks_exact(4);
    let rest = groups.remainder();
    let mut begun = false;
    for group in groups {
        let [Some(a), Some(b), Some(c), Some(d)] =
            [rows.next(), rows.next(), rows.next(), rows.next()]
        else {
            unreachable!("there is a row for each weight")
        };
        let [wa, wb, wc, wd] = [group[0], group[1], group[2], group[3]];
        let values = to.iter_mut().zip(a).zip(b).zip(c).zip(d);
        for ((((value, &a), &b), &c), &d) in values {
            let sum = (wa * a + wb * b) + (wc * c + wd * d);
            *value = if begun { *value + sum } else { sum };
        }
        begun = true;
    }
    for (&weight, row) in rest.iter().zip(rows) {
        for (value, &sample) in to.iter_mut().zip(row) {
            *value = if begun {
                *value + weight * sample
            } else {
                weight * sample
            };
        }
        begun = true;
    }
}
