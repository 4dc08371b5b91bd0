//! Cubes out of a volume in an order that reads each chunk about once, and their cores into another.

use std::collections::HashMap;
use std::sync::Arc;

use pulp::{Arch, NullaryFnOnce};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::chunks::Piece;
use crate::error::same;
use crate::region::copy_shared;
use crate::spares::{Spares, fitted};
use crate::{Cube, CubeGrid, Error, Lattice, Region, Result, Volume};

/// Cores across a pencil, so that a chunk is read at most twice: (5 + 2)^2 / 5^2 < 2.
const PENCIL: usize = 5;

/// Normalised voxels below this are zero.
const NEGLIGIBLE: f32 = 1e-6;

/// Cubes that hold any density, pencil by pencil along Z.
///
/// A pencil is up to 5 by 5 cores in Y and X. The chunks of three of its layers are at hand, cut to what it reads.
#[derive(Debug)]
pub struct CubeReader {
    volume: Arc<Volume>,
    grid: CubeGrid,
    scale: Option<f32>,
    /// Layers of pencils, first and last cube, those to be read first at the end.
    layers: Vec<[[usize; 3]; 2]>,
    /// Cubes of the layer at hand that are still to be read, last first.
    left: Vec<Cube>,
    pieces: HashMap<[usize; 3], Option<Piece>>,
    chunks_read: usize,
    skipped: usize,
}

impl CubeReader {
    /// Read the cubes of `grid`; with `scale`, voxels are divided by it, clipped to [0, 1] and zero below 1e-6.
    ///
    /// # Errors
    /// If the grid is that of another shape, or the scale is not positive.
    pub fn new(volume: Arc<Volume>, grid: CubeGrid, scale: Option<f32>) -> Result<Self> {
        same("shape of the grid's volume", &grid.shape(), &volume.shape())?;
        if let Some(scale) = scale
            && !(scale.is_finite() && scale > 0.0)
        {
            return Err(Error::Range {
                what: "scale",
                value: f64::from(scale),
                range: "a positive number",
            });
        }
        let mut layers = layers(grid.counts());
        layers.reverse();
        Ok(Self {
            volume,
            grid,
            scale,
            layers,
            left: Vec::new(),
            pieces: HashMap::new(),
            chunks_read: 0,
            skipped: 0,
        })
    }

    /// Read only the `part`-th of `of` parts of nearly as many cubes: whole layers, each in one part.
    ///
    /// # Errors
    /// If there is no such part.
    pub fn part(mut self, part: usize, of: usize) -> Result<Self> {
        if part >= of {
            return Err(Error::Range {
                what: "part",
                value: part as f64,
                range: "one of the parts",
            });
        }
        let cubes = self.grid.cubes();
        let mut before = 0;
        self.layers.reverse();
        self.layers.retain(|layer| {
            let kept = before * of / cubes == part;
            before += cubes_of(layer);
            kept
        });
        self.layers.reverse();
        Ok(self)
    }

    /// All-zero cubes passed over so far.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Chunks read so far.
    #[must_use]
    pub const fn chunks_read(&self) -> usize {
        self.chunks_read
    }

    /// Cubes that may still come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left.len() + self.layers.iter().map(cubes_of).sum::<usize>()
    }

    /// Fill `batch`, cube after cube, and return their numbers: fewer than it holds only when there are no more.
    ///
    /// # Errors
    /// If a chunk cannot be read.
    pub fn fill(&mut self, batch: &mut [f32], pool: &ThreadPool) -> Result<Vec<usize>> {
        let size = self.grid.cube().pow(3);
        let room = batch.len() / size;
        let mut numbers = Vec::with_capacity(room);
        while numbers.len() < room && self.advance(pool)? {
            let count = self.left.len().min(room - numbers.len());
            let mut cubes = self.left.split_off(self.left.len() - count);
            cubes.reverse();
            let slots = &mut batch[numbers.len() * size..];
            let filled: Vec<bool> = pool.install(|| {
                let slots = slots.par_chunks_exact_mut(size);
                cubes
                    .par_iter()
                    .zip(slots)
                    .map(|(cube, to)| self.cut(cube, to))
                    .collect()
            });
            let mut kept = 0;
            for (slot, cube) in cubes.iter().enumerate().filter(|&(slot, _)| filled[slot]) {
                if kept != slot {
                    slots.copy_within(slot * size..(slot + 1) * size, kept * size);
                }
                numbers.push(self.grid.number(cube.index));
                kept += 1;
            }
            self.skipped += cubes.len() - kept;
        }
        Ok(numbers)
    }

    /// Have cubes left to read, of the next layer if need be; false at the end.
    fn advance(&mut self, pool: &ThreadPool) -> Result<bool> {
        if !self.left.is_empty() {
            return Ok(true);
        }
        let Some([first, last]) = self.layers.pop() else {
            self.pieces.clear();
            return Ok(false);
        };
        if first[0] == 0 {
            // Pieces are cut to their pencil, and this is another one.
            self.pieces.clear();
        }
        let region = self.grid.read_by(first, last);
        let needed: Vec<[usize; 3]> = self.volume.lattice().touching(&region).collect();
        self.pieces.retain(|index, _| needed.contains(index));
        let missing: Vec<[usize; 3]> = needed
            .into_iter()
            .filter(|index| !self.pieces.contains_key(index))
            .collect();
        // A chunk serves the next layers of the pencil too: whole along Z.
        let [_, y, x] = region.start;
        let [_, height, width] = region.shape;
        let pencil = Region::new([0, y, x], [self.volume.shape()[0], height, width]);
        let read: Result<Vec<_>> = pool.install(|| {
            let pieces = missing
                .par_iter()
                .map(|&index| Ok((index, self.volume.piece(index, &pencil)?)));
            pieces.collect()
        });
        self.chunks_read += missing.len();
        self.pieces.extend(read?);
        let cubes =
            (first[1]..=last[1]).flat_map(|y| (first[2]..=last[2]).map(move |x| [first[0], y, x]));
        self.left = cubes
            .filter_map(|index| self.grid.get(self.grid.number(index)))
            .collect();
        self.left.reverse();
        Ok(true)
    }

    /// Fill one cube, a section at a time; false if it is all zeros.
    fn cut(&self, cube: &Cube, to: &mut [f32]) -> bool {
        let indices = self.volume.lattice().touching(&cube.read);
        let parts: Vec<(&Piece, Region)> = indices
            .filter_map(|index| self.pieces.get(&index)?.as_ref())
            .filter_map(|piece| Some((piece, piece.region.intersect(&cube.read)?)))
            .collect();
        if parts.iter().map(|(_, part)| part.voxels()).sum::<usize>() < to.len() {
            to.fill(0.0);
        }
        let [z, y, x] = cube.read.start;
        let edge = self.grid.cube();
        let mut any = false;
        for (section, to) in (z..).zip(to.chunks_exact_mut(edge * edge)) {
            let region = Region::new([section, y, x], [1, edge, edge]);
            let touched = |part: &Region| (part.start[0]..part.stop()[0]).contains(&section);
            for (piece, _) in parts.iter().filter(|(_, part)| touched(part)) {
                copy_shared(&piece.region, &piece.voxels, &region, to);
            }
            if let Some(scale) = self.scale {
                Arch::new().dispatch(Normalise(to, scale));
            }
            any = any || to.iter().any(|&voxel| voxel != 0.0);
        }
        any
    }
}

/// Divide voxels by the scale, clip to [0, 1], drop what is negligible.
struct Normalise<'a>(&'a mut [f32], f32);

impl NullaryFnOnce for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for voxel in self.0 {
            let share = *voxel / self.1;
            let clipped = if share > 1.0 { 1.0 } else { share };
            *voxel = if clipped < NEGLIGIBLE { 0.0 } else { clipped };
        }
    }
}

/// Write the core of each cube in `cubes` (N, cube, cube, cube) as whole chunks: one, but for what lies at the ends.
///
/// # Errors
/// If grid and volume do not belong together, there is not one cube for each number, a number is not in the grid, or a
/// chunk cannot be written.
pub fn write_cores(
    volume: &Volume,
    grid: &CubeGrid,
    numbers: &[usize],
    cubes: &[f32],
    pool: &ThreadPool,
) -> Result<()> {
    same("shape of the grid's volume", &grid.shape(), &volume.shape())?;
    same_chunks(&grid.chunks(), &volume.lattice())?;
    same(
        "voxels of the cubes",
        &[cubes.len()],
        &[numbers.len() * grid.cube().pow(3)],
    )?;
    let spares = Spares::default();
    pool.install(|| {
        let cubes = cubes.par_chunks_exact(grid.cube().pow(3));
        numbers
            .par_iter()
            .zip(cubes)
            .try_for_each(|(&number, voxels)| {
                let cube = grid.get(number).ok_or(Error::Range {
                    what: "cube's number",
                    value: number as f64,
                    range: "one of the grid's",
                })?;
                let mut chunks = volume.lattice().touching(&cube.write);
                chunks.try_for_each(|index| {
                    let cell = volume.lattice().cell(index);
                    spares.with(|chunk| {
                        fitted(chunk, cell.voxels());
                        copy_shared(&cube.read, voxels, &cell, chunk);
                        volume.write_chunk(index, chunk)
                    })
                })
            })
    })
}

/// First and last cube of each layer of each pencil.
fn layers(counts: [usize; 3]) -> Vec<[[usize; 3]; 2]> {
    let [depth, height, width] = counts;
    let columns = groups(width);
    let across = groups(height)
        .into_iter()
        .flat_map(|rows| columns.iter().map(move |&columns| (rows, columns)));
    across
        .flat_map(|([y0, y1], [x0, x1])| (0..depth).map(move |z| [[z, y0, x0], [z, y1, x1]]))
        .collect()
}

/// Cubes from the first to the last of a layer.
fn cubes_of([first, last]: &[[usize; 3]; 2]) -> usize {
    [0, 1, 2]
        .map(|axis| last[axis] + 1 - first[axis])
        .iter()
        .product()
}

/// First and last of groups of nearly equal size, none larger than a pencil.
fn groups(count: usize) -> Vec<[usize; 2]> {
    let groups = count.div_ceil(PENCIL);
    (0..groups)
        .map(|group| [group * count / groups, (group + 1) * count / groups - 1])
        .collect()
}

fn same_chunks(got: &Lattice, expected: &Lattice) -> Result<()> {
    same("core", &[got.edge()], &[expected.edge()])?;
    same(
        "voxels before the first chunk",
        &got.lead(),
        &expected.lead(),
    )
}
