//! Which kernels a convolution launches on Hopper: bulk copies where hardware can make them, else others.

use zfnet::device::watched::{Asked, Watched};
use zfnet::ops::conv::Conv;
use zfnet::ops::tile_table::TileTable;
use zfnet::ops::{Gpu, Precision};

use super::gpu::{conv, dgrad, fprop, wgrad};
use crate::common::compare::assert_same_bits;
use crate::common::device::emulator;

/// The kernels of fprop, dgrad and wgrad.
fn launched(conv: &Conv, N: usize, precision: Precision) -> [Vec<&'static str>; 3] {
    let (device, asked) = Watched::new(emulator(0));
    let gpu = &mut Gpu::new(device, precision);
    let [x, w, y] = [N * conv.input().len(), conv.weights(), N * conv.output().len()].map(|len| vec![0.0; len]);
    let kernels = || asked.try_iter().filter_map(Asked::kernel).collect();
    fprop(gpu, conv, N, &x, &w, &vec![0.0; conv.K], false);
    let of_fprop = kernels();
    dgrad(gpu, conv, N, &y, &w);
    let of_dgrad = kernels();
    wgrad(gpu, conv, N, &x, &y);
    [of_fprop, of_dgrad, kernels()]
}

#[test]
fn bulk_copies_where_they_fit() {
    let conv2 = conv((9, 11, 96), 40, (5, 5), 2, 0, 1);
    let [fprop, dgrad, wgrad] = launched(&conv2, 1, Precision::Bf16);
    assert_eq!((fprop[0], dgrad), ("conv_fprop_5_bf16_n96", vec!["conv_dgrad_5_bf16_n96"]));
    assert!(wgrad[0].starts_with("conv_wgrad_5_bf16_n"), "{wgrad:?}");
    // tf32 is read along the depth alone: dgrad turns its filters, wgrad has two operands that lie across.
    let [fprop, dgrad, wgrad] = launched(&conv2, 1, Precision::Tf32);
    assert_eq!(fprop[0], "conv_fprop_5_tf32_n96");
    assert_eq!(dgrad, ["conv_filters_across_5", "conv_dgrad_5_tf32_n96"]);
    assert_eq!(wgrad[0], "conv_wgrad_3_tf32");
}

#[test]
fn the_last_wave_is_cut() {
    let [fprop, ..] = launched(&conv((20, 21, 192), 8, (3, 3), 1, 1, 1), 1, Precision::Bf16);
    assert_eq!(fprop, ["conv_fprop_5_bf16_n96", "conv_fprop_sum_5_bf16"]);
    let [_, dgrad, _] = launched(&conv((19, 21, 8), 192, (3, 3), 1, 1, 1), 1, Precision::Tf32);
    assert_eq!(dgrad, ["conv_filters_across_5", "conv_dgrad_5_tf32_n96", "conv_dgrad_sum_5_f32"]);
}

/// What hardware cannot copy: nothing is launched that would fail.
#[test]
fn others_gather_by_themselves() {
    for (conv, why) in [
        (conv((6, 7, 3), 8, (3, 3), 1, 1, 1), "a pixel of 6 bytes"),
        (conv((6, 7, 12), 8, (3, 3), 1, 1, 1), "a pixel of 24 bytes"),
        (conv((6, 7, 48), 96, (3, 3), 1, 1, 3), "groups that end within a piece"),
        (conv((40, 5, 8), 8, (1, 1), 9, 0, 1), "pixels that are 9 apart"),
    ] {
        let kernels = launched(&conv, 1, Precision::Bf16);
        assert!(kernels[0][0].starts_with("conv_fprop_4_bf16"), "{why}: {kernels:?}");
    }
    // Sixteen parities; rows of dx that are no multiple of 16 bytes.
    for conv in [conv((9, 9, 8), 8, (5, 5), 4, 0, 1), conv((5, 6, 12), 8, (2, 2), 1, 0, 1)] {
        let [_, dgrad, _] = launched(&conv, 1, Precision::Bf16);
        assert!(dgrad[0].starts_with("conv_dgrad_4_bf16"), "{dgrad:?}");
    }
    let [.., wgrad] = launched(&conv((5, 6, 8), 8, (2, 2), 1, 0, 1), 1, Precision::Bf16);
    assert!(wgrad[0].starts_with("conv_wgrad_4_bf16"), "a row of dw is no whole piece: {wgrad:?}");
}

/// The portable and the gathering backend keep to their kernels.
#[test]
fn versions_keep_to_their_kernels() {
    let conv = conv((6, 5, 32), 8, (2, 2), 1, 0, 1);
    for (open, expected) in
        [(Gpu::portable as fn(_, _) -> _, "conv_fprop_3_bf16"), (Gpu::gathering, "conv_fprop_4_bf16_n96")]
    {
        let (device, asked) = Watched::new(emulator(0));
        let mut gpu: Gpu<Watched<_>> = open(device, Precision::Bf16);
        let [x, w] = [conv.input().len(), conv.weights()].map(|len| vec![0.0; len]);
        fprop(&mut gpu, &conv, 1, &x, &w, &vec![0.0; conv.K], false);
        assert_eq!(asked.try_iter().filter_map(Asked::kernel).collect::<Vec<_>>(), [expected]);
    }
}

/// A tile that was measured is taken, of bulk copies or not; the results are the same bits.
#[test]
fn a_measured_tile_is_taken() {
    let conv = conv((9, 11, 32), 40, (3, 2), 1, 1, 1);
    let (x, w) = (vec![0.5; conv.input().len()], vec![0.25; conv.weights()]);
    let run = |table: &str| {
        let (device, asked) = Watched::new(emulator(0));
        let mut gpu = Gpu::new(device, Precision::Bf16).with_tiles(TileTable::parse("test", table).unwrap());
        let y = fprop(&mut gpu, &conv, 1, &x, &w, &vec![0.0; conv.K], false);
        (asked.try_iter().filter_map(Asked::kernel).collect::<Vec<_>>(), y)
    };
    let (formula, y) = run("tile = []");
    assert_eq!(formula, ["conv_fprop_5_bf16_n96"]);
    for kernel in ["conv_fprop_5_bf16_n256", "conv_fprop_4_bf16_n128", "conv_fprop_3_bf16"] {
        let (rows, depth) = (conv.P * conv.Q, 3 * 2 * 32);
        let (taken, same) = run(&format!(
            "tile = [{{ gpu = \"sm_90 x 3\", precision = \"bf16\", product = \"conv_fprop\", rows = {rows}, columns = 40, \
             depth = {depth}, parts = 1, kernel = \"{kernel}\", us = 1, formula_us = 2, measured = \"now\" }}]"
        ));
        assert_eq!(taken, [kernel]);
        assert_same_bits(kernel, &same, &y);
    }
}
