//! Laws 1 and 2: cores tile a volume exactly once, and a cube reads its core and the halo around it.

use proptest::prelude::*;
use samu_core::{Axes, CubeGrid, Lattice, Region, copy_shared};

fn shapes() -> impl Strategy<Value = [usize; 3]> {
    [1_usize..40, 1_usize..40, 1_usize..40]
}

/// Shape, cube and core.
fn grids() -> impl Strategy<Value = CubeGrid> {
    (shapes(), 1_usize..20, 0_usize..8).prop_map(|(shape, core, halo)| {
        CubeGrid::new(shape, core + 2 * halo, core).expect("the core lies at the centre")
    })
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
        for cube in (0..grid.cubes()).filter_map(|number| grid.get(number)) {
            for [z, y, x] in voxels(&cube.write) {
                written[(z as usize * height + y as usize) * width + x as usize] += 1;
            }
        }
        prop_assert!(written.iter().all(|&times| times == 1));
        prop_assert!(grid.get(grid.cubes()).is_none());
    }

    #[test]
    fn a_cube_reads_its_core_and_the_halo_around_it(grid in grids()) {
        for number in 0..grid.cubes() {
            let cube = grid.get(number).expect("one of the grid's");
            prop_assert_eq!(grid.number(cube.index), number);
            prop_assert_eq!(cube.read.shape, [grid.cube(); 3]);
            let halo = grid.halo() as i64;
            prop_assert_eq!(cube.read.start, cube.write.start.map(|n| n - halo));
            prop_assert_eq!(cube.write.start, cube.index.map(|i| (i * grid.core()) as i64));
            prop_assert_eq!(grid.core_in_cube(&cube).start, [halo; 3]);
        }
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
        (shape, edge, region) in (shapes(), 1_usize..9, regions())
    ) {
        let lattice = Lattice::new(shape, edge).expect("there are voxels");
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
        assert!(CubeGrid::new([1; 3], cube, core).is_err(), "{cube} {core}");
    }
    assert!(CubeGrid::new([1, 0, 1], 64, 50).is_err());
    assert!(CubeGrid::new([usize::MAX, 2, 2], 64, 50).is_err());
    assert!(Axes::new([0, 1, 1]).is_err());
    assert!(Axes::new([1, 2, 3]).is_err());
}
