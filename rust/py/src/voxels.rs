//! `Voxels`, and what one pass over them tells.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use samu_core as core;

use crate::errors::IntoPyResult;
use crate::geometry::Triple;
use crate::pool::pool;

/// Where a map file's voxels lie.
#[pyclass(frozen, eq, hash, module = "samu_batch._rust")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Voxels(pub(crate) core::Voxels);

#[pymethods]
impl Voxels {
    #[new]
    #[pyo3(signature = (path, *, offset, dtype, shape, axes))]
    fn new(path: PathBuf, offset: u64, dtype: &str, shape: Triple, axes: Triple) -> PyResult<Self> {
        let dtype = core::Dtype::parse(dtype).or_raise()?;
        let axes = core::Axes::new(axes.into()).or_raise()?;
        core::Voxels::new(path, offset, dtype, shape.into(), axes)
            .or_raise()
            .map(Self)
    }

    #[getter]
    fn path(&self) -> String {
        self.0.path.display().to_string()
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.dtype.name()
    }

    #[getter]
    fn shape(&self) -> Triple {
        self.0.shape.into()
    }

    #[getter]
    fn axes(&self) -> Triple {
        self.0.axes.get().into()
    }

    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((PathBuf,), Bound<'py, PyDict>)> {
        let keywords = PyDict::new(py);
        keywords.set_item("offset", self.offset())?;
        keywords.set_item("dtype", self.dtype())?;
        keywords.set_item("shape", self.shape())?;
        keywords.set_item("axes", self.axes())?;
        Ok(((self.0.path.clone(),), keywords))
    }

    fn __repr__(&self) -> String {
        format!(
            "Voxels({:?}, offset={}, dtype={:?}, shape={:?}, axes={:?})",
            self.path(),
            self.offset(),
            self.dtype(),
            self.shape(),
            self.axes()
        )
    }
}

/// One pass over every voxel of a map (float64 sums). NaN and infinities are counted, and left out of the rest.
#[pyclass(frozen, get_all, module = "samu_batch._rust")]
#[derive(Clone, Copy)]
pub(crate) struct Survey {
    minimum: f32,
    maximum: f32,
    mean: f64,
    rms: f64,
    nonzero: u64,
    nonfinite: u64,
}

#[pymethods]
impl Survey {
    fn __repr__(&self) -> String {
        let Self {
            minimum,
            maximum,
            mean,
            rms,
            nonzero,
            nonfinite,
        } = self;
        format!(
            "Survey(minimum={minimum}, maximum={maximum}, mean={mean}, rms={rms}, nonzero={nonzero}, nonfinite={nonfinite})"
        )
    }
}

impl From<core::Survey> for Survey {
    fn from(survey: core::Survey) -> Self {
        Self {
            minimum: survey.minimum,
            maximum: survey.maximum,
            mean: survey.mean(),
            rms: survey.rms(),
            nonzero: survey.nonzero,
            nonfinite: survey.nonfinite,
        }
    }
}

/// Survey every voxel of a map.
#[pyfunction]
#[pyo3(signature = (voxels, *, threads))]
pub(crate) fn survey(py: Python<'_>, voxels: &Voxels, threads: usize) -> PyResult<Survey> {
    let pool = pool(threads)?;
    py.detach(|| core::survey(&voxels.0, &pool))
        .or_raise()
        .map(Survey::from)
}

/// Linearly interpolated percentile of the finite non-zero voxels, exact, in bounded memory.
#[pyfunction]
#[pyo3(signature = (voxels, percent, *, threads))]
pub(crate) fn percentile(
    py: Python<'_>,
    voxels: &Voxels,
    percent: f64,
    threads: usize,
) -> PyResult<f64> {
    let pool = pool(threads)?;
    py.detach(|| core::percentile(&voxels.0, percent, &pool))
        .or_raise()
}

/// Number of voxels above a contour level.
#[pyfunction]
#[pyo3(signature = (voxels, level, *, threads))]
pub(crate) fn count_above(
    py: Python<'_>,
    voxels: &Voxels,
    level: f64,
    threads: usize,
) -> PyResult<u64> {
    let pool = pool(threads)?;
    py.detach(|| core::count_above(&voxels.0, level, &pool))
        .or_raise()
}
