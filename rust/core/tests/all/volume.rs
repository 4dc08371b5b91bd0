//! Voxels through files, volumes and cubes: what goes in comes out.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use samu_core::{
    Axes, CubeGrid, CubeReader, Dtype, Lattice, Region, Volume, Voxels, export, ingest, percentile,
    write_cores,
};

/// Budgets: one that cuts any volume into the smallest pencils, and one that never does.
const BUDGETS: [usize; 2] = [1, 1 << 30];

fn pool() -> ThreadPool {
    ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("two threads")
}

/// Values that no two neighbours share, with some zeros.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|n| (n * 7919 % 1013) as f32 - 300.0)
        .map(|value| if value < -200.0 { 0.0 } else { value })
        .collect()
}

fn map_file(path: &Path, values: &[f32], shape: [usize; 3], axes: [usize; 3]) -> Voxels {
    std::fs::write(path, bytemuck::cast_slice(values)).expect("the folder is writable");
    let dtype = Dtype::parse("<f4").expect("known");
    let axes = Axes::new(axes).expect("a permutation");
    Voxels::new(path.to_path_buf(), 0, dtype, shape, axes).expect("it has voxels")
}

fn shapes() -> impl Strategy<Value = [usize; 3]> {
    [1_usize..30, 1_usize..30, 1_usize..30]
}

fn volume(path: Option<&Path>, shape: [usize; 3], chunk: usize) -> Volume {
    in_chunks(path, Lattice::new(shape, chunk).expect("it has voxels"))
}

fn in_chunks(path: Option<&Path>, lattice: Lattice) -> Volume {
    Volume::create(path, lattice, [1.0; 3], [0.0; 3]).expect("its folder is writable")
}

/// The input of a run with an engine that changes nothing, and its output.
fn through(
    shape: [usize; 3],
    grid: &CubeGrid,
    on_disk: bool,
    budget: usize,
) -> (Vec<f32>, Vec<f32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let plain = Lattice::new(grid.shape(), grid.core()).expect("it has voxels");
    let [source, target] = [("source", plain), ("target", grid.chunks())].map(|(name, chunks)| {
        let path = place(name);
        in_chunks(on_disk.then_some(path.as_path()), chunks)
    });
    let (pool, before) = (pool(), values(shape.iter().product()));
    let axes = [2, 0, 1];
    let input = map_file(&place("map"), &before, shape, axes);
    ingest(&input, &source, [1.0; 3], &pool, budget).expect("ingested");
    let mut reader = CubeReader::new(Arc::new(source), *grid, None).expect("its grid");
    let mut batch = vec![f32::NAN; 3 * grid.cube().pow(3)];
    loop {
        let numbers = reader.fill(&mut batch, &pool).expect("read");
        if numbers.is_empty() {
            break;
        }
        let cubes = &batch[..numbers.len() * grid.cube().pow(3)];
        write_cores(&target, grid, &numbers, cubes, &pool).expect("written");
    }
    let output = map_file(&place("enhanced"), &[], shape, axes);
    export(&target, &output, [1.0; 3], &pool, budget).expect("exported");
    let bytes = std::fs::read(place("enhanced")).expect("it was written");
    let (words, _) = bytes.as_chunks::<4>();
    (
        before,
        words.iter().map(|&word| f32::from_le_bytes(word)).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_engine_that_changes_nothing_gives_the_map_back(
        (shape, core, halo) in (shapes(), 4_usize..14, 0_usize..5),
        padding in proptest::option::of(0_usize..5),
        on_disk in any::<bool>(),
        budget in proptest::sample::select(&BUDGETS[..]),
    ) {
        let zyx = Axes::new([2, 0, 1]).expect("a permutation").to_zyx(shape);
        let padding = padding.map(|padding| padding.min(halo));
        let grid = CubeGrid::new(zyx, core + 2 * halo, core, padding).expect("the core lies at the centre");
        let (before, after) = through(shape, &grid, on_disk, budget);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn any_region_of_a_volume_reads_as_its_voxels_and_zeros_around(
        (shape, chunk) in (shapes(), 4_usize..14),
        start in [-9_i64..30, -9_i64..30, -9_i64..30],
        size in [1_usize..12, 1_usize..12, 1_usize..12],
        on_disk in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("volume");
        let volume = volume(on_disk.then_some(path.as_path()), shape, chunk);
        let all = values(shape.iter().product());
        let input = map_file(&folder.path().join("map"), &all, shape, [0, 1, 2]);
        ingest(&input, &volume, [1.0; 3], &pool(), 1 << 30).expect("ingested");
        let region = Region::new(start, size);
        let mut wanted = vec![0.0; region.voxels()];
        samu_core::copy_shared(&Region::whole(shape), &all, &region, &mut wanted);
        prop_assert_eq!(volume.read(&region).expect("read"), wanted);
    }

    #[test]
    fn the_percentile_is_that_of_the_sorted_voxels(
        mut voxels in proptest::collection::vec(-50_i16..50, 1..200),
        percent in 0.0_f64..100.0,
    ) {
        voxels.push(7);
        let folder = tempfile::tempdir().expect("a folder");
        let floats: Vec<f32> = voxels.iter().map(|&n| f32::from(n) / 3.0).collect();
        let file = map_file(&folder.path().join("map"), &floats, [1, 1, floats.len()], [0, 1, 2]);
        let mut sorted: Vec<f64> = floats.iter().map(|&v| f64::from(v)).filter(|&v| v != 0.0).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let place = percent / 100.0 * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        let wanted = below + (above - below) * place.fract();
        let got = percentile(&file, percent, &pool()).expect("some differ from zero");
        prop_assert!((got - wanted).abs() < 1e-9, "{got} {wanted}");
    }
}

#[test]
fn chunks_are_read_at_most_twice_and_most_once() {
    let (shape, chunk) = ([45, 60, 52], 4);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("volume");
    let source = Arc::new(volume(Some(&path), shape, chunk));
    let input = map_file(
        &folder.path().join("map"),
        &values(shape.iter().product()),
        shape,
        [0, 1, 2],
    );
    ingest(&input, &source, [1.0; 3], &pool(), 1 << 30).expect("ingested");
    let grid = CubeGrid::new(shape, 8, chunk, None).expect("the core lies at the centre");
    let mut reader = CubeReader::new(Arc::clone(&source), grid, None).expect("its grid");
    let mut batch = vec![0.0; 10 * 8 * 8 * 8];
    while !reader.fill(&mut batch, &pool()).expect("read").is_empty() {}
    let amplification = reader.chunks_read() as f64 / source.lattice().cells() as f64;
    assert!((1.0..=2.0).contains(&amplification), "{amplification}");
}
