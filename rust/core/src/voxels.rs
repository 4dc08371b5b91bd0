//! The voxels of a map file: where they lie, and reading and writing boxes of them by position, never by mapping.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;

use crate::region::Lattice;
use crate::{Axes, Error, Result};

/// How a map file stores a voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dtype {
    kind: Kind,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    I1,
    U1,
    I2,
    U2,
    F2,
    F4,
}

impl Dtype {
    /// Parse a numpy string such as `<f4`, `>i2` or `|u1`.
    ///
    /// # Errors
    /// If maps have no such voxels.
    pub fn parse(name: &str) -> Result<Self> {
        let unknown = || Error::Dtype {
            dtype: name.to_owned(),
        };
        let (order, kind) = name.split_at_checked(1).ok_or_else(unknown)?;
        let kind = match kind {
            "i1" => Kind::I1,
            "u1" => Kind::U1,
            "i2" => Kind::I2,
            "u2" => Kind::U2,
            "f2" => Kind::F2,
            "f4" => Kind::F4,
            _ => return Err(unknown()),
        };
        let big_endian = match order {
            "<" => false,
            ">" => true,
            "|" if matches!(kind, Kind::I1 | Kind::U1) => false,
            _ => return Err(unknown()),
        };
        Ok(Self { kind, big_endian })
    }

    /// The numpy string.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.kind, self.big_endian) {
            (Kind::I1, _) => "|i1",
            (Kind::U1, _) => "|u1",
            (Kind::I2, false) => "<i2",
            (Kind::I2, true) => ">i2",
            (Kind::U2, false) => "<u2",
            (Kind::U2, true) => ">u2",
            (Kind::F2, false) => "<f2",
            (Kind::F2, true) => ">f2",
            (Kind::F4, false) => "<f4",
            (Kind::F4, true) => ">f4",
        }
    }

    /// Bytes of a voxel.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self.kind {
            Kind::I1 | Kind::U1 => 1,
            Kind::I2 | Kind::U2 | Kind::F2 => 2,
            Kind::F4 => 4,
        }
    }

    /// Turn the bytes at the end of `voxels` into voxels, in place.
    ///
    /// A voxel is never shorter than its bytes, so going up from the first one nothing is overwritten before it is read.
    fn decode(self, voxels: &mut [f32]) {
        let (size, count) = (self.size(), voxels.len());
        if size == 4 {
            if self.big_endian {
                for voxel in voxels {
                    *voxel = f32::from_bits(voxel.to_bits().swap_bytes());
                }
            }
            return;
        }
        let first = count * 4 - count * size;
        for number in 0..count {
            let bytes: &[u8] = bytemuck::cast_slice(voxels);
            let at = first + number * size;
            let pair = |at: usize| {
                let pair = [bytes[at], bytes[at + 1]];
                if self.big_endian {
                    u16::from_be_bytes(pair)
                } else {
                    u16::from_le_bytes(pair)
                }
            };
            voxels[number] = match self.kind {
                Kind::I1 => f32::from(bytes[at].cast_signed()),
                Kind::U1 => f32::from(bytes[at]),
                Kind::I2 => f32::from(pair(at).cast_signed()),
                Kind::U2 => f32::from(pair(at)),
                Kind::F2 => f16::from_bits(pair(at)).to_f32(),
                Kind::F4 => unreachable!("decoded above"),
            };
        }
    }
}

/// Where the voxels of a map file lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Voxels {
    /// The file.
    pub path: PathBuf,
    /// Bytes before the first voxel.
    pub offset: u64,
    /// Type of the voxels.
    pub dtype: Dtype,
    /// Sections, rows, columns.
    pub shape: [usize; 3],
    /// The ZYX axis of each file dimension.
    pub axes: Axes,
}

impl Voxels {
    /// Voxels of `shape` (sections, rows, columns) that begin `offset` bytes into the file.
    ///
    /// # Errors
    /// If the shape has no voxels, or more than memory can address.
    pub fn new(
        path: PathBuf,
        offset: u64,
        dtype: Dtype,
        shape: [usize; 3],
        axes: Axes,
    ) -> Result<Self> {
        Lattice::new(shape, 1)?;
        Ok(Self {
            path,
            offset,
            dtype,
            shape,
            axes,
        })
    }

    /// Voxels of the file.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Shape in ZYX order.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.axes.to_zyx(self.shape)
    }

    /// Open the file for reading.
    ///
    /// # Errors
    /// If there is no such file, it cannot be read, or it ends before its last voxel.
    pub fn open(&self) -> Result<VoxelFile> {
        let failed = |source| Error::reading(&self.path, source);
        let file = File::open(&self.path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let needed = self.offset + (self.count() * self.dtype.size()) as u64;
        if length < needed {
            return Err(Error::Truncated {
                path: self.path.clone(),
                needed,
                length,
            });
        }
        Ok(VoxelFile {
            file,
            voxels: self.clone(),
        })
    }

    /// Open the file, which exists, for writing; its voxels must be `<f4`.
    ///
    /// # Errors
    /// If there is no such file, it cannot be written, or holds voxels of another type.
    pub fn open_to_write(&self) -> Result<VoxelFile> {
        if self.dtype != Dtype::parse("<f4")? {
            return Err(Error::Dtype {
                dtype: self.dtype.name().to_owned(),
            });
        }
        let file = File::options()
            .write(true)
            .open(&self.path)
            .map_err(|source| Error::store(&self.path, source))?;
        Ok(VoxelFile {
            file,
            voxels: self.clone(),
        })
    }
}

/// An open map file.
#[derive(Debug)]
pub struct VoxelFile {
    file: File,
    voxels: Voxels,
}

impl VoxelFile {
    /// What the file holds.
    #[must_use]
    pub const fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// Read as many voxels as `to` holds, from voxel `first` on.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    pub fn read(&self, first: usize, to: &mut [f32]) -> Result<()> {
        let size = self.voxels.dtype.size();
        let spare = to.len() * (4 - size);
        let bytes = &mut bytemuck::cast_slice_mut::<f32, u8>(to)[spare..];
        self.file
            .read_exact_at(bytes, self.voxels.offset + (first * size) as u64)
            .map_err(|source| Error::reading(self.path(), source))?;
        self.voxels.dtype.decode(to);
        Ok(())
    }

    /// Read `rows` by `columns` of section `section` into `to`, C order.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_plane(
        &self,
        section: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
        to: &mut [f32],
    ) -> Result<()> {
        let to = &mut to[..rows.len() * columns.len()];
        self.runs(section, rows, columns, |first, part| {
            self.read(first, &mut to[part])
        })
    }

    /// Write `from`, C order, as `rows` by `columns` of section `section`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_plane(
        &self,
        section: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
        from: &[f32],
    ) -> Result<()> {
        self.runs(section, rows, columns, |first, part| {
            let bytes = bytemuck::cast_slice(&from[part]);
            self.file
                .write_all_at(bytes, self.voxels.offset + first as u64 * 4)
                .map_err(|source| Error::store(self.path(), source))
        })
    }

    /// Call `run(first voxel in the file, range in the buffer)` for each stretch that is contiguous in the file.
    fn runs(
        &self,
        section: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
        mut run: impl FnMut(usize, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let [_, height, width] = self.voxels.shape;
        let first = |row| (section * height + row) * width + columns.start;
        if columns.len() == width {
            return run(first(rows.start), 0..rows.len() * width);
        }
        for (number, row) in rows.clone().enumerate() {
            run(
                first(row),
                number * columns.len()..(number + 1) * columns.len(),
            )?;
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.voxels.path
    }
}
