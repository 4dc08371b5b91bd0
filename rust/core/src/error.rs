//! What can go wrong, with the numbers that say why.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The map file does not exist.
    #[error("no such file: {}", .path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The map file exists but cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The map file ends before its last voxel.
    #[error("{} has {length} bytes, its voxels end at {needed}", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the file must have.
        needed: u64,
        /// Bytes that it has.
        length: u64,
    },
    /// No voxel differs from zero.
    #[error("every voxel of {} is zero", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing a volume, or writing a map, failed.
    #[error("{}: {source}", .path.display())]
    Store {
        /// The file or the folder of the store.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The store is not a volume of this crate's layout.
    #[error("{} is not a volume: {reason}", .path.display())]
    Layout {
        /// The folder of the store.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// A cube and a core that fit no lattice.
    #[error("a cube of {cube} voxels has no core of {core} voxels at its centre")]
    Grid {
        /// Edge of the cube.
        cube: usize,
        /// Edge of the core.
        core: usize,
    },
    /// Padding that is more than a halo.
    #[error("a padding of {padding} voxels is more than the halo of {halo}")]
    Padding {
        /// Voxels beyond the ends of a volume.
        padding: usize,
        /// Voxels around a core.
        halo: usize,
    },
    /// A shape without voxels, or with more than memory can address.
    #[error("shape {shape:?} has no voxels or too many")]
    Shape {
        /// The shape, in the order in which it was given.
        shape: [usize; 3],
    },
    /// Two shapes, or lengths, that should agree.
    #[error("{what}: got {got:?}, expected {expected:?}")]
    Mismatch {
        /// What the numbers are.
        what: &'static str,
        /// The numbers given.
        got: Vec<usize>,
        /// The numbers needed.
        expected: Vec<usize>,
    },
    /// Axes that are no permutation of 0, 1 and 2.
    #[error("axes {axes:?} are no permutation of 0, 1 and 2")]
    Axes {
        /// The axes.
        axes: [usize; 3],
    },
    /// A voxel type that maps do not have.
    #[error("unknown voxel type {dtype:?}")]
    Dtype {
        /// The type's name.
        dtype: String,
    },
    /// A number outside its range.
    #[error("{what} is {value}, not {range}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
}

impl Error {
    /// An error of reading a map file.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Unreadable { path, source },
        }
    }

    /// An error of reading or writing a store.
    pub(crate) fn store(path: &Path, source: io::Error) -> Self {
        Self::Store {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// An error with the same number, or text, as one that cannot be taken out of where it is.
pub(crate) fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// Refuse numbers that are not the expected ones.
pub(crate) fn same(what: &'static str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Mismatch {
        what,
        got: got.to_vec(),
        expected: expected.to_vec(),
    })
}
