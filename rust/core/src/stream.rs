//! One volume resampled into another in bounded memory, plane by plane along the map file's slowest axis.
//!
//! Everything here is in file order. The plane is cut into pencils that fit the budget. Through each pencil a window of
//! source planes moves, each already resampled within its plane; a layer of output planes is made from the window,
//! tile by tile, and leaves as whole chunks or as stretches of the file.

use std::collections::VecDeque;
use std::ops::Range;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::Result;
use crate::kernel::Kernel;
use crate::lanes::{Lines, MAX_LANES};
use crate::plane::{PlaneKernels, PlaneSpace};
use crate::spares::{Spares, fitted, sized};

/// Planes, rows and columns of a volume, in file order.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) planes: Range<usize>,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Block {
    pub(crate) fn shape(&self) -> [usize; 3] {
        [self.planes.len(), self.rows.len(), self.columns.len()]
    }
}

/// Where planes come from.
pub(crate) trait Source: Sync {
    /// What a block holds while its planes are read.
    type Loaded: Sync;

    /// Stretches of planes that are best loaded together.
    fn stretches(&self, planes: Range<usize>) -> Vec<Range<usize>>;

    /// Bring a block at hand.
    fn load(&self, block: &Block) -> Result<Self::Loaded>;

    /// Voxels that a loaded stretch keeps in memory, for each voxel of a plane.
    fn loaded_planes(&self) -> usize;

    /// Read a plane of a loaded block.
    fn plane(&self, loaded: &Self::Loaded, plane: usize, to: &mut [f32]) -> Result<()>;
}

/// Where blocks go.
pub(crate) trait Sink: Sync {
    /// Output planes of a layer.
    fn layer(&self) -> usize;

    /// Rows and columns in whole multiples of which a pencil may be cut.
    fn grain(&self) -> usize;

    /// Rows and columns of the tiles that a pencil is cut into.
    fn tile(&self, columns: usize) -> [usize; 2];

    /// Take a tile. The buffer may be kept, and another left.
    fn put(&self, block: &Block, voxels: &mut Vec<f32>) -> Result<()>;
}

/// Planes of the pencil, the first of them being source plane `first`.
#[derive(Debug, Default)]
struct Window {
    first: usize,
    planes: VecDeque<Vec<f32>>,
    free: Vec<Vec<f32>>,
}

impl Window {
    fn end(&self) -> usize {
        self.first + self.planes.len()
    }

    fn drop_before(&mut self, plane: usize) {
        while self.first < plane {
            self.free.extend(self.planes.pop_front());
            self.first += 1;
        }
    }
}

/// A resampling on its way.
#[derive(Debug)]
pub(crate) struct Stream<'a, S, T> {
    pub(crate) source: &'a S,
    pub(crate) sink: &'a T,
    /// Along planes, rows and columns.
    pub(crate) kernels: [Kernel; 3],
    /// Bytes.
    pub(crate) memory: usize,
}

impl<S: Source, T: Sink> Stream<'_, S, T> {
    pub(crate) fn run(&self, pool: &ThreadPool) -> Result<()> {
        let [_, rows, columns] = self.kernels.each_ref().map(Kernel::target);
        let [height, width] = self.pencil(pool.current_num_threads());
        for row in (0..rows).step_by(height) {
            for column in (0..columns).step_by(width) {
                let target = [
                    row..rows.min(row + height),
                    column..columns.min(column + width),
                ];
                let kernels = self.in_plane(target);
                pool.install(|| self.through(&kernels))?;
            }
        }
        Ok(())
    }

    /// Rows and columns of the pencils: whole rows of the file for as long as they fit.
    fn pencil(&self, threads: usize) -> [usize; 2] {
        let grain = self.sink.grain();
        let halved = |n: usize| n.div_ceil(2).next_multiple_of(grain);
        let [_, mut rows, mut columns] = self.kernels.each_ref().map(Kernel::target);
        while self.bytes(rows, columns, threads) > self.memory {
            if rows > 4 * grain || (rows > grain && columns <= 4 * grain) {
                rows = halved(rows);
            } else if columns > grain {
                columns = halved(columns);
            } else {
                break;
            }
        }
        [rows, columns]
    }

    /// Memory that a pencil takes.
    fn bytes(&self, rows: usize, columns: usize, threads: usize) -> usize {
        let kernels = self.in_plane([0..rows, 0..columns]);
        let [source, target] = kernels.sizes();
        let [tile_rows, tile_columns] = self.sink.tile(columns);
        let layer = self.sink.layer().min(self.kernels[0].target());
        let window = self
            .layers()
            .map(|outputs| self.kernels[0].needs(&outputs).len())
            .max()
            .unwrap_or(0);
        let of_thread = 2 * source + 2 * layer * tile_rows * tile_columns.min(columns);
        4 * (window * target + self.source.loaded_planes() * source + threads * of_thread)
    }

    fn layers(&self) -> impl Iterator<Item = Range<usize>> {
        let (planes, layer) = (self.kernels[0].target(), self.sink.layer());
        (0..planes)
            .step_by(layer)
            .map(move |first| first..planes.min(first + layer))
    }

    fn through(&self, kernels: &PlaneKernels<'_>) -> Result<()> {
        let mut window = Window::default();
        let spaces = Spares::default();
        let tiles = Spares::default();
        for outputs in self.layers() {
            let needs = self.kernels[0].needs(&outputs);
            window.drop_before(needs.start);
            for planes in self.source.stretches(window.end()..needs.end) {
                self.advance(&mut window, planes, kernels, &spaces)?;
            }
            self.layer(&window, &outputs, kernels, &tiles)?;
        }
        Ok(())
    }

    /// Add source planes to the window.
    fn advance(
        &self,
        window: &mut Window,
        planes: Range<usize>,
        kernels: &PlaneKernels<'_>,
        spaces: &Spares<PlaneSpace>,
    ) -> Result<()> {
        let [_, size] = kernels.sizes();
        let [rows, columns] = kernels.source.clone();
        let loaded = self.source.load(&Block {
            planes: planes.clone(),
            rows,
            columns,
        })?;
        let mut fresh: Vec<(usize, Vec<f32>)> = planes
            .map(|plane| (plane, window.free.pop().unwrap_or_default()))
            .collect();
        fresh.par_iter_mut().try_for_each(|(plane, to)| {
            let read = |voxels: &mut [f32]| self.source.plane(&loaded, *plane, voxels);
            spaces.with(|space| kernels.resample(space, sized(to, size), read))
        })?;
        window
            .planes
            .extend(fresh.into_iter().map(|(_, plane)| plane));
        Ok(())
    }

    /// Make output planes from the window, tile by tile.
    fn layer(
        &self,
        window: &Window,
        outputs: &Range<usize>,
        kernels: &PlaneKernels<'_>,
        spaces: &Spares<(Vec<f32>, Vec<f32>)>,
    ) -> Result<()> {
        let [rows, columns] = &kernels.target;
        let [height, width] = self.sink.tile(columns.len());
        let down = rows.len().div_ceil(height);
        let across = columns.len().div_ceil(width);
        (0..down * across).into_par_iter().try_for_each(|tile| {
            let (row, column) = (
                rows.start + tile / across * height,
                columns.start + tile % across * width,
            );
            let block = Block {
                planes: outputs.clone(),
                rows: row..rows.end.min(row + height),
                columns: column..columns.end.min(column + width),
            };
            spaces.with(|(voxels, work)| {
                fitted(voxels, block.shape().iter().product());
                self.tile(window, kernels, &block, voxels, work);
                self.sink.put(&block, voxels)
            })
        })
    }

    /// The resampling within the planes of a pencil. Planes that are resampled are stored in strips as wide as a tile, so
    /// that a tile is contiguous in each.
    fn in_plane(&self, target: [Range<usize>; 2]) -> PlaneKernels<'_> {
        let width = target[1].len();
        let strip = if self.kernels[0].is_copy() {
            width
        } else {
            self.sink.tile(width)[1]
        };
        PlaneKernels::new([&self.kernels[1], &self.kernels[2]], target, strip)
    }

    /// Resample a tile along the planes' axis.
    fn tile(
        &self,
        window: &Window,
        kernels: &PlaneKernels<'_>,
        block: &Block,
        voxels: &mut [f32],
        work: &mut Vec<f32>,
    ) {
        let row = block.rows.start - kernels.target[0].start;
        let column = block.columns.start - kernels.target[1].start;
        let needs = self.kernels[0].needs(&block.planes);
        let [_, height, width] = block.shape();
        let size = height * width;
        if self.kernels[0].is_copy() {
            let plane_width = kernels.target[1].len();
            let planes = window
                .planes
                .range(needs.start - window.first..needs.end - window.first);
            for (plane, to) in planes.zip(voxels.chunks_exact_mut(size)) {
                let rows = plane.chunks_exact(plane_width).skip(row);
                for (from, to) in rows.zip(to.chunks_exact_mut(width)) {
                    to.copy_from_slice(&from[column..column + width]);
                }
            }
            return;
        }
        let corner = kernels.at(row, column);
        for lane in (0..size).step_by(MAX_LANES) {
            let count = MAX_LANES.min(size - lane);
            let lines = Lines {
                samples: needs.clone(),
                count,
                row: |plane| &window.planes[plane - window.first][corner + lane..],
            };
            let rows = voxels
                .chunks_exact_mut(size)
                .map(|plane| &mut plane[lane..lane + count]);
            lines.resample(&self.kernels[0], block.planes.clone(), work, rows);
        }
    }
}
