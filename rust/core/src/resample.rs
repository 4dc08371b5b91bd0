//! The two crossings between map files and volumes, resampled on the way: ingest and export.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::chunks::Piece;
use crate::error::same;
use crate::kernel::Kernel;
use crate::region::copy_shared;
use crate::spares::{Spares, fitted};
use crate::stream::{Block, Sink, Source, Stream};
use crate::voxels::VoxelFile;
use crate::{Axes, Region, Result, Survey, Volume, Voxels};

/// Voxels of an exported tile's plane: what one write to the file holds.
const WRITTEN_TOGETHER: usize = 1 << 14;

/// Resample a map file onto `volume`.
///
/// `scale` is input spacing / volume spacing per ZYX axis, 1 for no resampling; `memory` is the budget in bytes.
///
/// # Errors
/// If the file cannot be read to its last voxel, a chunk cannot be written, a scale is not positive, or the volume's
/// first chunk begins before it.
pub fn ingest(
    voxels: &Voxels,
    volume: &Volume,
    scale: [f64; 3],
    pool: &ThreadPool,
    memory: usize,
) -> Result<()> {
    let axes = voxels.axes;
    same(
        "voxels before the first chunk",
        &volume.lattice().lead(),
        &[0; 3],
    )?;
    let stream = Stream {
        source: &voxels.open()?,
        sink: &ChunkSink {
            volume,
            axes,
            turned: Spares::default(),
        },
        kernels: kernels(
            voxels.shape,
            axes.to_file(volume.shape()),
            axes.to_file(scale),
        )?,
        memory,
    };
    stream.run(pool)
}

/// Resample `volume` into a map file of `<f4`, and return the statistics of what was written.
///
/// `scale` is volume spacing / file spacing per ZYX axis. The file exists, at its full length or shorter.
///
/// # Errors
/// If a chunk cannot be read, the file cannot be written, or a scale is not positive.
pub fn export(
    volume: &Volume,
    voxels: &Voxels,
    scale: [f64; 3],
    pool: &ThreadPool,
    memory: usize,
) -> Result<Survey> {
    let axes = voxels.axes;
    let sink = FileSink {
        file: voxels.open_to_write()?,
        layer: volume.chunk(),
        surveys: Mutex::default(),
    };
    let stream = Stream {
        source: &ChunkSource { volume, axes },
        sink: &sink,
        kernels: kernels(
            axes.to_file(volume.shape()),
            voxels.shape,
            axes.to_file(scale),
        )?,
        memory,
    };
    stream.run(pool)?;
    let mut surveys = sink
        .surveys
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    // Summed in the order of the file, not in that of the threads.
    surveys.sort_unstable_by_key(|&(corner, _)| corner);
    Ok(surveys
        .iter()
        .fold(Survey::default(), |sum, (_, part)| sum.and(part)))
}

/// One kernel per file dimension.
fn kernels(source: [usize; 3], target: [usize; 3], scale: [f64; 3]) -> Result<[Kernel; 3]> {
    let along = |axis: usize| Kernel::new(source[axis], target[axis], scale[axis]);
    Ok([along(0)?, along(1)?, along(2)?])
}

impl Source for VoxelFile {
    type Loaded = Block;

    fn stretches(&self, planes: Range<usize>) -> Vec<Range<usize>> {
        vec![planes]
    }

    fn load(&self, block: &Block) -> Result<Block> {
        Ok(block.clone())
    }

    fn loaded_planes(&self) -> usize {
        0
    }

    fn plane(&self, block: &Block, plane: usize, to: &mut [f32]) -> Result<()> {
        self.read_plane(plane, &block.rows, &block.columns, to)
    }
}

/// Tiles into the chunks of a volume.
#[derive(Debug)]
struct ChunkSink<'a> {
    volume: &'a Volume,
    axes: Axes,
    turned: Spares<Vec<f32>>,
}

impl Sink for ChunkSink<'_> {
    fn layer(&self) -> usize {
        self.volume.chunk()
    }

    fn grain(&self) -> usize {
        self.volume.chunk()
    }

    fn tile(&self, _columns: usize) -> [usize; 2] {
        [self.volume.chunk(); 2]
    }

    fn put(&self, block: &Block, voxels: &mut Vec<f32>) -> Result<()> {
        let first = [&block.planes, &block.rows, &block.columns]
            .map(|range| range.start / self.volume.chunk());
        let index = self.axes.to_zyx(first);
        if self.axes.is_zyx() {
            return self.volume.write_chunk(index, voxels);
        }
        self.turned.with(|turned| {
            fitted(turned, voxels.len());
            self.axes.inverse().permute(block.shape(), voxels, turned);
            self.volume.write_chunk(index, turned)
        })
    }
}

/// Planes from the chunks of a volume.
#[derive(Debug)]
struct ChunkSource<'a> {
    volume: &'a Volume,
    axes: Axes,
}

impl Source for ChunkSource<'_> {
    /// Pieces in file order, and the block they are of.
    type Loaded = (Block, Vec<Piece>);

    fn stretches(&self, planes: Range<usize>) -> Vec<Range<usize>> {
        let chunk = self.volume.chunk();
        let lead = self.axes.to_file(self.volume.lattice().lead())[0];
        let begins = |layer: usize| (layer * chunk).saturating_sub(lead);
        ((planes.start + lead) / chunk..(planes.end + lead).div_ceil(chunk))
            .map(|layer| planes.start.max(begins(layer))..planes.end.min(begins(layer + 1)))
            .collect()
    }

    fn load(&self, block: &Block) -> Result<Self::Loaded> {
        let ranges = [&block.planes, &block.rows, &block.columns];
        let start = self.axes.to_zyx(ranges.map(|range| range.start as i64));
        let region = Region::new(start, self.axes.to_zyx(block.shape()));
        let indices: Vec<[usize; 3]> = self.volume.lattice().touching(&region).collect();
        let pieces: Result<Vec<Option<Piece>>> = indices
            .par_iter()
            .map(|&index| {
                Ok(self
                    .volume
                    .piece(index, &region)?
                    .map(|piece| self.turned(piece)))
            })
            .collect();
        Ok((block.clone(), pieces?.into_iter().flatten().collect()))
    }

    fn loaded_planes(&self) -> usize {
        if self.volume.in_memory() && self.axes.is_zyx() {
            0
        } else {
            self.volume.chunk()
        }
    }

    fn plane(&self, (block, pieces): &Self::Loaded, plane: usize, to: &mut [f32]) -> Result<()> {
        let start = [plane, block.rows.start, block.columns.start].map(|n| n as i64);
        let region = Region::new(start, [1, block.rows.len(), block.columns.len()]);
        let shared = pieces
            .iter()
            .filter_map(|piece| piece.region.intersect(&region));
        if shared.map(|part| part.voxels()).sum::<usize>() < to.len() {
            to.fill(0.0);
        }
        for piece in pieces {
            copy_shared(&piece.region, &piece.voxels, &region, to);
        }
        Ok(())
    }
}

impl ChunkSource<'_> {
    /// A piece in file order.
    fn turned(&self, piece: Piece) -> Piece {
        if self.axes.is_zyx() {
            return piece;
        }
        let mut voxels = vec![0.0; piece.voxels.len()];
        self.axes
            .permute(piece.region.shape, &piece.voxels, &mut voxels);
        Piece {
            region: self.axes.region_to_file(&piece.region),
            voxels: Arc::new(voxels),
        }
    }
}

/// Tiles into stretches of a map file.
#[derive(Debug)]
struct FileSink {
    file: VoxelFile,
    layer: usize,
    surveys: Mutex<Vec<([usize; 3], Survey)>>,
}

impl Sink for FileSink {
    fn layer(&self) -> usize {
        self.layer
    }

    fn grain(&self) -> usize {
        self.layer
    }

    fn tile(&self, columns: usize) -> [usize; 2] {
        [(WRITTEN_TOGETHER / columns).max(1), columns]
    }

    fn put(&self, block: &Block, voxels: &mut Vec<f32>) -> Result<()> {
        let size = block.rows.len() * block.columns.len();
        for (plane, part) in block.planes.clone().zip(voxels.chunks_exact(size)) {
            self.file
                .write_plane(plane, &block.rows, &block.columns, part)?;
        }
        let corner = [block.planes.start, block.rows.start, block.columns.start];
        let mut surveys = self.surveys.lock().unwrap_or_else(PoisonError::into_inner);
        surveys.push((corner, Survey::of(voxels)));
        Ok(())
    }
}
