//! A float32 volume in cubic chunks: a Zarr v3 array on disk, or memory. The only user of zarrs.
//!
//! On disk zarrs writes and checks the metadata and names the chunks. The chunks' own bytes are written here: they are
//! the voxels (codec `bytes`, little-endian, nothing else), so a chunk needs no copy, and a part of it is read by its
//! position. zarrs would also call `fsync` for every chunk, which a volume that a killed run throws away does not need.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zarrs::array::{Array, ArrayBuilder, ArrayMetadataOptions, data_type};
use zarrs::filesystem::FilesystemStore;

use crate::chunks::{ChunkFolder, ChunkMemory, Piece};
use crate::region::{Lattice, copy_shared};
use crate::{Error, Region, Result};

#[cfg(target_endian = "big")]
compile_error!("chunks on disk are little-endian, and written as they are in memory");

/// A float32 volume, ZYX, in chunks of one edge. Chunks that were never written are zero.
#[derive(Debug)]
pub struct Volume {
    path: Option<PathBuf>,
    lattice: Lattice,
    spacing: [f64; 3],
    origin: [f64; 3],
    chunks: Chunks,
}

#[derive(Debug)]
enum Chunks {
    Folder(ChunkFolder),
    Memory(ChunkMemory),
}

impl Volume {
    /// Create a volume: at `path`, a folder that it makes, or in memory.
    ///
    /// `spacing` and `origin` are in angstrom, ZYX.
    ///
    /// # Errors
    /// If the metadata cannot be written.
    pub fn create(
        path: Option<&Path>,
        lattice: Lattice,
        spacing: [f64; 3],
        origin: [f64; 3],
    ) -> Result<Self> {
        let chunks = match path {
            None => Chunks::Memory(ChunkMemory::new(lattice)),
            Some(path) => Chunks::Folder(new_folder(path, lattice, spacing, origin)?),
        };
        Ok(Self {
            path: path.map(Path::to_path_buf),
            lattice,
            spacing,
            origin,
            chunks,
        })
    }

    /// Open the volume at `path`.
    ///
    /// # Errors
    /// If there is none, or its metadata are not those of a volume.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("zarr.json").exists() {
            return Err(Error::NotFound {
                path: path.to_path_buf(),
            });
        }
        let array =
            Array::open(store(path)?, "/").map_err(|error| layout(path, error.to_string()))?;
        let metadata = serde_json::to_value(array.metadata())
            .map_err(|error| layout(path, error.to_string()))?;
        check(&metadata).map_err(|reason| layout(path, reason))?;
        let lattice = lattice_of(&metadata)
            .ok_or_else(|| layout(path, "its chunks are not cubes in three axes".into()))??;
        let lengths = |name: &str| triple(&metadata["attributes"][name], Value::as_f64);
        let (Some(spacing), Some(origin)) = (lengths("spacing"), lengths("origin")) else {
            return Err(layout(path, "its attributes lack spacing or origin".into()));
        };
        Ok(Self {
            path: Some(path.to_path_buf()),
            lattice,
            spacing,
            origin,
            chunks: Chunks::Folder(folder(path, array, lattice)),
        })
    }

    /// The folder on disk.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Shape, ZYX voxels.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.lattice.shape()
    }

    /// Edge of a chunk.
    #[must_use]
    pub const fn chunk(&self) -> usize {
        self.lattice.edge()
    }

    /// Angstrom per voxel, ZYX.
    #[must_use]
    pub const fn spacing(&self) -> [f64; 3] {
        self.spacing
    }

    /// Centre of the first voxel in angstrom, ZYX.
    #[must_use]
    pub const fn origin(&self) -> [f64; 3] {
        self.origin
    }

    /// How the volume is cut into chunks.
    #[must_use]
    pub const fn lattice(&self) -> Lattice {
        self.lattice
    }

    /// Whether the chunks are in memory, where reading one takes no more of it.
    #[must_use]
    pub const fn in_memory(&self) -> bool {
        matches!(self.chunks, Chunks::Memory(_))
    }

    /// Read `region`, C order; outside the volume it is zero.
    ///
    /// # Errors
    /// If a chunk cannot be read.
    pub fn read(&self, region: &Region) -> Result<Vec<f32>> {
        let mut voxels = vec![0.0; region.voxels()];
        for index in self.lattice.touching(region) {
            if let Some(piece) = self.piece(index, region)? {
                copy_shared(&piece.region, &piece.voxels, region, &mut voxels);
            }
        }
        Ok(voxels)
    }

    /// At least that part of a chunk which lies in `region`; None where it was never written, or lies outside.
    ///
    /// # Errors
    /// If the chunk cannot be read.
    pub fn piece(&self, index: [usize; 3], region: &Region) -> Result<Option<Piece>> {
        match &self.chunks {
            Chunks::Memory(memory) => Ok(memory.read(index)),
            Chunks::Folder(folder) => folder.read(index, region),
        }
    }

    /// Write a whole chunk, clipped to the volume, C order. Different chunks may be written at the same time.
    ///
    /// A volume in memory may keep the buffer and leave another one, or none, in its place.
    ///
    /// # Errors
    /// If the chunk cannot be written.
    ///
    /// # Panics
    /// If the buffer has not the chunk's number of voxels.
    pub fn write_chunk(&self, index: [usize; 3], voxels: &mut Vec<f32>) -> Result<()> {
        let cell = self.lattice.cell(index);
        assert_eq!(voxels.len(), cell.voxels(), "a chunk is written whole");
        match &self.chunks {
            Chunks::Memory(memory) => {
                memory.write(index, voxels);
                Ok(())
            }
            Chunks::Folder(folder) => folder.write(index, voxels),
        }
    }
}

fn store(path: &Path) -> Result<std::sync::Arc<FilesystemStore>> {
    let store = FilesystemStore::new(path).map_err(|error| layout(path, error.to_string()))?;
    Ok(std::sync::Arc::new(store))
}

fn folder(path: &Path, array: Array<FilesystemStore>, lattice: Lattice) -> ChunkFolder {
    let key = move |index: [usize; 3]| array.chunk_key(&index.map(|i| i as u64)).to_string();
    ChunkFolder::new(path, lattice, Box::new(key))
}

fn new_folder(
    path: &Path,
    lattice: Lattice,
    spacing: [f64; 3],
    origin: [f64; 3],
) -> Result<ChunkFolder> {
    let [shape, lead] = [lattice.shape(), lattice.lead()];
    let stored = [0, 1, 2].map(|axis| (lead[axis] + shape[axis]) as u64);
    let chunk = vec![lattice.edge() as u64; 3];
    let attributes = Map::from_iter([
        ("spacing".into(), json!(spacing)),
        ("origin".into(), json!(origin)),
        ("lead".into(), json!(lead)),
    ]);
    let array = ArrayBuilder::new(stored.to_vec(), chunk, data_type::float32(), 0.0_f32)
        .attributes(attributes)
        .dimension_names(Some(["z", "y", "x"]))
        .build(store(path)?, "/")
        .map_err(|error| layout(path, error.to_string()))?
        .with_metadata_options(ArrayMetadataOptions::default().with_include_zarrs_metadata(false));
    array.store_metadata().map_err(|error| match error {
        zarrs::storage::StorageError::IOError(source) => {
            Error::store(path, crate::error::copied(&source))
        }
        other => layout(path, other.to_string()),
    })?;
    Ok(folder(path, array, lattice))
}

/// Check what chunks rely on: float32 voxels as they are.
fn check(metadata: &Value) -> std::result::Result<(), String> {
    let plain = json!([{"name": "bytes", "configuration": {"endian": "little"}}]);
    for (name, wanted) in [
        ("data_type", json!("float32")),
        ("codecs", plain),
        ("fill_value", json!(0.0)),
    ] {
        if metadata[name] != wanted {
            return Err(format!("its {name} is {}, not {wanted}", metadata[name]));
        }
    }
    Ok(())
}

fn lattice_of(metadata: &Value) -> Option<Result<Lattice>> {
    let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let grid = &metadata["chunk_grid"];
    let chunk = triple(&grid["configuration"]["chunk_shape"], count)?;
    let cubic = grid["name"] == "regular" && chunk.iter().all(|&n| n == chunk[0]);
    let lead = triple(&metadata["attributes"]["lead"], count).unwrap_or_default();
    let stored = triple(&metadata["shape"], count).unwrap_or_default();
    let shape = [0, 1, 2].map(|axis| stored[axis].saturating_sub(lead[axis]));
    cubic.then(|| Lattice::new(shape, chunk[0])?.led_by(lead))
}

fn triple<T>(value: &Value, of: impl Fn(&Value) -> Option<T>) -> Option<[T; 3]> {
    let values: Option<Vec<T>> = value.as_array()?.iter().map(of).collect();
    values?.try_into().ok()
}

fn layout(path: &Path, reason: String) -> Error {
    Error::Layout {
        path: path.to_path_buf(),
        reason,
    }
}
