//! Measured tiles: the file, and what it does to a launch.

use std::sync::mpsc::Receiver;

use zfnet::device::Device;
use zfnet::device::emulator::Emulator;
use zfnet::device::watched::{Asked, Watched};
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::linear::{Linear, LinearOp};
use zfnet::ops::tile_table::TileTable;
use zfnet::ops::{Gpu, Precision, Role};
use zfnet::tensor::Extent;

use crate::common::compare::assert_same_bits;
use crate::common::device::emulator;
use crate::common::gpu::{filled, poisoned, written};

type Watching = (Gpu<Watched<Emulator>>, Receiver<Asked>);

/// A line of a table for the emulator, in bf16.
fn line(product: &str, [rows, columns, depth, parts]: [usize; 4], take: &str) -> String {
    format!(
        "tile = [{{ gpu = \"sm_90 x 3\", precision = \"bf16\", product = \"{product}\", rows = {rows}, \
         columns = {columns}, depth = {depth}, parts = {parts}, {take}, us = 3.5, formula_us = 4, measured = \"now\" }}]"
    )
}

fn table(text: &str) -> TileTable {
    TileTable::parse("test", text).unwrap()
}

fn watching(precision: Precision, tiles: TileTable) -> Watching {
    let (device, asked) = Watched::new(emulator(0));
    (Gpu::new(device, precision).with_tiles(tiles), asked)
}

/// The kernels launched since the last question.
fn launched(asked: &Receiver<Asked>) -> Vec<&'static str> {
    asked.try_iter().filter_map(Asked::kernel).collect()
}

/// -3..=3: sums of them are exact in every order.
fn whole(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + salt * 11 + i / 5) % 7) as f32 - 3.0).collect()
}

/// Two groups and a stride: 5 images of 11 x 13 x 8, 6 filters of 3 x 3 x 4; outputs are 6 x 7.
fn conv() -> Conv {
    Conv::new(Extent::new(11, 13, 8), 6, (3, 3), 2, 1, 2).unwrap()
}

/// All directions, the kernels of each, and their results.
fn run_conv<D: Device>(
    gpu: &mut Gpu<D>,
    conv: &Conv,
    N: usize,
    launched: impl Fn() -> Vec<&'static str>,
) -> ([Vec<&'static str>; 3], Vec<f32>) {
    let (inputs, outputs, weights) = (N * conv.input().len(), N * conv.output().len(), conv.weights());
    let [x, dy] = [(inputs, 1), (outputs, 2)].map(|(len, salt)| filled(gpu, Role::Activation, &whole(len, salt)));
    let (w, bias) = (filled(gpu, Role::Weight, &whole(weights, 3)), filled(gpu, Role::Full, &whole(conv.K, 4)));
    let [mut y, mut dx] = [outputs, inputs].map(|len| poisoned(gpu, Role::Activation, len));
    let [mut dw, mut db] = [weights, conv.K].map(|len| poisoned(gpu, Role::Full, len));
    launched();
    gpu.conv_fprop(conv, N, &x, &w, &bias, false, &mut y).unwrap();
    let fprop = launched();
    gpu.conv_dgrad(conv, N, &dy, &w, &mut dx).unwrap();
    let dgrad = launched();
    gpu.conv_wgrad(conv, N, &x, &dy, &mut dw, &mut db).unwrap();
    let kernels = [fprop, dgrad, launched()];
    let results = [(&y, outputs), (&dx, inputs), (&dw, weights), (&db, conv.K)];
    (kernels, results.into_iter().flat_map(|(buffer, len)| written(gpu, buffer, len)).collect())
}

/// Sizes as the table counts them: rows and columns of outputs, the longest sum, groups and parities.
const FPROP: [usize; 4] = [5 * 6 * 7, 3, 3 * 3 * 4, 2];
const DGRAD: [usize; 4] = [5 * 6 * 7, 4, 2 * 2 * 3, 4 * 2];
const WGRAD: [usize; 4] = [3, 3 * 3 * 4, 5 * 6 * 7, 2];

#[test]
fn an_entry_changes_which_kernel_is_launched() {
    let (conv, N) = (conv(), 5);
    let (mut gpu, asked) = watching(Precision::Bf16, TileTable::default());
    let (formula, expected) = run_conv(&mut gpu, &conv, N, || launched(&asked));
    assert_eq!(formula[0], ["conv_fprop_4_bf16_n96"], "the smallest tile covers 3 columns");
    assert_eq!(formula[2].len(), 1, "210 terms are too few to cut: {formula:?}");

    let take = |direction: usize, product: &str, size: [usize; 4], take: &str| {
        let (mut gpu, asked) = watching(Precision::Bf16, table(&line(product, size, take)));
        let (mut kernels, results) = run_conv(&mut gpu, &conv, N, || launched(&asked));
        assert_same_bits(&format!("{product}, {take}"), &results, &expected);
        let taken = std::mem::take(&mut kernels[direction]);
        for other in (0..3).filter(|d| *d != direction) {
            assert_eq!(kernels[other], formula[other], "{product} alone has an entry");
        }
        taken
    };
    let n256 = |product: &str| format!("kernel = \"{product}_4_bf16_n256\"");
    assert_eq!(take(0, "conv_fprop", FPROP, &n256("conv_fprop")), ["conv_fprop_4_bf16_n256"]);
    assert_eq!(take(0, "conv_fprop", FPROP, "kernel = \"conv_fprop_3_bf16\""), ["conv_fprop_3_bf16"]);
    assert_eq!(take(1, "conv_dgrad", DGRAD, &n256("conv_dgrad")), ["conv_dgrad_4_bf16_n256"]);
    assert_eq!(take(2, "conv_wgrad", WGRAD, &n256("conv_wgrad")), ["conv_wgrad_4_bf16_n256"]);
    // 210 terms are four steps of 64: three parts need two steps each, so there are two.
    let cut = take(2, "conv_wgrad", WGRAD, "kernel = \"conv_wgrad_4_bf16_n128\", splits = 3");
    assert_eq!(cut, ["conv_wgrad_4_bf16_n128", "conv_wgrad_sum_2"]);
    // A kernel that no build has is no reason to stop.
    assert_eq!(take(0, "conv_fprop", FPROP, "kernel = \"conv_fprop_9_bf16\""), formula[0][..]);
}

/// Bulk copies and kernels that gather stand in for one another, and a width that was measured is taken.
#[test]
fn an_entry_chooses_between_bulk_copies_and_gathering() {
    // 2 images of 5 x 6 x 64 with 8 filters of 3 x 3: outputs are 5 x 6.
    let (conv, N) = (Conv::new(Extent::new(5, 6, 64), 8, (3, 3), 1, 1, 1).unwrap(), 2);
    let (mut gpu, asked) = watching(Precision::Bf16, TileTable::default());
    let (usual, expected) = run_conv(&mut gpu, &conv, N, || launched(&asked));
    assert_eq!(usual[0], ["conv_fprop_5_bf16_n96"]);
    for (direction, product, size) in
        [(0, "conv_fprop", [60, 8, 576, 1]), (1, "conv_dgrad", [60, 64, 72, 1]), (2, "conv_wgrad", [8, 576, 60, 1])]
    {
        for kernel in ["5_bf16_n192", "5_bf16_n256", "4_bf16_n128", "3_bf16"] {
            let kernel = format!("{product}_{kernel}");
            let tiles = table(&line(product, size, &format!("kernel = \"{kernel}\"")));
            let (mut gpu, asked) = watching(Precision::Bf16, tiles);
            let (kernels, results) = run_conv(&mut gpu, &conv, N, || launched(&asked));
            assert_eq!(kernels[direction][0], kernel, "{usual:?} before");
            assert_same_bits(&kernel, &results, &expected);
        }
    }
}

#[test]
fn an_entry_is_for_its_own_case_alone() {
    let entry = |size| line("conv_fprop", size, "kernel = \"conv_fprop_4_bf16_n256\"");
    let fprop = |precision, N, tiles: &str| {
        let (mut gpu, asked) = watching(precision, table(tiles));
        let ([fprop, ..], _) = run_conv(&mut gpu, &conv(), N, || launched(&asked));
        fprop.concat()
    };
    let n96 = "conv_fprop_4_bf16_n96";
    assert_eq!(fprop(Precision::Bf16, 5, &entry(FPROP)), "conv_fprop_4_bf16_n256");
    assert_eq!(fprop(Precision::Bf16, 4, &entry(FPROP)), n96, "another batch");
    assert_eq!(fprop(Precision::Bf16, 5, &entry(FPROP).replace("x 3", "x 132")), n96, "another GPU");
    assert_eq!(fprop(Precision::Bf16, 5, &entry(FPROP).replace("sm_90", "sm_80")), n96, "another generation");
    assert_eq!(fprop(Precision::Tf32, 5, &entry(FPROP)), "conv_fprop_3_tf32", "another precision");
    for i in 0..4 {
        let mut other = FPROP;
        other[i] += 1;
        assert_eq!(fprop(Precision::Bf16, 5, &entry(other)), n96, "another size");
    }
    let (device, asked) = Watched::new(emulator(0));
    let mut portable = Gpu::portable(device, Precision::Bf16).with_tiles(table(&entry(FPROP)));
    let ([kernels, ..], _) = run_conv(&mut portable, &conv(), 5, || launched(&asked));
    assert_eq!(kernels, ["conv_fprop_3_bf16"], "the portable kernels were asked for");
}

#[test]
fn linear_layers_take_their_entries() {
    let (fc, N) = (Linear { inputs: 200, outputs: 130 }, 3);
    let run = |tiles| {
        let (mut gpu, asked) = watching(Precision::Bf16, tiles);
        let gpu = &mut gpu;
        let [x, dy] =
            [(fc.inputs, 1), (fc.outputs, 2)].map(|(len, salt)| filled(gpu, Role::Activation, &whole(N * len, salt)));
        let (w, bias) =
            (filled(gpu, Role::Weight, &whole(fc.weights(), 3)), filled(gpu, Role::Full, &whole(fc.outputs, 4)));
        let [mut y, mut dx] = [fc.outputs, fc.inputs].map(|len| poisoned(gpu, Role::Activation, N * len));
        let [mut dw, mut db] = [fc.weights(), fc.outputs].map(|len| poisoned(gpu, Role::Full, len));
        launched(&asked);
        gpu.linear_fprop(&fc, N, &x, &w, &bias, false, &mut y).unwrap();
        gpu.linear_dgrad(&fc, N, &dy, &w, &mut dx).unwrap();
        gpu.linear_wgrad(&fc, N, &x, &dy, &mut dw, &mut db).unwrap();
        let results = [(&y, N * fc.outputs), (&dx, N * fc.inputs), (&dw, fc.weights()), (&db, fc.outputs)];
        let kernels = launched(&asked);
        (kernels, results.into_iter().flat_map(|(b, len)| written(gpu, b, len)).collect::<Vec<_>>())
    };
    let (formula, expected) = run(TileTable::default());
    assert!(formula.iter().all(|k| k.contains("_4_bf16_n") && !k.ends_with("n192")), "{formula:?}");
    for (product, size, then) in [
        ("linear_fprop", [N, 130, 200, 1], vec!["linear_fprop_4_bf16_n192", "linear_fprop_sum_2_bf16"]),
        ("linear_dgrad", [N, 200, 130, 1], vec!["linear_dgrad_4_bf16_n192", "linear_dgrad_sum_2_bf16"]),
        // Never cut, whatever an entry says.
        ("linear_wgrad", [130, 200, N, 1], vec!["linear_wgrad_4_bf16_n192"]),
    ] {
        let take = format!("kernel = \"{product}_4_bf16_n192\", splits = 2");
        let (kernels, results) = run(table(&line(product, size, &take)));
        let of_it: Vec<_> = kernels.into_iter().filter(|k| k.starts_with(product)).collect();
        assert_eq!(of_it, then);
        assert_same_bits(product, &results, &expected);
    }
}

#[test]
fn a_broken_table_is_refused_by_name() {
    let good = line("conv_fprop", FPROP, "kernel = \"k\", splits = 2");
    let refused = |text: &str, expected: &str| {
        let error = TileTable::parse("tiles.toml", &format!("# a comment\n{text}")).unwrap_err().to_string();
        assert!(error.starts_with("tiles.toml, line 2: ") && error.contains(expected), "{error}");
    };
    table(&good);
    refused(&good.replace("rows", "rwos"), "tile.rwos: unknown key; did you mean `rows`?");
    refused(&good.replace("kernel = \"k\", ", ""), "tile.kernel: missing");
    refused(&good.replace("columns = 3", "columns = 0"), "tile.columns: 0 is outside");
    refused(&good.replace("splits = 2", "splits = \"two\""), "tile.splits: must be a whole number");
    refused(&good.replace("us = 3.5", "us = -3.5"), "tile.us: -3.5 is not above 0");
    refused(&good.replace("sm_90 x 3", "sm_90"), "tile.gpu: `sm_90` is no kind of GPU");
    refused(&good.replace("bf16", "fp8"), "tile.precision: precision fp8");
    refused(&good.replace("tile = ", "tiles = "), "tiles: unknown key; did you mean `tile`?");
    refused(&good.replace("}]", "]"), "syntax: ");
    let entry = good.trim_start_matches("tile = [").trim_end_matches(']');
    refused(&format!("tile = [{entry}, {entry}]"), "tile.product: a second tile for the same product");
}

#[test]
fn a_table_is_read_as_it_is_written() {
    let mut all = TileTable::default();
    for (product, size, take) in [
        ("linear_wgrad", [4096, 9216, 128, 1], "kernel = \"linear_wgrad_4_bf16_n256\""),
        ("conv_wgrad", WGRAD, "kernel = \"conv_wgrad_4_bf16_n96\", splits = 12"),
    ] {
        for (key, tile) in table(&line(product, size, take)).entries() {
            all.set(key.clone(), tile.clone());
        }
    }
    let text = all.to_string();
    assert_eq!(table(&text), all, "{text}");
    assert!(!text.contains("No entries"), "{text}");
    let at = |name: &str| text.find(name).unwrap();
    assert!(at("conv_wgrad") < at("linear_wgrad"), "in order of the products' names:\n{text}");
}

/// The stored table can be read, stands as it would be written, and names kernels that there are.
#[test]
fn the_stored_table_holds() {
    let stored = TileTable::stored().unwrap();
    assert_eq!(stored.to_string(), include_str!("../src/ops/tile_table.toml"));
    let emulator = emulator(0);
    for (key, tile) in stored.entries() {
        assert!(emulator.has(&tile.kernel) && tile.kernel.starts_with(&key.product), "{key:?}: {tile:?}");
    }
}
