//! Laws 1 and 2: cores tile a volume exactly once, and a cube reads its core and the halo around it.

use proptest::prelude::*;
use samu_core::{Axes, Cube, CubeGrid, Lattice, Region, copy_shared};

fn shapes() -> impl Strategy<Value = [usize; 3]> {
    [1_usize..40, 1_usize..40, 1_usize..40]
}

/// The paper's lattice, and those that are padded no more than needed, with their padding.
fn padded_grids() -> impl Strategy<Value = (CubeGrid, Option<usize>)> {
    (shapes(), 1_usize..20, 0_usize..8, any::<bool>(), 0_usize..8).prop_map(
        |(shape, core, halo, padded, padding)| {
            let padding = padded.then_some(padding.min(halo));
            let grid = CubeGrid::new(shape, core + 2 * halo, core, padding);
            (grid.expect("the core lies at the centre"), padding)
        },
    )
}

fn grids() -> impl Strategy<Value = CubeGrid> {
    padded_grids().prop_map(|(grid, _)| grid)
}

fn cubes(grid: &CubeGrid) -> impl Iterator<Item = Cube> {
    (0..grid.cubes()).map(|number| grid.get(number).expect("one of the grid's"))
}

fn regions() -> impl Strategy<Value = Region> {
    (
        [-9_i64..9, -9_i64..9, -9_i64..9],
        [0_usize..9, 0_usize..9, 0_usize..9],
    )
        .prop_map(|(start, shape)| Region::new(start, shape))
}

fn permutations() -> impl Strategy<Value = Axes> {
    let all = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    proptest::sample::select(all.to_vec()).prop_map(|axes| Axes::new(axes).expect("a permutation"))
}

/// Every voxel of a region, in C order.
fn voxels(region: &Region) -> impl Iterator<Item = [i64; 3]> + use<> {
    let ([z0, y0, x0], [z1, y1, x1]) = (region.start, region.stop());
    (z0..z1).flat_map(move |z| (y0..y1).flat_map(move |y| (x0..x1).map(move |x| [z, y, x])))
}

fn holds(region: &Region, voxel: [i64; 3]) -> bool {
    let stop = region.stop();
    (0..3).all(|axis| (region.start[axis]..stop[axis]).contains(&voxel[axis]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cores_tile_every_voxel_exactly_once(grid in grids()) {
        let [_, height, width] = grid.shape();
        let mut written = vec![0; grid.shape().iter().product()];
        for cube in cubes(&grid) {
            for [z, y, x] in voxels(&cube.write) {
                written[(z as usize * height + y as usize) * width + x as usize] += 1;
            }
        }
        prop_assert!(written.iter().all(|&times| times == 1));
        prop_assert!(grid.get(grid.cubes()).is_none());
    }

    #[test]
    fn a_cube_reads_a_halo_around_its_core_or_the_padding_where_the_volume_ends(
        (grid, padding) in padded_grids()
    ) {
        let halo = grid.halo() as i64;
        for (number, cube) in cubes(&grid).enumerate() {
            prop_assert_eq!(grid.number(cube.index), number);
            prop_assert_eq!(cube.read.shape, [grid.cube(); 3]);
            for axis in 0..3 {
                let end = grid.shape()[axis] as i64;
                let (start, stop) = (cube.write.start[axis], cube.write.stop()[axis]);
                let before = start - cube.read.start[axis];
                let behind = cube.read.stop()[axis] - stop;
                let least = padding.map_or(halo, |padding| padding as i64);
                let needed = |at_an_end: bool| if at_an_end { least } else { halo };
                prop_assert!(before >= needed(start == 0), "{cube:?}");
                prop_assert!(behind >= needed(stop == end), "{cube:?}");
                if padding.is_some() && start == 0 && stop == end {
                    prop_assert!((behind - before).abs() <= 1, "in the middle");
                }
            }
        }
    }

    #[test]
    fn padded_grids_have_as_few_cubes_as_do(
        (shape, core, halo) in (shapes(), 1_usize..20, 0_usize..8), padding in 0_usize..8
    ) {
        let padding = padding.min(halo);
        let grid = CubeGrid::new(shape, core + 2 * halo, core, Some(padding)).expect("a grid");
        for (count, length) in grid.counts().into_iter().zip(shape) {
            let reach = |count: usize| count * core + 2 * (halo - padding);
            prop_assert!(reach(count) >= length);
            prop_assert!(count == 1 || reach(count - 1) < length);
        }
    }

    #[test]
    fn without_padding_it_is_the_papers_lattice((shape, core, halo) in (shapes(), 1_usize..20, 0_usize..8)) {
        let grid = CubeGrid::new(shape, core + 2 * halo, core, None).expect("a grid");
        for cube in cubes(&grid) {
            prop_assert_eq!(cube.write.start, cube.index.map(|i| (i * core) as i64));
            prop_assert_eq!(cube.read.start, cube.write.start.map(|n| n - halo as i64));
        }
    }

    #[test]
    fn a_core_is_whole_chunks_and_no_other_core_has_one_of_them(grid in grids()) {
        let mut owner = vec![None; grid.chunks().cells()];
        for (number, cube) in cubes(&grid).enumerate() {
            let mut voxels = 0;
            for index in grid.chunks().touching(&cube.write) {
                voxels += grid.chunks().cell(index).voxels();
                prop_assert_eq!(owner[grid.chunks().number(index)].replace(number), None);
            }
            prop_assert_eq!(voxels, cube.write.voxels());
        }
        prop_assert!(owner.iter().all(Option::is_some));
    }

    #[test]
    fn regions_share_the_voxels_that_lie_in_both((a, b) in (regions(), regions())) {
        let both: Vec<[i64; 3]> = voxels(&a).filter(|&voxel| holds(&b, voxel)).collect();
        let shared = a.intersect(&b);
        prop_assert_eq!(shared, b.intersect(&a));
        prop_assert_eq!(shared.map_or_else(Vec::new, |part| voxels(&part).collect()), both);
    }

    #[test]
    fn what_two_regions_share_is_copied_and_nothing_else((a, b) in (regions(), regions())) {
        let from: Vec<f32> = (0..a.voxels()).map(|n| n as f32 + 1.0).collect();
        let mut to = vec![0.0; b.voxels()];
        copy_shared(&a, &from, &b, &mut to);
        let place = |voxel| voxels(&a).position(|other| other == voxel);
        for (voxel, &value) in voxels(&b).zip(&to) {
            prop_assert_eq!(place(voxel).map_or(0.0, |n| from[n]).to_bits(), value.to_bits());
        }
    }

    #[test]
    fn a_region_touches_the_cells_that_share_a_voxel_with_it(
        (shape, edge, region) in (shapes(), 1_usize..9, regions()),
        lead in [0_usize..9, 0_usize..9, 0_usize..9],
    ) {
        let lattice = Lattice::new(shape, edge).expect("there are voxels");
        let lattice = lattice.led_by(lead.map(|n| n % edge)).expect("less than an edge");
        let cells = (0..lattice.cells()).map(|number| lattice.cell(lattice.index(number)));
        prop_assert_eq!(cells.map(|cell| cell.voxels()).sum::<usize>(), shape.iter().product::<usize>());
        let touching: Vec<[usize; 3]> = lattice.touching(&region).collect();
        let sharing: Vec<[usize; 3]> = (0..lattice.cells())
            .map(|number| lattice.index(number))
            .filter(|&index| lattice.cell(index).intersect(&region).is_some())
            .collect();
        prop_assert_eq!(touching, sharing);
    }

    #[test]
    fn axes_go_to_the_file_and_back((axes, shape) in (permutations(), shapes())) {
        prop_assert_eq!(axes.to_zyx(axes.to_file(shape)), shape);
        let zyx: Vec<f32> = (0..shape.iter().product::<usize>()).map(|n| n as f32).collect();
        let mut file = vec![-1.0; zyx.len()];
        axes.permute(shape, &zyx, &mut file);
        let [_, rows, columns] = axes.to_file(shape);
        for (number, [z, y, x]) in voxels(&Region::whole(shape)).enumerate() {
            let [s, r, c] = axes.to_file([z as usize, y as usize, x as usize]);
            prop_assert_eq!(file[(s * rows + r) * columns + c].to_bits(), zyx[number].to_bits());
        }
        let mut back = vec![-1.0; zyx.len()];
        axes.inverse().permute(axes.to_file(shape), &file, &mut back);
        prop_assert_eq!(back, zyx);
    }
}

#[test]
fn what_fits_no_lattice_is_refused() {
    for (cube, core) in [(64, 0), (50, 64), (64, 51)] {
        assert!(
            CubeGrid::new([1; 3], cube, core, None).is_err(),
            "{cube} {core}"
        );
    }
    assert!(CubeGrid::new([1; 3], 64, 50, Some(8)).is_err());
    assert!(CubeGrid::new([1, 0, 1], 64, 50, None).is_err());
    assert!(CubeGrid::new([usize::MAX, 2, 2], 64, 50, None).is_err());
    let lattice = Lattice::new([1; 3], 5).expect("there are voxels");
    assert!(lattice.led_by([0, 5, 0]).is_err());
    assert!(Axes::new([0, 1, 1]).is_err());
    assert!(Axes::new([1, 2, 3]).is_err());
}
