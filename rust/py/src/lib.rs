//! Python's view of samu-core: the module `samu_batch._rust`. Functions here borrow, release the GIL, call, and return.

#![allow(
    clippy::needless_pass_by_value,
    reason = "what Python passes arrives by value"
)]

mod cubes;
mod errors;
mod geometry;
mod pool;
mod volume;
mod voxels;

use pyo3::prelude::*;

/// Compiled core of samu-batch. Coordinates are ZYX voxels, lengths angstrom, arrays C-ordered float32.
#[pymodule(gil_used = false)]
mod _rust {
    #[pymodule_export]
    use super::cubes::{CubeReader, write_cores};
    #[pymodule_export]
    use super::geometry::{Cube, CubeGrid, Region};
    #[pymodule_export]
    use super::volume::{Volume, export, ingest};
    #[pymodule_export]
    use super::voxels::{Survey, Voxels, count_above, percentile, survey};
}

/// Volumes are much memory touched once: mimalloc asks for huge pages, and a page fault costs more than its voxels.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
