//! `Region`, `Cube` and `CubeGrid`.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice};
use samu_core as core;

use crate::errors::IntoPyResult;

pub(crate) type Triple = (usize, usize, usize);
pub(crate) type Triplef = (f64, f64, f64);
type Place = (i64, i64, i64);

/// Half-open box of voxels, ZYX. `start` may be negative: a cube's halo reaches outside the map.
#[pyclass(frozen, eq, hash, module = "samu_batch._rust")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Region(pub(crate) core::Region);

#[pymethods]
impl Region {
    #[new]
    fn new(start: Place, shape: Triple) -> Self {
        Self(core::Region::new(start.into(), shape.into()))
    }

    #[getter]
    fn start(&self) -> Place {
        self.0.start.into()
    }

    #[getter]
    fn shape(&self) -> Triple {
        self.0.shape.into()
    }

    #[getter]
    fn stop(&self) -> Place {
        self.0.stop().into()
    }

    #[getter]
    fn slices<'py>(
        &self,
        py: Python<'py>,
    ) -> (
        Bound<'py, PySlice>,
        Bound<'py, PySlice>,
        Bound<'py, PySlice>,
    ) {
        let stop = self.0.stop();
        let slice =
            |axis: usize| PySlice::new(py, self.0.start[axis] as isize, stop[axis] as isize, 1);
        (slice(0), slice(1), slice(2))
    }

    fn __getnewargs__(&self) -> (Place, Triple) {
        (self.start(), self.shape())
    }

    fn __repr__(&self) -> String {
        format!("Region(start={:?}, shape={:?})", self.start(), self.shape())
    }
}

/// What one cube reads and writes.
#[pyclass(frozen, eq, hash, module = "samu_batch._rust")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cube(core::Cube);

#[pymethods]
impl Cube {
    #[getter]
    fn index(&self) -> Triple {
        self.0.index.into()
    }

    #[getter]
    fn read(&self) -> Region {
        Region(self.0.read)
    }

    #[getter]
    fn write(&self) -> Region {
        Region(self.0.write)
    }

    fn __repr__(&self) -> String {
        let [read, write] = [self.read(), self.write()].map(|region| region.__repr__());
        format!("Cube(index={:?}, read={read}, write={write})", self.index())
    }
}

/// Cubes `core` voxels apart. Without `padding` the paper's lattice: core i covers `[core*i, core*(i+1))` clipped to the
/// volume, its cube reads `halo` voxels more on every side. With it as few cubes, centred, as read `padding` voxels beyond
/// either end.
#[pyclass(frozen, eq, hash, module = "samu_batch._rust")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CubeGrid {
    pub(crate) grid: core::CubeGrid,
    padding: Option<usize>,
}

#[pymethods]
impl CubeGrid {
    #[new]
    #[pyo3(signature = (shape, *, cube, core, padding = None))]
    fn new(shape: Triple, cube: usize, core: usize, padding: Option<usize>) -> PyResult<Self> {
        let grid = core::CubeGrid::new(shape.into(), cube, core, padding).or_raise()?;
        Ok(Self { grid, padding })
    }

    #[getter]
    fn shape(&self) -> Triple {
        self.grid.shape().into()
    }

    #[getter]
    fn cube(&self) -> usize {
        self.grid.cube()
    }

    #[getter]
    fn core(&self) -> usize {
        self.grid.core()
    }

    #[getter]
    fn padding(&self) -> Option<usize> {
        self.padding
    }

    #[getter]
    fn lead(&self) -> Triple {
        self.grid.chunks().lead().into()
    }

    #[getter]
    fn halo(&self) -> usize {
        self.grid.halo()
    }

    #[getter]
    fn counts(&self) -> Triple {
        self.grid.counts().into()
    }

    fn __len__(&self) -> usize {
        self.grid.cubes()
    }

    fn __getitem__(&self, number: isize) -> PyResult<Cube> {
        let counted = if number < 0 {
            number + self.grid.cubes() as isize
        } else {
            number
        };
        usize::try_from(counted)
            .ok()
            .and_then(|number| self.grid.get(number))
            .map(Cube)
            .ok_or_else(|| PyIndexError::new_err(format!("cube {number} of {}", self.grid.cubes())))
    }

    fn __iter__(&self) -> Cubes {
        Cubes {
            grid: self.grid,
            next: 0,
        }
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((Triple,), Bound<'py, PyDict>)> {
        let keywords = PyDict::new(py);
        keywords.set_item("cube", self.cube())?;
        keywords.set_item("core", self.core())?;
        keywords.set_item("padding", self.padding)?;
        Ok(((self.shape(),), keywords))
    }

    fn __repr__(&self) -> String {
        let padding = self
            .padding
            .map_or_else(String::new, |padding| format!(", padding={padding}"));
        format!(
            "CubeGrid({:?}, cube={}, core={}{padding})",
            self.shape(),
            self.cube(),
            self.core()
        )
    }
}

/// The cubes of a grid, one after the other.
#[pyclass(module = "samu_batch._rust")]
struct Cubes {
    grid: core::CubeGrid,
    next: usize,
}

#[pymethods]
impl Cubes {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self) -> Option<Cube> {
        let cube = self.grid.get(self.next)?;
        self.next += 1;
        Some(Cube(cube))
    }
}
