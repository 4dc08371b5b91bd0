//! The bytes of chunks: files of a Zarr array, or memory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::region::{Lattice, copy_shared};
use crate::spares::{Spares, sized};
use crate::{Error, Region, Result};

/// Voxels of a chunk, and where they lie in the volume.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What of the volume the voxels are, ZYX.
    pub region: Region,
    /// The voxels, C order.
    pub voxels: Arc<Vec<f32>>,
}

/// Chunks in memory, clipped to the volume.
#[derive(Debug)]
pub(crate) struct ChunkMemory {
    lattice: Lattice,
    chunks: Vec<Mutex<Option<Arc<Vec<f32>>>>>,
}

impl ChunkMemory {
    pub(crate) fn new(lattice: Lattice) -> Self {
        let chunks = (0..lattice.cells()).map(|_| Mutex::default()).collect();
        Self { lattice, chunks }
    }

    pub(crate) fn read(&self, index: [usize; 3]) -> Option<Piece> {
        let voxels = self.slot(index).clone()?;
        let region = self.lattice.cell(index);
        Some(Piece { region, voxels })
    }

    pub(crate) fn write(&self, index: [usize; 3], voxels: &mut Vec<f32>) {
        let written = (!is_zero(voxels)).then(|| {
            voxels.shrink_to_fit();
            Arc::new(std::mem::take(voxels))
        });
        let before = std::mem::replace(&mut *self.slot(index), written);
        if let Some(buffer) = before.and_then(Arc::into_inner) {
            *voxels = buffer;
        }
    }

    fn slot(&self, index: [usize; 3]) -> MutexGuard<'_, Option<Arc<Vec<f32>>>> {
        let slot = &self.chunks[self.lattice.number(index)];
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks in files, whole: beyond the volume they are zero.
pub(crate) struct ChunkFolder {
    path: PathBuf,
    lattice: Lattice,
    key: Box<dyn Fn([usize; 3]) -> String + Send + Sync>,
    spares: Spares<Vec<f32>>,
}

impl std::fmt::Debug for ChunkFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkFolder")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ChunkFolder {
    pub(crate) fn new(
        path: &Path,
        lattice: Lattice,
        key: Box<dyn Fn([usize; 3]) -> String + Send + Sync>,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            lattice,
            key,
            spares: Spares::default(),
        }
    }

    /// Read the sections of a chunk that `region` touches, and cut them to it.
    pub(crate) fn read(&self, index: [usize; 3], region: &Region) -> Result<Option<Piece>> {
        let cell = self.lattice.cell(index);
        let Some(part) = cell.intersect(region) else {
            return Ok(None);
        };
        let path = self.file(index);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| Error::store(&path, source))?,
        };
        let edge = self.lattice.edge();
        let [section, row, column] = self.lattice.whole_cell(index).start;
        let first = (part.start[0] - section) as usize * edge * edge * 4;
        let stored = Region::new([part.start[0], row, column], [part.shape[0], edge, edge]);
        let read = |voxels: &mut [f32]| {
            file.read_exact_at(bytemuck::cast_slice_mut(voxels), first as u64)
                .map_err(|source| Error::store(&path, source))
        };
        let mut voxels = vec![0.0; part.voxels()];
        if stored == part {
            read(&mut voxels)?;
        } else {
            self.spares.with(|buffer| {
                let whole = sized(buffer, stored.voxels());
                read(whole)?;
                copy_shared(&stored, whole, &part, &mut voxels);
                Ok(())
            })?;
        }
        Ok(Some(Piece {
            region: part,
            voxels: Arc::new(voxels),
        }))
    }

    /// Write a chunk whole. One of zeros is no file.
    pub(crate) fn write(&self, index: [usize; 3], voxels: &[f32]) -> Result<()> {
        let path = self.file(index);
        let written = if is_zero(voxels) {
            remove(&path)
        } else {
            let cell = self.lattice.cell(index);
            let whole = self.lattice.whole_cell(index);
            if cell == whole {
                write(&path, voxels)
            } else {
                let mut padded = vec![0.0; whole.voxels()];
                copy_shared(&cell, voxels, &whole, &mut padded);
                write(&path, &padded)
            }
        };
        written.map_err(|source| Error::store(&path, source))
    }

    fn file(&self, index: [usize; 3]) -> PathBuf {
        self.path.join((self.key)(index))
    }
}

/// Whether every voxel is +0, what an absent chunk reads as.
fn is_zero(voxels: &[f32]) -> bool {
    voxels.iter().all(|voxel| voxel.to_bits() == 0)
}

fn write(path: &Path, voxels: &[f32]) -> io::Result<()> {
    let mut file = match File::create(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            File::create(path)?
        }
        opened => opened?,
    };
    file.write_all(bytemuck::cast_slice(voxels))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
