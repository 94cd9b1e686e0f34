//! Convolution, pooling and normalisation in one: the bits of the three one after the other, and y untouched.

use zfnet::device::Device;
use zfnet::ops::conv::{Conv, ConvOp};
use zfnet::ops::conv_pool_lrn::{ConvPoolLrn, ConvPoolLrnOp};
use zfnet::ops::lrn::Lrn;
use zfnet::ops::pool::{Pool, Rounding};
use zfnet::ops::pool_lrn::PoolLrnOp;
use zfnet::ops::{Cpu, Gpu, Precision, Role, Storage, Version};
use zfnet::tensor::Extent;

use crate::common::compare::assert_same_bits;
use crate::common::gpu::{SLACK, filled, filled_bytes, filled_images, on_gpus, poisoned, written};
use crate::common::values::{cast, whole};

/// (H, W, C), K, kernel, stride, pad of the convolution; kernel, stride, rounding of the pool.
type Sizes = ([usize; 3], usize, [usize; 3], (usize, usize, Rounding));

fn layers(([H, W, C], K, [kernel, stride, pad], pool): Sizes, relu: bool) -> ConvPoolLrn {
    let conv = Conv::new(Extent::new(H, W, C), K, (kernel, kernel), stride, pad, 1).unwrap();
    let pool = Pool::new(conv.output(), pool.0, pool.1, pool.2).unwrap();
    ConvPoolLrn { conv, relu, pool, lrn: Lrn::new(5, 2.0, 0.3, 0.75, true).unwrap() }
}

/// Whole numbers: the unfused convolution may be one that adds in another order.
fn numbers(lane: u32, len: usize) -> Vec<f32> {
    cast(&whole(lane, len, 4))
}

/// What a way to compute it gives: a, switches and b; and y as it is afterwards.
struct Outcome {
    a: Vec<f32>,
    switches: Vec<u8>,
    b: Vec<f32>,
    y: Vec<f32>,
}

fn run(gpu: &mut Gpu<impl Device>, layers: &ConvPoolLrn, N: usize, x: &[f32], fused: bool) -> Outcome {
    let ConvPoolLrn { conv, relu, pool, lrn } = layers;
    let (pixels, map) = (N * conv.output().len(), N * pool.output().len());
    // Of three channels, in padded pixels, as a network has its images.
    let x = if conv.C == 3 { filled_images(gpu, conv.input(), x) } else { filled(gpu, Role::Activation, x) };
    // Biases below zero: a ReLU that makes many zeros makes many ties.
    let bias: Vec<f32> = numbers(3, conv.K).into_iter().map(|v| v - 9.0).collect();
    let (w, bias) = (filled(gpu, Role::Weight, &numbers(2, conv.weights())), filled(gpu, Role::Full, &bias));
    let [mut y, mut a, mut b] = [pixels, map, map].map(|len| poisoned(gpu, Role::Activation, len));
    let mut codes = filled_bytes(gpu, &vec![255; map + SLACK]);
    if fused {
        gpu.conv_pool_lrn_forward(layers, N, &x, &w, &bias, &mut y, &mut a, &mut codes, &mut b).unwrap();
    } else {
        gpu.conv_fprop(conv, N, &x, &w, &bias, *relu, &mut y).unwrap();
        gpu.pool_lrn_forward(pool, lrn, N, &y, &mut a, &mut codes, &mut b).unwrap();
    }
    let mut switches = vec![0; map + SLACK];
    gpu.download_bytes(&codes, &mut switches).unwrap();
    assert_eq!(switches.split_off(map), [255; SLACK], "wrote past the end");
    Outcome { a: written(gpu, &a, map), switches, b: written(gpu, &b, map), y: written(gpu, &y, pixels) }
}

fn assert_same_outcome(gpu: &mut Gpu<impl Device>, layers: &ConvPoolLrn, N: usize, x: &[f32]) {
    let [fused, unfused] = [true, false].map(|fused| run(gpu, layers, N, x, fused));
    assert_same_bits(&format!("{layers:?}: a"), &fused.a, &unfused.a);
    assert_same_bits(&format!("{layers:?}: switches"), &fused.switches, &unfused.switches);
    assert_same_bits(&format!("{layers:?}: b"), &fused.b, &unfused.b);
    let untouched = fused.y.iter().all(|y| y.is_nan());
    assert_eq!(untouched, gpu.fuses_conv_pool_lrn_forward(layers), "{layers:?}: whether y was left alone");
    // Windows of 3 x 3 and less are here and there all zeros: ties.
    let ties = unfused.a.iter().any(|a| *a <= 0.0) || layers.pool.R > 3;
    assert!(unfused.a.iter().any(|a| *a > 0.0) && ties, "{layers:?}: all alike");
}

const CEIL: Rounding = Rounding::Ceil;

fn gives_the_same_bits(gpu: &mut Gpu<impl Device>) {
    let fast = gpu.precision() == Precision::Bf16 && matches!(gpu.version(), Version::Gathering | Version::Fast);
    let cases: &[(Sizes, usize)] = &[
        // Several tiles along both axes; the last ones, and the last windows, reach past the border. No vectors.
        (([30, 35, 3], 10, [7, 2, 1], (3, 2, CEIL)), 2),
        (([27, 31, 3], 6, [2, 1, 0], (3, 2, CEIL)), 1),
        // Vectors in x and w, and each number of columns, the last of them not all taken.
        (([9, 14, 8], 96, [3, 1, 1], (3, 2, CEIL)), 2),
        (([7, 12, 8], 124, [2, 1, 0], (3, 2, CEIL)), 1),
        (([7, 12, 8], 190, [2, 1, 0], (3, 2, CEIL)), 1),
        (([7, 12, 4], 250, [2, 1, 0], (3, 2, CEIL)), 1),
        // Channels that come one by one.
        (([9, 13, 5], 7, [3, 1, 1], (3, 2, CEIL)), 1),
        // Windows that do not overlap, windows apart, windows one pixel on; pixels that none covers.
        (([18, 23, 3], 8, [3, 1, 1], (2, 2, Rounding::Floor)), 1),
        (([18, 23, 3], 5, [3, 1, 1], (2, 3, CEIL)), 1),
        (([14, 19, 3], 8, [3, 1, 1], (5, 1, CEIL)), 1),
        (([20, 21, 3], 8, [3, 1, 1], (3, 2, Rounding::Floor)), 1),
    ];
    // Without the kernel it is the three, one after the other: one case shows that.
    for &(sizes, N) in if fast { cases } else { &cases[..1] } {
        let layers = layers(sizes, true);
        assert_eq!(gpu.fuses_conv_pool_lrn_forward(&layers), fast, "{layers:?}");
        assert_same_outcome(gpu, &layers, N, &numbers(1, N * layers.conv.input().len()));
    }
}

/// Without ReLU; and with a NaN, which must be found in every window over it.
fn passes_on_what_it_finds(gpu: &mut Gpu<impl Device>) {
    let sizes = ([13, 16, 3], 8, [3, 1, 1], (3, 2, CEIL));
    let mut x = numbers(1, layers(sizes, true).conv.input().len());
    assert_same_outcome(gpu, &layers(sizes, false), 1, &x);
    x[3 * (5 * 16 + 7)] = f32::NAN;
    let layers = layers(sizes, true);
    let [fused, unfused] = [true, false].map(|fused| run(gpu, &layers, 1, &x, fused));
    assert!(fused.a.iter().any(|a| a.is_nan()));
    let found = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
    assert_eq!(found(&fused.a), found(&unfused.a));
    assert_eq!(found(&fused.b), found(&unfused.b));
    assert_eq!(fused.switches, unfused.switches);
}

/// Where no kernel is for it, or it would compute more than it spares, it is not fused.
fn knows_its_limits(gpu: &mut Gpu<impl Device>) {
    let plain = layers(([12, 12, 4], 8, [3, 1, 1], (3, 2, CEIL)), true);
    let conv = Conv::new(Extent::new(12, 12, 4), 8, (3, 3), 1, 1, 2).unwrap();
    assert!(!gpu.fuses_conv_pool_lrn_forward(&ConvPoolLrn { conv, ..plain }), "groups");
    assert!(!gpu.fuses_conv_pool_lrn_forward(&layers(([12, 12, 4], 257, [3, 1, 1], (3, 2, CEIL)), true)), "257 maps");
    assert!(
        !gpu.fuses_conv_pool_lrn_forward(&layers(([20, 20, 3], 8, [3, 1, 1], (12, 1, CEIL)), true)),
        "large windows"
    );
    assert!(
        !gpu.fuses_conv_pool_lrn_forward(&layers(([55, 55, 96], 256, [5, 2, 0], (3, 2, CEIL)), true)),
        "ZFNet's layer 2"
    );
    assert!(!Cpu::<f32>::new().fuses_conv_pool_lrn_forward(&plain));
}

fn refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let layers = layers(([9, 8, 3], 8, [3, 1, 1], (3, 2, CEIL)), true);
    let ConvPoolLrn { conv, pool, .. } = &layers;
    let lens = [conv.input().len(), conv.weights(), conv.K, pool.output().len(), pool.output().len()];
    let roles = [Role::Activation, Role::Weight, Role::Full, Role::Activation, Role::Activation];
    for (short, names) in [(0, ["x", "x"]), (1, ["w", "w"]), (2, ["bias", "bias"]), (3, ["a", "y"]), (4, ["b", "b"])] {
        let [x, w, bias, mut a, mut b] =
            [0, 1, 2, 3, 4].map(|i| filled(gpu, roles[i], &vec![0.0; lens[i] - usize::from(i == short)]));
        let mut y = filled(gpu, Role::Activation, &vec![0.0; conv.output().len()]);
        let mut switches = gpu.alloc_bytes(pool.output().len()).unwrap();
        let refused = gpu.conv_pool_lrn_forward(&layers, 1, &x, &w, &bias, &mut y, &mut a, &mut switches, &mut b);
        // By the operation itself, or the one of the three that meets it first.
        let message = refused.unwrap_err().to_string();
        assert!(names.iter().any(|name| message.contains(&format!("{name} needs"))), "{names:?}: {message}");
    }
}

on_gpus!(gives_the_same_bits, passes_on_what_it_finds, knows_its_limits, refuses_short_buffers);
