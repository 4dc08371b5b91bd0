//! How one axis is resampled: which source samples make an output sample, and with which weights.
//!
//! Output sample j lies at source coordinate j / scale, so the first samples of both grids coincide. By the scale
//! (source spacing / target spacing) an axis is
//!
//! - copied (1),
//! - interpolated by a cubic B-spline (above 1: the target is finer), or
//! - low-passed by Lanczos-3 stretched to the target's spacing (below 1: nothing may alias).
//!
//! Signals continue beyond their ends by whole-sample mirror (..., 2, 1, 0, 1, 2, ...), the prefilter's too, as
//! scipy's `mirror`. Output samples more than half a source voxel beyond the last source sample are outside the box: zero.

use std::f64::consts::PI;
use std::ops::Range;

use crate::{Error, Result};

/// Source samples beyond those that are weighted, so that the spline's prefilter has settled where it matters: its
/// pole's power of 16 is 7e-10.
const SETTLING: usize = 13;

/// Lobes of the Lanczos kernel on each side.
const LOBES: f64 = 3.0;

/// The gain of the cubic spline's prefilter, which the weights carry.
const SPLINE_GAIN: f64 = 6.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Copy,
    Spline,
    Weights,
}

/// The resampling of one axis.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    kind: Kind,
    source: usize,
    taps: usize,
    /// First source sample of each output sample.
    first: Vec<usize>,
    /// `taps` weights for each output sample.
    weights: Vec<f32>,
}

impl Kernel {
    /// Resample `source` samples to `target` samples at `scale` times the density.
    #[allow(
        clippy::float_cmp,
        reason = "only a scale of exactly 1 moves no sample"
    )]
    pub(crate) fn new(source: usize, target: usize, scale: f64) -> Result<Self> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::Range {
                what: "scale",
                value: scale,
                range: "a positive number",
            });
        }
        let (kind, wanted) = if scale == 1.0 {
            (
                if source == target {
                    Kind::Copy
                } else {
                    Kind::Weights
                },
                1,
            )
        } else if scale > 1.0 && source > 1 {
            (Kind::Spline, 4)
        } else if scale > 1.0 {
            (Kind::Weights, 1)
        } else {
            (Kind::Weights, 2 * (LOBES / scale).ceil() as usize)
        };
        let mut kernel = Self {
            kind,
            source,
            taps: wanted.min(source),
            first: Vec::with_capacity(target),
            weights: vec![0.0; target * wanted.min(source)],
        };
        for output in 0..target {
            kernel.push(output, scale, wanted);
        }
        Ok(kernel)
    }

    /// Add the weights of the next output sample.
    ///
    /// Weights of mirrored samples are added to those of the samples they mirror, so nothing is mirrored later on.
    fn push(&mut self, output: usize, scale: f64, wanted: usize) {
        let position = output as f64 / scale;
        let near = position.floor();
        let start = near as i64 - (wanted as i64 / 2 - 1).max(0);
        let first = start.clamp(0, (self.source - self.taps) as i64);
        self.first.push(first as usize);
        if position > (self.source - 1) as f64 + 0.5 {
            return;
        }
        let weights = match (wanted, self.kind) {
            (1, _) => vec![1.0],
            (_, Kind::Spline) => spline_weights(position - near).to_vec(),
            _ => lanczos_weights(position - start as f64, scale, wanted),
        };
        let mut folded = vec![0.0; self.taps];
        for (sample, weight) in (start..).zip(weights) {
            folded[mirrored(sample, self.source) - first as usize] += weight;
        }
        let at = output * self.taps;
        for (to, weight) in self.weights[at..at + self.taps].iter_mut().zip(folded) {
            *to = weight as f32;
        }
    }

    /// Whether the axis is copied, bit for bit.
    pub(crate) fn is_copy(&self) -> bool {
        self.kind == Kind::Copy
    }

    /// Whether the weights are those of a spline's coefficients.
    pub(crate) fn is_spline(&self) -> bool {
        self.kind == Kind::Spline
    }

    /// Output samples.
    pub(crate) fn target(&self) -> usize {
        self.first.len()
    }

    /// First source sample and weights of an output sample.
    pub(crate) fn taps(&self, output: usize) -> (usize, &[f32]) {
        let at = output * self.taps;
        (self.first[output], &self.weights[at..at + self.taps])
    }

    /// Source samples that some output samples need, the settling of the prefilter included.
    pub(crate) fn needs(&self, outputs: &Range<usize>) -> Range<usize> {
        let settling = if self.is_spline() { SETTLING } else { 0 };
        let first = self.first[outputs.start].saturating_sub(settling);
        let end = self.first[outputs.end - 1] + self.taps + settling;
        first..end.min(self.source)
    }
}

/// Weights of the four coefficients around a position `t` past the second of them, the prefilter's gain included.
fn spline_weights(t: f64) -> [f64; 4] {
    let u = 1.0 - t;
    [
        u * u * u / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * u * u + 3.0 * u * u * u) / 6.0,
        t * t * t / 6.0,
    ]
    .map(|weight| weight * SPLINE_GAIN)
}

/// Weights of samples 0, 1, ... for a position among them: Lanczos-3 of the target's spacing, with sum 1.
fn lanczos_weights(position: f64, scale: f64, taps: usize) -> Vec<f64> {
    let weights: Vec<f64> = (0..taps)
        .map(|sample| lanczos((position - sample as f64) * scale))
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn lanczos(x: f64) -> f64 {
    if x.abs() >= LOBES {
        0.0
    } else {
        sinc(x) * sinc(x / LOBES)
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The sample that a position of the whole-sample mirrored signal shows.
pub(crate) fn mirrored(sample: i64, count: usize) -> usize {
    let period = (2 * (count as i64 - 1)).max(1);
    let within = sample.rem_euclid(period);
    within.min(period - within) as usize
}
