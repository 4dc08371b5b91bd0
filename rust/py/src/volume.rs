//! `Volume`, and its two crossings with map files.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::ndarray::Array3;
use numpy::{IntoPyArray, PyArray3};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use samu_core as core;

use crate::errors::IntoPyResult;
use crate::geometry::{Region, Triple, Triplef};
use crate::pool::pool;
use crate::voxels::{Survey, Voxels};

/// float32 volume in Zarr v3 chunks of `chunk`^3, which begin `lead` voxels before it, on disk or in memory.
/// Pickles as its path.
#[pyclass(frozen, module = "samu_batch._rust")]
pub(crate) struct Volume(pub(crate) Arc<core::Volume>);

#[pymethods]
impl Volume {
    /// Create a volume at `path`, or in memory.
    #[staticmethod]
    #[pyo3(signature = (path, *, shape, chunk, spacing, origin, lead = (0, 0, 0)))]
    fn create(
        py: Python<'_>,
        path: Option<PathBuf>,
        shape: Triple,
        chunk: usize,
        spacing: Triplef,
        origin: Triplef,
        lead: Triple,
    ) -> PyResult<Self> {
        let created = || {
            let lattice = core::Lattice::new(shape.into(), chunk)?.led_by(lead.into())?;
            core::Volume::create(path.as_deref(), lattice, spacing.into(), origin.into())
        };
        Ok(Self(Arc::new(py.detach(created).or_raise()?)))
    }

    /// Open the volume at `path`.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self(Arc::new(
            py.detach(|| core::Volume::open(&path)).or_raise()?,
        )))
    }

    #[getter]
    fn path(&self) -> Option<String> {
        self.0.path().map(|path| path.display().to_string())
    }

    #[getter]
    fn shape(&self) -> Triple {
        self.0.shape().into()
    }

    #[getter]
    fn chunk(&self) -> usize {
        self.0.chunk()
    }

    #[getter]
    fn lead(&self) -> Triple {
        self.0.lattice().lead().into()
    }

    #[getter]
    fn spacing(&self) -> Triplef {
        self.0.spacing().into()
    }

    #[getter]
    fn origin(&self) -> Triplef {
        self.0.origin().into()
    }

    /// Read a region, or everything; outside the volume it is zero.
    #[pyo3(signature = (region = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        region: Option<&Region>,
    ) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let region = region.map_or_else(|| core::Region::whole(self.0.shape()), |region| region.0);
        let voxels = py.detach(|| self.0.read(&region)).or_raise()?;
        let array = Array3::from_shape_vec(region.shape, voxels);
        Ok(array
            .map_err(|error| PyTypeError::new_err(error.to_string()))?
            .into_pyarray(py))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let path = self.path().ok_or_else(|| {
            PyTypeError::new_err(
                "cannot pickle a volume in memory: it has no path to open elsewhere",
            )
        })?;
        Ok((py.get_type::<Self>().getattr("open")?, (path,)))
    }

    fn __repr__(&self) -> String {
        let place = self
            .path()
            .map_or_else(|| "in memory".to_owned(), |path| format!("at {path:?}"));
        format!(
            "<Volume {place}: shape={:?}, chunk={}, spacing={:?}, origin={:?}>",
            self.shape(),
            self.chunk(),
            self.spacing(),
            self.origin()
        )
    }
}

/// Resample a map file onto `volume`.
#[pyfunction]
#[pyo3(signature = (voxels, volume, *, scale, threads, memory))]
pub(crate) fn ingest(
    py: Python<'_>,
    voxels: &Voxels,
    volume: &Volume,
    scale: Triplef,
    threads: usize,
    memory: usize,
) -> PyResult<()> {
    let pool = pool(threads)?;
    py.detach(|| core::ingest(&voxels.0, &volume.0, scale.into(), &pool, memory))
        .or_raise()
}

/// Resample `volume` into the `<f4` file `voxels`, and return the statistics of what was written.
#[pyfunction]
#[pyo3(signature = (volume, voxels, *, scale, threads, memory))]
pub(crate) fn export(
    py: Python<'_>,
    volume: &Volume,
    voxels: &Voxels,
    scale: Triplef,
    threads: usize,
    memory: usize,
) -> PyResult<Survey> {
    let pool = pool(threads)?;
    let survey = py.detach(|| core::export(&volume.0, &voxels.0, scale.into(), &pool, memory));
    survey.or_raise().map(Survey::from)
}
