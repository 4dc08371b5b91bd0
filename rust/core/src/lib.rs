//! The numerics of samu-batch: where cubes lie, how a map is resampled, and the chunks that hold it.
//!
//! Coordinates are ZYX voxels, lengths angstrom, buffers C order. Nothing here knows of Python, GPUs or EMDB.

#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "what is not inlined into a call dispatched by pulp is compiled for the oldest processor"
)]

mod axes;
mod chunks;
mod cubes;
mod error;
mod grid;
mod kernel;
mod lanes;
mod percentile;
mod plane;
mod region;
mod resample;
mod spares;
mod stream;
mod survey;
mod volume;
mod voxels;

pub use axes::Axes;
pub use chunks::Piece;
pub use cubes::{CubeReader, write_cores};
pub use error::{Error, Result};
pub use grid::{Cube, CubeGrid};
pub use percentile::percentile;
pub use region::{Lattice, Region, copy_shared};
pub use resample::{export, ingest};
pub use survey::{Survey, count_above, survey};
pub use volume::Volume;
pub use voxels::{Dtype, VoxelFile, Voxels};
