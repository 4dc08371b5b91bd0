//! `CubeReader` and `write_cores`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use numpy::{PyArray5, PyArrayMethods, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::ThreadPool;
use samu_core as core;

use crate::errors::IntoPyResult;
use crate::geometry::CubeGrid;
use crate::pool::pool;
use crate::volume::Volume;

/// Batches of cubes that hold any density, in an order that reads each chunk about once.
#[pyclass(frozen, module = "samu_batch._rust")]
pub(crate) struct CubeReader {
    reader: Mutex<core::CubeReader>,
    cube: usize,
    batch: usize,
    pool: Arc<ThreadPool>,
}

type Batch<'py> = (Vec<usize>, Bound<'py, PyArray5<f32>>);

#[pymethods]
impl CubeReader {
    #[new]
    #[pyo3(signature = (volume, grid, *, batch, scale, threads, part = (0, 1)))]
    fn new(
        volume: &Volume,
        grid: &CubeGrid,
        batch: usize,
        scale: Option<f32>,
        threads: usize,
        part: (usize, usize),
    ) -> PyResult<Self> {
        if batch == 0 {
            return Err(PyValueError::new_err("batch is 0, not a positive number"));
        }
        let reader = core::CubeReader::new(Arc::clone(&volume.0), grid.grid, scale)
            .and_then(|reader| reader.part(part.0, part.1))
            .or_raise()?;
        Ok(Self {
            reader: Mutex::new(reader),
            cube: grid.grid.cube(),
            batch,
            pool: pool(threads)?,
        })
    }

    /// All-zero cubes passed over so far.
    #[getter]
    fn skipped(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().skipped())
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Batch<'py>>> {
        let edge = self.cube;
        let most = py.detach(|| self.lock().remaining()).min(self.batch);
        if most == 0 {
            return Ok(None);
        }
        // Not zeros: every cube is written whole.
        let cubes = py
            .import("numpy")?
            .call_method1("empty", ((most, 1, edge, edge, edge), "f4"))?
            .cast_into::<PyArray5<f32>>()?;
        let numbers = {
            let mut cubes = cubes.readwrite();
            let slots = cubes.as_slice_mut()?;
            py.detach(|| self.lock().fill(slots, &self.pool))
                .or_raise()?
        };
        if numbers.is_empty() {
            return Ok(None);
        }
        if numbers.len() == most {
            return Ok(Some((numbers, cubes)));
        }
        let filled = cubes.get_item(pyo3::types::PySlice::new(py, 0, numbers.len() as isize, 1))?;
        Ok(Some((numbers, filled.cast_into()?)))
    }
}

impl CubeReader {
    /// Held only while detached, so that no thread waits for it with the GIL.
    fn lock(&self) -> MutexGuard<'_, core::CubeReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Write the core of each cube as whole chunks.
#[pyfunction]
#[pyo3(signature = (volume, grid, numbers, cubes, *, threads))]
pub(crate) fn write_cores(
    py: Python<'_>,
    volume: &Volume,
    grid: &CubeGrid,
    numbers: Vec<usize>,
    cubes: PyReadonlyArrayDyn<'_, f32>,
    threads: usize,
) -> PyResult<()> {
    let pool = pool(threads)?;
    let cubes = cubes.as_slice()?;
    py.detach(|| core::write_cores(&volume.0, &grid.grid, &numbers, cubes, &pool))
        .or_raise()
}
